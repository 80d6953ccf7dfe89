"""A fine-tuning put together: episodes, model, trainer, sandbox and gate over one Crucible.

with Crucible.from_settings(approve="auto") as app:
    proposal = propose(app, name="mine", eval_sets=["dev.jsonl"])
# crucible finetune approve sft-0001      a person, at a terminal
train(app, "sft-0001"); evaluate(app, "sft-0001")
# crucible finetune promote sft-0001      the same person again
"""

from crucible.finetuning.evaluating import evaluate
from crucible.finetuning.parts import gate_of, store_of
from crucible.finetuning.promoting import promote
from crucible.finetuning.proposing import propose
from crucible.finetuning.training import train

__all__ = ["evaluate", "gate_of", "promote", "propose", "store_of", "train"]
