"""What a training will take, before it begins: a guess for the person who decides on it.

Measured on three trainings (`docs/results/circle`): a supervised one and one of pairs in float32 at 111 GFLOPS, a supervised one
in bfloat16 at 1,285; 0.49e9 weights, rank 16, batches of 2, two cores.
"""

from __future__ import annotations

import math
from statistics import fmean

from crucible.finetune.data.dataset import Dataset, Example
from crucible.finetune.records import Estimate, TrainingConfig

CHARS_PER_TOKEN = 3.3
OPERATIONS = 4
"""A token and weight: two forward and two back, as weights that stay as they are need no gradients."""
REFERENCE = 2
"""More, for pairs: forward once again through the model that they are measured against."""
SHARE_OF_PRODUCTS = 0.55
"""What a training's products reach of the rate of large matrices."""
BESIDES_S = 4.9e-12
"""Seconds that an operation takes besides its product, however fast that is: to copy, convert and add. So it comes to 24 tokens a
second at 111 GFLOPS, and to 81 at 1,285."""
BYTES_A_TOKEN = 6.7e6
"""Held of a batch: about half of it is a vocabulary of 152,000, some five times over in float32."""
LIBRARIES_BYTES = 1e9


def estimate(dataset: Dataset, training: TrainingConfig, model_bytes: int, gflops: float) -> Estimate:
    """model_bytes: of the model's file. gflops: how fast this machine multiplies large matrices in the training's dtype."""
    online, pairs = dataset.kind == "online", dataset.kind == "dpo"
    lengths = [_tokens(each, training.answer_tokens if online else None) for each in dataset.examples]
    a_step = training.batch * training.accumulation * training.processes
    an_epoch = len(lengths) * (training.answers if online else 1)
    # What is left of an epoch's examples is a step too; answers are drawn for whole steps alone.
    whole = math.floor if online else math.ceil
    steps = training.max_steps or max(1, math.ceil(training.epochs * whole(an_epoch / a_step)))
    seen = steps * a_step if training.max_steps else training.epochs * an_epoch
    tokens = int(fmean(lengths) * seen)
    weights = model_bytes  # a byte each, about: small models at 4 bits have much in 5 to 8
    an_operation = 1 / (SHARE_OF_PRODUCTS * gflops * 1e9) + BESIDES_S
    rate = 1 / ((OPERATIONS + REFERENCE * pairs) * weights * an_operation)
    held = weights * (4 if training.dtype == "float32" else 2) + online * model_bytes
    longest = min(max(lengths), training.max_length * (1 + pairs))
    batch = training.batch * longest * BYTES_A_TOKEN
    return Estimate(
        tokens=tokens,
        steps=steps,
        minutes=round(tokens / rate / 60, 1),
        memory_gib=round((held + batch + LIBRARIES_BYTES) / 2**30, 1),
        basis=f"a guess: {rate:.0f} tokens a second, as this machine multiplies matrices at {gflops:.0f} GFLOPS",
    )


def _tokens(example: Example, drawn: int | None) -> float:
    """Of all that is read of it; the prompt of a pair is, with either answer. drawn: tokens of one that is not there yet."""
    prompt = sum(len(message.content) for message in example.prompt)
    if drawn is not None:
        return prompt / CHARS_PER_TOKEN + drawn
    answers = [answer for answer in (example.chosen, example.rejected) if answer]
    return (prompt * len(answers) + sum(map(len, answers))) / CHARS_PER_TOKEN
