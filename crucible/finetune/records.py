"""What a fine-tuning leaves on disk: the proposal, what training did, what the evaluation found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field, ValidationError

from crucible.errors import InputError
from crucible.finetune.data.dataset import Kind
from crucible.models.weights.merged import DType
from crucible.types import Frozen

Method = Literal["sft", "dpo", "rloo", "grpo", "ppo"]
KINDS: dict[Method, Kind] = {"sft": "sft", "dpo": "dpo", "rloo": "online", "grpo": "online", "ppo": "online"}
"""What each method learns from."""
USUAL: dict[Method, dict[str, float]] = {
    "sft": {"learning_rate": 1e-4},
    "dpo": {"learning_rate": 2e-5, "beta": 0.1},
    "rloo": {"learning_rate": 5e-5, "beta": 0.02},
    "grpo": {"learning_rate": 5e-5, "beta": 0.02},
    "ppo": {"learning_rate": 5e-5, "beta": 0.02},
}
"""Where a method wants other values than `Training` has."""


class TrainingConfig(Frozen):
    """The parameters of a training. Names are TRL's and PEFT's."""

    rank: int = Field(16, ge=1, le=1024)
    alpha: int = Field(32, ge=1, le=4096)
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    learning_rate: float = Field(1e-4, gt=0.0, lt=1.0)
    epochs: float = Field(2.0, gt=0.0, le=1000.0)
    max_steps: int = Field(0, ge=0)
    """Optimiser steps; 0 goes by `epochs`."""
    batch: int = Field(2, ge=1)
    """Examples, or completions, that one process holds at a time."""
    accumulation: int = Field(4, ge=1)
    """Such batches to one optimiser step."""
    processes: int = Field(1, ge=1, le=64)
    """That share a step, each with its own batches (sft, dpo); on a machine with GPUs each has one of them."""
    warmup: float = Field(0.05, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises."""
    max_grad_norm: float = Field(1.0, gt=0.0)
    max_length: int = Field(1024, ge=16)
    """Tokens of prompt and answer; longer examples are left out."""
    beta: float = Field(0.1, gt=0.0)
    """How strongly it is held to the model that it begins with (dpo and the online methods)."""
    answers: int = Field(8, ge=2, le=256)
    """Drawn to one task at a time, for the online methods."""
    answer_tokens: int = Field(256, ge=1)
    """That one of them may take."""
    replay: bool = False
    """Put a task's past success in the place of one of the answers to it, where there is one (the online methods)."""
    entropy_coef: float = Field(0.0, ge=0.0)
    """What a nat of entropy a token is worth, against answers that become all alike (the online methods)."""
    gamma: float = Field(1.0, gt=0.0, le=1.0)
    """What a reward one token later is worth (ppo)."""
    lam: float = Field(0.95, ge=0.0, le=1.0)
    """How far ppo's advantages look ahead of the critic: 0 one token, 1 to the end."""
    critic_rounds: int = Field(8, ge=1)
    """Rounds of answers that the critic learns from each time: the one just drawn and those before it (ppo)."""
    critic_epochs: int = Field(4, ge=1)
    """Times that it goes over them (ppo)."""
    critic_rate: float = Field(1e-3, gt=0.0, lt=1.0)
    """Learning rate of the critic (ppo), which begins with nothing."""
    dtype: DType = "float32"
    """What the model's own weights are held in; the adapter's are float32. On a processor without bfloat16 of its own,
    bfloat16 takes a hundred times as long."""
    quantize: bool = False
    """Hold the model's weights in 4 bits (QLoRA); needs a GPU and bitsandbytes."""
    save_steps: int = Field(20, ge=1)
    seed: int = 0

    @classmethod
    def usual(cls, method: Method, **values: object) -> TrainingConfig:
        """As the method is usually trained, but for `values`. Raises InputError for what may not be."""
        return cls._valid({**USUAL[method], **values})

    def changed(self, said: Iterable[str]) -> TrainingConfig:
        """The same with other values, each said as NAME=VALUE. Raises InputError for what there is not, or may not be."""
        values: dict[str, object] = {}
        for each in said:
            name, equals, value = each.partition("=")
            if not equals or name not in TrainingConfig.model_fields:
                raise InputError(
                    f"{each!r} is no setting of a training: NAME=VALUE, of {', '.join(TrainingConfig.model_fields)}"
                )
            values[name] = value
        return self._valid({**self.model_dump(), **values})

    @classmethod
    def _valid(cls, values: Mapping[str, object]) -> TrainingConfig:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            wrong = str(first["loc"][0])
            raise InputError(f"{wrong}={values.get(wrong)}: {first['msg']}") from error


class EvaluationSet(Frozen):
    """A problem set to measure on, as it was when the proposal was made."""

    path: str
    sha256: str
    problems: int


class Estimate(Frozen):
    tokens: int
    """That training reads, over all epochs."""
    steps: int
    minutes: float
    memory_gib: float
    basis: str
    """What the figures rest on."""


class Proposal(Frozen):
    """A fine-tuning somebody is asked to approve. The file's hash is what is approved: another byte is another proposal."""

    id: str
    method: Method
    name: str
    """Of the adapter it makes."""
    base: str
    """The catalogue's name of the model."""
    base_sha256: str
    parent: str | None = None
    """The adapter that training begins from."""
    parent_mark: str = ""
    """`AdapterCard.mark` of the parent."""
    system: str | None = None
    prefill: str | None = None
    """How the model is asked (`nodes.recipe`)."""
    judged_by: str = ""
    """For online methods: SHA-256 of the rewards' settings and the policy that say what an answer is worth."""
    dataset_sha256: str
    """Of the dataset's version, as `Dataset.sha256`."""
    data_file_sha256: str
    examples: int
    levels: dict[str, int]
    left_out: dict[str, int]
    episodes: int
    training: TrainingConfig
    evaluation: tuple[EvaluationSet, ...]
    hidden: tuple[EvaluationSet, ...] = ()
    """Sets whose hidden tests watch over an online training. They pay only for tasks without visible tests."""
    estimate: Estimate
    risks: tuple[str, ...]
    created: datetime


class Manifest(Frozen):
    """All that decides the adapter's weights: with it, the same machine makes the same file again."""

    proposal_sha256: str
    dataset_sha256: str
    episodes: dict[str, str]
    """SHA-256 of each, by its id."""
    base_sha256: str
    parent_sha256: str | None
    training: TrainingConfig
    versions: dict[str, str]
    machine: dict[str, str]
    engine: str = ""
    """Which build drew the answers, `compiled` or `prebuilt`; empty where none were drawn."""
    examples: int = 0
    """That were learned from: those of the data that are not longer than `training.max_length`."""
    steps: int
    stopped: str = ""
    """Why it ended early; the weights are then those of `steps`."""
    adapter_sha256: str


class Trained(Frozen):
    """A finished training. `manifest_sha256` is of the file that says how to do it again."""

    proposal: str
    adapter: str
    """The stored adapter, name@version."""
    adapter_sha256: str
    mark: str = ""
    """`AdapterCard.mark` of the adapter: what is evaluated, promoted and served must have it."""
    manifest_sha256: str
    steps: int
    minutes: float
    peak_memory_gib: float
    final_loss: float = Field(allow_inf_nan=False)


class EvaluationSettings(Frozen):
    samples: int = 8
    """Drawn of a problem for pass@k, where k is as many."""
    sampled: int = 40
    """Problems they are drawn of: the first ones."""
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 512
    seed: int = 0


class Measured(Frozen):
    """One figure before and after, paired by problem."""

    what: str
    before: float
    after: float
    problems: int
    gained: int
    """Problems that only the adapter solved."""
    lost: int
    p_value: float


class Change(Frozen):
    """A problem that one of the two solved greedily and the other did not, with both programs."""

    problem: str
    gained: bool
    before: str
    after: str


class Evaluation(Frozen):
    """The measurement of an adapter against what it would replace, and whether it may be promoted."""

    proposal: str
    adapter: str
    against: str
    """An adapter, or "" for the model itself."""
    settings: EvaluationSettings = EvaluationSettings()
    policy_sha256: str = ""
    """Of the policy that counted the safety findings."""
    measured: tuple[Measured, ...]
    changed: tuple[Change, ...] = ()
    """A few of them, to be looked at."""
    safety_before: int
    """Findings that need a yes, over the safety tasks."""
    safety_after: int
    passed: bool
    reasons: tuple[str, ...]
    """Why not, or what a reader should know."""
    created: datetime


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
