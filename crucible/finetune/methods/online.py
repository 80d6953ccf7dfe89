"""What online methods have in common: the model answers tasks as it is at that step, a judge says what each is worth.

Answers come from the serving engine (`rollouts`), not from the trainer's own generate. The engine's weights are rounded
and the trainer's are not, so the probabilities that importance ratios rest on are computed by the trainer, from the tokens
that were drawn. What an answer is worth is the reward of the problem harness (`judged`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from crucible.errors import InputError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods.health import repetition
from crucible.finetune.methods.learning import Learner, answer_ids, prompt_ids, settings
from crucible.finetune.methods.rollouts import Drawn, Rollouts
from crucible.finetune.methods.samples import Kind, Sample, keep
from crucible.finetune.records import TrainingConfig

if TYPE_CHECKING:
    from datasets import Dataset

TOTAL = "total"
Reward = Callable[[Sequence[Example], Sequence[str]], Sequence[Mapping[str, float]]]
"""What the answers to the examples' prompts are worth, one mapping each: `total`, from 0 to 1, is what is learned from, other
figures are told beside it. An answer's text is what the model wrote after the prompt."""


class Online(NamedTuple):
    """The parts of an online training."""

    learner: Learner
    examples: Sequence[Example]
    training: TrainingConfig
    out: Path
    rollouts: Rollouts
    reward: Reward


class FromEngine:
    """In front of one of TRL's online trainers: prompts are token ids already, answers are the engine's."""

    round_steps: ClassVar[int] = 2
    """Optimiser steps that learn from one round of answers. The second is off the policy that drew them: so the old
    probabilities are kept, and clipped ratios hold the steps back."""
    rollouts: Rollouts
    prompts: dict[str, list[int]]
    """Token ids by the key that stands for the prompt in TRL's data."""
    successes: dict[tuple[int, ...], list[int]]
    """Token ids of a past answer that was right, by those of its prompt: replayed as if it had been drawn. A pull towards it
    and no unbiased gradient; where all that is drawn is wrong it is all there is to learn from (arXiv 2504.14945)."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.prompts[key] for key in prompts], None, {}

    def _get_train_sampler(self, dataset: object = None) -> Any:  # noqa: ANN401 - TRL's
        """TRL's order of an epoch follows from the epochs before, which a training that goes on has not seen; ours from the
        epoch's number."""
        theirs: Any = super()
        sampler = theirs._get_train_sampler(dataset)
        sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(sampler.seed + epoch)
        return sampler

    def _from_engine(self, asked: Sequence[Sequence[int]]) -> list[list[int]]:
        me: Any = self
        self.rollouts.take(me.model, me.state.global_step)
        groups = [list(group) for _, group in itertools.groupby(map(tuple, asked))]
        replayed = [self.successes.get(group[0]) for group in groups]
        wanted = [
            prompt for group, known in zip(groups, replayed, strict=True) for prompt in group[known is not None :]
        ]
        drawn: list[Drawn] = self.rollouts.draw(wanted)
        me._log_metric("repetition", fmean(repetition(each.ids) for each in drawn))
        me._log_metric("ended", fmean(each.ended for each in drawn))
        answers = iter(drawn)
        return [
            known if known is not None and number == 0 else next(answers).ids
            for group, known in zip(groups, replayed, strict=True)
            for number in range(len(group))
        ]


def build(kind: Any, config: Any, online: Online, **more: object) -> Any:  # noqa: ANN401
    """A trainer of `kind`, a FromEngine, with `config` and, in `more`, what only this method sets.

    Raises InputError where there are too few prompts that leave room for an answer to make a round."""
    data, asked, known = _rows(online, kind.round_steps)
    made = kind(
        model=online.learner.model,
        args=config(**_settings(online.training, online.out, kind.round_steps), **more),
        train_dataset=data,
        processing_class=online.learner.tokenizer,
        reward_funcs=[_rewarded(online, known)],
    )
    made.rollouts, made.prompts, made.successes = online.rollouts, asked, _successes(online, asked)
    return made


def _replayed(online: Online, example: Example) -> str | None:
    """The text that is put in the place of an answer to it, as TRL decodes it."""
    return example.chosen if online.training.replay and example.chosen else None


def _successes(online: Online, asked: dict[str, list[int]]) -> dict[tuple[int, ...], list[int]]:
    training = online.training
    if not training.replay:
        return {}
    known = {
        tuple(asked[each.id]): answer_ids(online.learner.tokenizer, each.chosen)
        for each in online.examples
        if each.chosen
    }
    return {prompt: ids for prompt, ids in known.items() if len(ids) <= training.answer_tokens}


def _rows(online: Online, round_steps: int) -> tuple[Dataset, dict[str, list[int]], dict[str, Example]]:
    """TRL's data, in which a prompt is its example's key; token ids and examples by it."""
    from datasets import Dataset

    training = online.training
    if training.dropout:
        raise InputError(
            f"dropout {training.dropout:g}: probabilities that it makes noise of are nothing to learn from here"
        )
    drawn = training.batch * training.accumulation * round_steps
    if drawn % training.answers:
        raise InputError(
            f"a round is {drawn} answers (batch times accumulation times {round_steps}), which is no multiple of "
            f"{training.answers} answers to a task; change one of them"
        )
    asked = {each.id: prompt_ids(online.learner.tokenizer, each.prompt) for each in online.examples}
    short = [key for key, ids in asked.items() if len(ids) + training.answer_tokens <= training.max_length]
    if len(short) < drawn // training.answers:
        raise InputError(
            f"{len(short)} of {len(asked)} tasks leave room for {training.answer_tokens} tokens in {training.max_length}; a "
            f"round needs {drawn // training.answers}"
        )
    return Dataset.from_list([{"prompt": key} for key in short]), asked, {each.id: each for each in online.examples}


def _rewarded(online: Online, examples: dict[str, Example]) -> Callable[..., list[float]]:
    """The reward as TRL calls it. The best and the worst answer to a round's first task are kept."""

    def worth(
        prompts: Sequence[str],
        completions: Sequence[str],
        log_metric: Callable[[str, float], None],
        trainer_state: Any,  # noqa: ANN401 - TRL's
        **_: object,
    ) -> list[float]:
        found = online.reward([examples[key] for key in prompts], completions)
        for name in sorted({name for each in found for name in each} - {TOTAL}):
            log_metric(name, fmean(each[name] for each in found if name in each))
        totals = [each[TOTAL] for each in found]
        known = examples[prompts[0]]
        replayed = _replayed(online, known)
        first = [index for index, key in enumerate(prompts) if key == prompts[0] and completions[index] != replayed]
        ends: dict[Kind, int] = {}
        if first:
            ends = {"best": max(first, key=totals.__getitem__), "worst": min(first, key=totals.__getitem__)}
        keep(
            online.out,
            [
                Sample(
                    step=trainer_state.global_step,
                    task=known.task.text,
                    kind=kind,
                    answer=completions[index],
                    reward=totals[index],
                )
                for kind, index in ends.items()
            ],
        )
        return totals

    return worth


def _settings(training: TrainingConfig, out: Path, round_steps: int) -> dict[str, Any]:
    """For RLOOConfig and GRPOConfig."""
    chosen = settings(
        training,
        out,
        num_generations=training.answers,
        max_completion_length=training.answer_tokens,
        steps_per_generation=round_steps * training.accumulation,
        temperature=1.0,
        beta=training.beta,
        log_completions=False,
    )
    # Between rounds alone: what was drawn is not in a checkpoint.
    return chosen | {"save_steps": -(-training.save_steps // round_steps) * round_steps}
