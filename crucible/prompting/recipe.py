"""How a model wants to be asked: the part of a prompt that belongs to the model, not to the task."""

from __future__ import annotations

from typing import NamedTuple

INSIDE_FENCE = "```python\n"


class Recipe(NamedTuple):
    """`prefill` opens the assistant's answer; ending inside a code fence makes small models write code at once."""

    system: str | None = None
    prefill: str | None = None

    @property
    def opens_fence(self) -> bool:
        return self.prefill is not None and self.prefill.endswith(INSIDE_FENCE)
