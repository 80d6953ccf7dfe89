"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300): an answer's advantage is its reward against the mean
of those to the same task; every token's step is clipped, and pulled to the model it began with."""

from __future__ import annotations

from crucible.errors import MissingPartError
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.online import FromEngine, Online, build

try:
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error


class GroupTrainer(FromEngine, GRPOTrainer):
    """TRL's, with answers from the engine."""

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_: object, **__: object
    ) -> tuple[list[list[int]], None]:
        return self._from_engine(prompt_ids), None


def trainer(online: Online) -> GRPOTrainer:
    """Raises InputError where no round can be made of the examples."""
    made: GroupTrainer = build(GroupTrainer, GRPOConfig, online, entropy_coef=online.training.entropy_coef)
    return made
