"""Supervised fine-tuning on the model's own verified answers: rejection sampling, one round of expert iteration
(Zelikman et al. 2022, arXiv 2203.14465; Singh et al. 2023, arXiv 2312.06585). The loss is over the answers alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible.errors import InputError, MissingPartError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.learning import Learner, encode, settings
from crucible.finetune.records import TrainingConfig

try:
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error


def trainer(learner: Learner, examples: Sequence[Example], training: TrainingConfig, out: Path) -> SFTTrainer:
    """Raises InputError where no example is short enough."""
    rows = [encode(learner.tokenizer, each.prompt, each.chosen, ends=each.ends) for each in examples]
    short = [row._asdict() for row in rows if len(row.input_ids) <= training.max_length]
    if not short:
        raise InputError(f"none of the {len(rows)} examples fits in {training.max_length} tokens; raise max_length")
    config = SFTConfig(
        **settings(training, out, max_length=training.max_length, completion_only_loss=True, packing=False)
    )
    return SFTTrainer(
        model=learner.model,
        args=config,
        train_dataset=Dataset.from_list(short),
        processing_class=learner.tokenizer,
    )
