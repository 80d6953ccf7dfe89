"""Crucible: a self-improving code-generation system that runs on your own machine.

Public names are imported on first use, so that `import crucible` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crucible.app import Crucible
    from crucible.types import Attempt, Episode, Event, Example, Feedback, Limits, Task, Verdict

__version__ = "0.1.0"

_HOMES = {
    "Crucible": "crucible.app",
    **dict.fromkeys(
        ("Attempt", "Episode", "Event", "Example", "Feedback", "Limits", "Task", "Verdict"), "crucible.types"
    ),
}

__all__ = ["Attempt", "Crucible", "Episode", "Event", "Example", "Feedback", "Limits", "Task", "Verdict"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'crucible' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
