"""The eye on a running training: it logs and judges every step, and stops what is sick or no longer wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from crucible.finetune.methods.health import Alert, Monitor, Step
from crucible.storage.journal import Journal


class Watch(TrainerCallback):
    """After the training: `stopped`, the sign it was stopped for; `was_cancelled`.

    saved: hears of every checkpoint's step. round_steps: it is interrupted after as many steps, or a multiple of them, where it
    can go on exactly as it would have."""

    def __init__(
        self,
        log: Journal[Step],
        monitor: Monitor,
        tell: Callable[[Step], None],
        cancelled: Callable[[], bool],
        round_steps: int,
        saved: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.monitor = monitor
        self.stopped: Alert | None = None
        self.was_cancelled = False
        self._log, self._tell, self._cancelled = log, tell, cancelled
        self._round_steps, self._saved = round_steps, saved
        self._began = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: object,
    ) -> None:
        figures = {name: float(value) for name, value in (logs or {}).items() if isinstance(value, int | float)}
        if "loss" not in figures:
            return  # the summary at the end
        signs = tuple(self.monitor.see(state.global_step, figures))
        step = Step(
            step=state.global_step,
            steps=state.max_steps,
            seconds=time.monotonic() - self._began,
            figures=figures,
            signs=signs,
        )
        self._log.add(step)
        self._tell(step)
        grave = [sign for sign in signs if sign.level == "stop"]
        if grave and self.stopped is None:
            self.stopped = grave[0]
            control.should_training_stop = True
            control.should_save = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        ended = state.global_step >= state.max_steps
        if not ended and state.global_step % self._round_steps == 0 and self._cancelled():
            self.was_cancelled = True
            control.should_save = control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        self._saved(state.global_step)
