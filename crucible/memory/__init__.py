"""Episodes that survive the process, found again by meaning.

`MemoryStore` is imported on first use: LanceDB takes a second to import, the text encoder four.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from crucible.memory.base import EpisodeStore, MemoryStats

if TYPE_CHECKING:
    from crucible.memory.encoder import Encoder, MiniLM
    from crucible.memory.store import MemoryStore

__all__ = ["Encoder", "EpisodeStore", "MemoryStats", "MemoryStore", "MiniLM"]

_HOMES = {
    "Encoder": "crucible.memory.encoder",
    "MemoryStore": "crucible.memory.store",
    "MiniLM": "crucible.memory.encoder",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'crucible.memory' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
