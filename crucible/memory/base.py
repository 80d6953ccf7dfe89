"""The one contract every episode store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from crucible.types import Episode, Frozen, Hit


class MemoryStats(Frozen):
    """Counts over the whole store; `bytes` is what it takes on disk."""

    episodes: int
    solved: int
    tasks: int
    bytes: int
    path: str
    schema_version: int
    encoder: str


@runtime_checkable
class EpisodeStore(Protocol):
    """Keeps episodes and finds those like a new task."""

    def add(self, episode: Episode) -> None:
        """Write durably: the episode survives a SIGKILL after this returns. Same episode_id: replaced.

        Raises StoreError (full disk, read-only folder)."""
        ...

    def get(self, episode_id: str) -> Episode | None: ...

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
        """The k nearest episodes by cosine similarity of task text, best first."""
        ...

    def episodes(self) -> Iterator[Episode]:
        """Every episode, in no particular order: what fine-tuning learns from. Raises StoreError."""
        ...

    def stats(self) -> MemoryStats: ...

    def close(self) -> None: ...
