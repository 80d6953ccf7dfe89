"""Several processes, or GPUs, that share every step of a training, as torchrun starts them.

The first of them leads: it alone holds the folder, writes the log, asks and tells. What it decides after a step, to stop or
to write a checkpoint, all of them do, or they would wait for one another for ever.
"""

from __future__ import annotations

from crucible.errors import InputError, MissingPartError
from crucible.finetune.methods import NEEDS
from crucible.finetune.records import TrainingConfig

try:
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise MissingPartError(NEEDS) from error

DECIDED = ("should_training_stop", "should_save")


def processes() -> PartialState:
    """Return this process's rank and world size. The first call joins the process group."""
    import torch

    state: PartialState = PartialState(cpu=not torch.cuda.is_available())
    return state


def check(training: TrainingConfig) -> None:
    """Raises InputError where not as many were started as the training is of, several would need the same noise again, or one
    would take several GPUs."""
    import torch

    started = processes().num_processes
    if started != training.processes:
        raise InputError(
            f"this training is of {training.processes} process{'es' * (training.processes > 1)} and {started} "
            f"{'were' if started > 1 else 'was'} started: torchrun --nproc-per-node {training.processes} -m crucible "
            "finetune train ID"
        )
    if started > 1 and training.dropout:
        raise InputError(f"dropout {training.dropout:g}: several processes go on from a checkpoint without its noise")
    if started == 1 and torch.cuda.device_count() > 1:
        raise InputError(
            f"here are {torch.cuda.device_count()} GPUs and one process; propose with --processes, or set "
            "CUDA_VISIBLE_DEVICES to one of them"
        )


class InStep(TrainerCallback):
    """The last of the callbacks, in every process."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        _as_the_first(control)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        _as_the_first(control)


def _as_the_first(control: TrainerControl) -> None:
    said = [[bool(getattr(control, name)) for name in DECIDED]]
    for name, value in zip(DECIDED, broadcast_object_list(said)[0], strict=True):
        setattr(control, name, value)
