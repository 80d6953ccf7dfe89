"""What online methods have in common: the model answers tasks as it is at that step, a judge says what each is worth.

Answers come from the serving engine (`rollouts`), not from the trainer's own generate. The engine's weights are rounded
and the trainer's are not, so the probabilities that importance ratios rest on are computed by the trainer, from the tokens
that were drawn. What an answer is worth is the reward of the problem harness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from crucible.errors import InputError
from crucible.finetune.dataset import Example
from crucible.finetune.health import repetition
from crucible.finetune.learning import prompt_ids, settings
from crucible.finetune.records import Training
from crucible.finetune.rollouts import Drawn, Rollouts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

Reward = Callable[[Example, str], float]
"""What an answer to the example's prompt is worth, from 0 to 1; the text is what the model wrote after the prompt."""


class FromEngine:
    """In front of one of TRL's online trainers: prompts are token ids already, answers are the engine's."""

    rollouts: Rollouts
    prompts: dict[str, list[int]]
    """Token ids by the key that stands for the prompt in TRL's data."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompts[key] for key in prompts], None, {}

    def _from_engine(self, asked: Sequence[Sequence[int]]) -> list[list[int]]:
        me: Any = self
        self.rollouts.take(me.model, me.state.global_step)
        drawn: list[Drawn] = self.rollouts.draw(asked)
        me._log_metric("repetition", fmean(repetition(each.ids) for each in drawn))
        me._log_metric("ended", fmean(each.ended for each in drawn))
        return [each.ids for each in drawn]


def rows(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], training: Training
) -> tuple[Dataset, dict[str, list[int]], dict[str, Example]]:
    """TRL's data, in which a prompt is its example's key; token ids and examples by it.

    Raises InputError where no prompt leaves room for an answer."""
    from datasets import Dataset

    asked = {each.id: prompt_ids(tokenizer, each.prompt) for each in examples}
    short = [key for key, ids in asked.items() if len(ids) + training.answer_tokens <= training.max_length]
    if not short:
        raise InputError(f"no prompt leaves room for {training.answer_tokens} tokens in {training.max_length}")
    return Dataset.from_list([{"prompt": key} for key in short]), asked, {each.id: each for each in examples}


def rewarded(reward: Reward, examples: dict[str, Example]) -> Callable[..., list[float]]:
    """`reward` as TRL calls it."""

    def worth(prompts: Sequence[str], completions: Sequence[str], **_: object) -> list[float]:
        return [reward(examples[key], text) for key, text in zip(prompts, completions, strict=True)]

    return worth


def online_settings(training: Training, out: Path, **more: object) -> dict[str, Any]:
    """For RLOOConfig and GRPOConfig. A round of answers is learned from in two optimiser steps, the second of which is off
    its policy: so the old probabilities are kept, and clipped ratios hold the steps back."""
    return settings(
        training,
        out,
        num_generations=training.answers,
        max_completion_length=training.answer_tokens,
        steps_per_generation=2 * training.accumulation,
        temperature=1.0,
        beta=training.beta,
        log_completions=False,
        **more,
    )
