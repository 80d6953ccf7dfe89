"""The one contract every engine keeps. `tests/contracts/test_model.py` runs it over all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol, Self, runtime_checkable

from crucible.types import Completion, Message, ModelIdentity, Sampling

OnDelta = Callable[[int, str], None]
"""Called with (index of the sampling, new text) as text arrives: one call at a time, from whichever thread."""


@runtime_checkable
class Model(Protocol):
    """A chat model that draws several completions of one prompt in one batch."""

    @property
    def identity(self) -> ModelIdentity: ...

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        """Draw one completion per sampling, in the samplings' order.

        A last message of role `assistant` is continued; its text is not repeated in the completion.
        `cancel` set: what was written so far comes back with finish_reason "cancelled".

        Raises ContextOverflowError, EngineTimeoutError (after `deadline_s`), EngineCrashedError, EngineError.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Exact number of tokens of plain text, no special tokens added."""
        ...

    def notices(self) -> list[str]:
        """What happened since the last call that a user should know (an engine restart, say)."""
        ...

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
