"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300): an answer's advantage is its reward against the mean
of those to the same task; every token's step is clipped, and pulled to the model it began with."""

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
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error


class _Trainer(FromEngine, GRPOTrainer):
    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_: object, **__: object
    ) -> tuple[list[list[int]], None]:
        return self._from_engine(prompt_ids), None


def trainer(
    learner: Learner, examples: Sequence[Example], training: Training, out: Path, rollouts: Rollouts, reward: Reward
) -> GRPOTrainer:
    """Raises InputError where no prompt leaves room for an answer."""
    data, asked, known = rows(learner.tokenizer, examples, training)
    more: dict[str, Any] = {"reward_funcs": [rewarded(reward, known)]}
    made = _Trainer(
        model=learner.model,
        args=GRPOConfig(**online_settings(training, out)),
        train_dataset=data,
        processing_class=learner.tokenizer,
        **more,
    )
    made.rollouts, made.prompts = rollouts, asked
    return made
