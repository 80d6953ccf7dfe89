"""REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740): an answer is worth its reward less the
mean of the others to the same task, and the pull to the model it began with is part of the reward. A bonus for entropy
keeps answers from becoming all alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from crucible.errors import MissingPartError
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.online import FromEngine, Online, build

try:
    from trl.trainer.rloo_config import RLOOConfig
    from trl.trainer.rloo_trainer import RLOOTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error

if TYPE_CHECKING:
    import torch


class _Trainer(FromEngine, RLOOTrainer):
    round_steps: ClassVar[int] = 1
    """Its ratio is of whole answers: one step moves that further than it may."""
    entropy_coef = 0.0
    _entropies: torch.Tensor
    """(B, T), of the tokens of the last forward pass."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: object, **__: object) -> list[list[int]]:
        return self._from_engine(prompt_ids)

    def _get_per_token_logps_and_entropies(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - TRL's
        found = super()._get_per_token_logps_and_entropies(*args, **more)
        if found[1] is not None:
            self._entropies = found[1]
        return found

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        theirs: Any = super()
        loss: torch.Tensor = theirs._compute_loss(model, inputs)
        mask: torch.Tensor = inputs["completion_mask"]
        return loss - self.entropy_coef * (self._entropies * mask).sum() / mask.sum().clamp(min=1)


def trainer(online: Online) -> RLOOTrainer:
    """Raises InputError where no round can be made of the examples."""
    made: _Trainer = build(_Trainer, RLOOConfig, online)
    made.entropy_coef = online.training.entropy_coef
    return made
