"""Direct preference optimisation on pairs of a right and a wrong answer to the same task (Rafailov et al. 2023,
arXiv 2305.18290). It is held to the model that it begins with by `Training.beta`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucible.errors import InputError, MissingPartError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.learning import Learner, answer_ids, prompt_ids, settings
from crucible.finetune.records import TrainingConfig

try:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
except ImportError as error:
    raise MissingPartError(NEEDS) from error


class _PairTrainer(DPOTrainer):
    """TRL's, on pairs that are tokenised already: prompt and answers each by themselves, as they are when served."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


def trainer(learner: Learner, examples: Sequence[Example], training: TrainingConfig, out: Path) -> DPOTrainer:
    """Raises InputError where no pair is short enough."""
    rows = [
        {
            "prompt_ids": prompt_ids(learner.tokenizer, each.prompt),
            "chosen_ids": answer_ids(learner.tokenizer, each.chosen, ends=each.ends),
            "rejected_ids": answer_ids(learner.tokenizer, each.rejected, ends=each.ends),
        }
        for each in examples
    ]
    short = [
        row
        for row in rows
        if len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= training.max_length
    ]
    if not short:
        raise InputError(f"none of the {len(rows)} pairs fits in {training.max_length} tokens; raise max_length")
    return _PairTrainer(
        model=learner.model,
        args=DPOConfig(**settings(training, out, max_length=training.max_length, beta=training.beta)),
        train_dataset=Dataset.from_list(short),
        processing_class=learner.tokenizer,
    )
