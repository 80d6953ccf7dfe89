"""What the model writes while it learns, kept to be looked at: figures alone do not show an answer going wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crucible.finetune.data.dataset import Example
from crucible.security.trust.secrets import redact
from crucible.storage.journal import Journal, read
from crucible.types import Frozen

if TYPE_CHECKING:
    from crucible.finetune.methods.learning import Learner

FILE = "samples.jsonl"
TOKENS = 64
PROMPTS = 2
"""Tasks that a training from recorded answers writes on at every checkpoint: some seconds of a CPU each."""


Kind = Literal["greedy", "best", "worst"]
"""best, worst: of the answers that were drawn to the task in this round."""


class Sample(Frozen):
    """One answer. step: optimiser steps before it; reward: None where nobody judged it."""

    step: int
    task: str
    kind: Kind
    answer: str
    reward: float | None = None


def keep(out: Path, samples: Sequence[Sample]) -> None:
    """Adds them to what is kept in the folder of a fine-tuning. Raises StoreError."""
    with Journal(out / FILE, Sample) as journal:
        for each in samples:
            journal.add(each.model_copy(update={"answer": redact(each.answer).text}))


def kept(out: Path) -> list[Sample]:
    """In the order of their steps; a step that was made again after a kill is there once."""
    last = {(each.step, each.task, each.kind): each for each in read(out / FILE, Sample)}
    return sorted(last.values(), key=lambda each: each.step)


def written(learner: Learner, examples: Sequence[Example], step: int) -> list[Sample]:
    """The beginnings of greedy answers to the first PROMPTS tasks, by the model's own generate."""
    import torch

    from crucible.finetune.methods.learning import prompt_ids

    model: Any = learner.model
    training = model.training
    model.eval()
    try:
        found = []
        for each in list({each.task.text: each for each in examples}.values())[:PROMPTS]:
            ids = torch.tensor([prompt_ids(learner.tokenizer, each.prompt)], device=model.device)
            with torch.no_grad():
                out = model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                )
            answer = learner.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
            found.append(Sample(step=step, task=each.task.text, kind="greedy", answer=str(answer)))
        return found
    finally:
        model.train(training)
