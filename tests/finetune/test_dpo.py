"""DPO with TRL on a tiny model: it prefers what it was shown, repeats itself bit for bit, and saves one adapter."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from crucible.errors import CancelledError, InputError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import learning
from crucible.finetune.methods.health import Step
from crucible.finetune.records import TrainingConfig
from crucible.models.weights.lora import WEIGHTS
from crucible.types import Message, Task
from tests.finetune.tiny import tiny_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

PAIRS = [
    Example(
        task=Task(prompt=f"Double {n}."),
        prompt=(Message(role="user", content=f"Double {n}."),),
        chosen=f"def f():\n    return {2 * n}\n```",
        rejected=f"def f():\n    raise NotImplementedError({n})\n```",
        episodes=(f"e{n}",),
    )
    for n in range(4)
]
TRAINING = TrainingConfig(
    rank=4, alpha=8, learning_rate=5e-3, max_steps=6, batch=2, accumulation=1, save_steps=2, dtype="float32"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def test_it_learns_to_prefer_and_goes_on_after_a_stop_to_the_same_bits(weights: Path, tmp_path: Path) -> None:
    from crucible.finetune.methods import dpo

    def train(out: Path, stop_after: int = 0) -> tuple[learning.Outcome, list[Step]]:
        out.mkdir(exist_ok=True)
        steps: list[Step] = []
        learner = learning.load(weights, TRAINING)
        trainer = dpo.trainer(learner, PAIRS, TRAINING, out)
        cancelled = (lambda: len(steps) >= stop_after) if stop_after else (lambda: False)
        return learning.run(trainer, out, tell=steps.append, cancelled=cancelled), steps

    outcome, steps = train(tmp_path / "whole")
    margins = [step.figures["rewards/margins"] for step in steps]
    assert margins[-1] > margins[0] + 0.05 and margins[0] == pytest.approx(0.0, abs=1e-4)
    assert sorted(path.name for path in outcome.adapter.iterdir() if path.is_dir()) == []
    with pytest.raises(CancelledError):
        train(tmp_path / "stopped", stop_after=3)
    resumed, _ = train(tmp_path / "stopped")
    first, second = ((each.adapter / WEIGHTS).read_bytes() for each in (outcome, resumed))
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()


@pytest.mark.parametrize("ends", [True, False])
def test_the_end_of_a_pairs_answers_is_read_only_where_it_is_to_be_learned(
    weights: Path, tmp_path: Path, ends: bool
) -> None:
    from crucible.finetune.methods import dpo

    learner = learning.load(weights, TRAINING)
    pairs = [each.model_copy(update={"ends": ends}) for each in PAIRS]
    rows: Any = dpo.trainer(learner, pairs, TRAINING, tmp_path).train_dataset
    ended = [row[name][-1] == learner.tokenizer.eos_token_id for row in rows for name in ("chosen_ids", "rejected_ids")]
    assert ended == [ends] * 2 * len(PAIRS)


def test_pairs_that_do_not_fit_are_said(weights: Path, tmp_path: Path) -> None:
    from crucible.finetune.methods import dpo

    learner = learning.load(weights, TRAINING)
    with pytest.raises(InputError, match="none of the 4 pairs fits in 16 tokens"):
        dpo.trainer(learner, PAIRS, TRAINING.model_copy(update={"max_length": 16}), tmp_path)
