"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740): an answer is worth its reward less the
mean of the others to the same task, and the pull to the model it began with is part of the reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crucible.errors import MissingPartError
from crucible.finetune.dataset import Example
from crucible.finetune.learning import NEEDS, Learner
from crucible.finetune.online import FromEngine, Reward, online_settings, rewarded, rows
from crucible.finetune.records import Training
from crucible.finetune.rollouts import Rollouts

try:
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error


class _Trainer(FromEngine, RLOOTrainer):
    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: object, **__: object) -> list[list[int]]:
        return self._from_engine(prompt_ids)


def trainer(
    learner: Learner, examples: Sequence[Example], training: Training, out: Path, rollouts: Rollouts, reward: Reward
) -> RLOOTrainer:
    """Raises InputError where no prompt leaves room for an answer."""
    data, asked, known = rows(learner.tokenizer, examples, training)
    more: dict[str, Any] = {"reward_funcs": [rewarded(reward, known)]}
    made = _Trainer(
        model=learner.model,
        args=RLOOConfig(**online_settings(training, out)),
        train_dataset=data,
        processing_class=learner.tokenizer,
        **more,
    )
    made.rollouts, made.prompts = rollouts, asked
    return made
