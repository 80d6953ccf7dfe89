"""A fine-tuning put together: episodes, model, trainer, sandbox and gate over one Crucible.

with Crucible.from_settings(approve="auto") as app:
    proposal = propose(app, name="mine", eval_sets=["dev.jsonl"])
# crucible finetune approve sft-0001      a person, at a terminal
train(app, "sft-0001"); evaluate(app, "sft-0001")
# crucible finetune promote sft-0001      the same person again
"""

from crucible.finetune.steps.evaluating import evaluate
from crucible.finetune.steps.parts import gate_of, store_of
from crucible.finetune.steps.promoting import promote
from crucible.finetune.steps.proposing import propose
from crucible.finetune.steps.training import train

__all__ = ["evaluate", "gate_of", "promote", "propose", "store_of", "train"]
