"""A chain of models: the first that answers. For a server that may be out of order while another, or this machine, is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from crucible.errors import ContextOverflowError, EngineError, ModelUnavailableError
from crucible.models.base import Model, OnDelta
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, Sampling


class FallbackModel(WrappedModel):
    """`first`, and what makes the others, each made when it is needed. Who answered last answers from then on.

    What would fail anywhere is not tried elsewhere: a prompt that is too long, a sampling nobody can draw.
    """

    def __init__(self, first: Model, others: Sequence[Callable[[], Model]]) -> None:
        super().__init__(first)
        self._others = list(others)
        self._notices: list[str] = []
        self._lock = threading.Lock()

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        while True:
            model = self.inner
            try:
                return model.generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
            except ContextOverflowError:
                raise
            except (EngineError, ModelUnavailableError) as error:
                self._next(model, error)

    def notices(self) -> list[str]:
        with self._lock:
            said, self._notices = self._notices, []
        return said + super().notices()

    def _next(self, failed: Model, error: Exception) -> None:
        """Puts the next model in the place of `failed`, unless another thread did so. Raises `error` after the last."""
        with self._lock:
            if self.inner is not failed:
                return
            while self._others:
                try:
                    self.inner = self._others.pop(0)()
                except (EngineError, ModelUnavailableError) as also:
                    self._notices.append(f"a model to fall back to cannot be had: {also}")
                    continue
                self._notices.append(f"{failed.identity.name} failed ({error}); {self.inner.identity.name} answers now")
                failed.close()
                return
        raise error
