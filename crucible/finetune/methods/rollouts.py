"""Answers for online learning, drawn by the engine that will serve them, under the adapter as it is at that step.

Token ids go in and come out, so that what is trained on is what was drawn. As many prompts as the engine has room for are one
request: it reads each once and decodes all answers together, and, as nobody else asks, the same seed draws the same answers.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import httpx

from crucible.errors import EngineError
from crucible.finetune.methods.hardware import disk
from crucible.finetune.records import TrainingConfig
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.llama.native import multiplies_bfloat16
from crucible.models.weights.files import ModelFile
from crucible.models.weights.lora import convert
from crucible.models.weights.merged import to_bfloat16

LEARNER = "learner"
FENCE_ENDS = "\n```"
TIMEOUT_S = 600.0
SLOTS = 16
"""Answers decoded at once, at least: with fewer a CPU waits for memory (`python -m benchmarks.slots --slots 16`)."""
LEAST = 1e-10
"""Of the likeliest token's probability. What is less likely, together under 2e-5 in a vocabulary of 152,000, is not drawn: to
sum over all of it for every token takes a tenth of the time."""


class Drawn(NamedTuple):
    """ids: of all tokens that were drawn, the one that ended the answer included."""

    ids: list[int]
    ended: bool
    """Whether the answer came to its end within its tokens."""


class Asked(NamedTuple):
    """A prompt's token ids, and how many answers to it are wanted."""

    prompt: list[int]
    answers: int


def drawn_from(file: ModelFile, cache: Path, training: TrainingConfig, program: Path | None) -> Path:
    """The weights that answers are drawn from: the model's file, or the trainer's own where those are in bfloat16 and the compiled
    engine multiplies that. There it is faster than what is quantised (`python -m benchmarks.training`)."""
    own = program is not None and training.dtype == "bfloat16" and multiplies_bfloat16()
    return to_bfloat16(file, cache) if own else file.path


class Rollouts:
    """Draws from an engine of its own over the model's weights. Close it, or use it as a context manager.

    Nothing that counts is cut from the distribution (`LEAST`), as the probabilities of training are those of all tokens.
    base: see `drawn_from`. training: how many answers a prompt gets, and how long they may be. opens_fence: the prompt opens a
    code fence, and its end, whose tokens are part of it, ends an answer.
    """

    def __init__(
        self,
        base: Path,
        scratch: Path,
        training: TrainingConfig,
        *,
        opens_fence: bool = False,
        program: Path | None = None,
        threads: int = 0,
        log_dir: Path | None = None,
    ) -> None:
        self._base, self._scratch, self._training = base, scratch, training
        self._stop = [FENCE_ENDS] if opens_fence else []
        self._step: int | None = None
        self._slots = max(SLOTS, training.answers)
        self._engine = EmbeddedModel(
            base,
            name=base.stem,
            slots=self._slots,
            context_length=training.max_length,
            one_cache=True,
            program=program,
            threads=threads,
            log_dir=log_dir,
        )
        self._http = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

    def take(self, learner: Any, step: int) -> None:  # noqa: ANN401 - PEFT's models have no common type
        """From now on it draws under the learner's weights as they are; again for the same step does nothing."""
        if step == self._step:
            return
        place = self._scratch / "adapter"
        converted = self._scratch / f"{LEARNER}-{step}.gguf"
        with disk(self._scratch):
            learner.save_pretrained(place, selected_adapters=["default"])
            convert(place, self._base, converted)
        self._engine.load_adapters({LEARNER: converted})
        for old in self._scratch.glob(f"{LEARNER}-*.gguf"):
            if old != converted:
                old.unlink()
        self._step = step

    def draw(self, prompts: Sequence[Sequence[int]]) -> list[Drawn]:
        """An answer to each of `prompts`, equal neighbours sharing what is read. Raises EngineError."""
        groups = [Asked(list(prompt), len(list(group))) for prompt, group in itertools.groupby(map(tuple, prompts))]
        drawn: list[Drawn] = []
        for number, request in enumerate(_requests(groups, self._slots)):
            drawn += self._draw(request, number)
        return drawn

    def _draw(self, request: Sequence[Asked], number: int) -> list[Drawn]:
        url, key = self._engine.endpoint()
        body = {
            "prompt": [asked.prompt for asked in request],
            "n_cmpl": request[0].answers,
            "n_predict": self._training.answer_tokens,
            "temperature": 1.0,
            "samplers": ["min_p", "temperature"],
            "min_p": LEAST,
            "seed": _mixed(self._training.seed, self._step or 0, number),
            "stop": self._stop,
            "return_tokens": True,
            "cache_prompt": False,
            "lora": [{"id": 0, "scale": 1.0}] if self._step is not None else [],
        }
        try:
            reply = self._http.post(f"{url}/completion", json=body, headers={"Authorization": f"Bearer {key}"})
            reply.raise_for_status()
            said = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise EngineError(f"the engine did not draw for the training: {error}") from error
        answers = sorted(said if isinstance(said, list) else [said], key=lambda each: each["index"])
        return [Drawn(each["tokens"], each["stop_type"] != "limit") for each in answers]

    def close(self) -> None:
        self._http.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _requests(groups: Sequence[Asked], slots: int) -> Iterator[list[Asked]]:
    """Neighbours that want as many answers each, as many of them as are decoded at once."""
    for answers, alike in itertools.groupby(groups, key=lambda asked: asked.answers):
        waiting = list(alike)
        size = max(1, slots // answers)
        yield from (waiting[start : start + size] for start in range(0, len(waiting), size))


def _mixed(*parts: int) -> int:
    """A seed of its own for every request. The engine counts it up over the answers of one: they lie far apart."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:3], "big") << 7
