"""The memory that a training's loop sees: the user's own, less what would give answers away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crucible.bench.arms import SAME_TASK
from crucible.memory.base import EpisodeStore, MemoryStats
from crucible.types import Episode, Hit


class Experience:
    """Reads and writes `store`. Never shown: episodes of the very problem, whose program would only be copied, and those
    of the round in work, so that neither the order in which they end nor a kill decides what the others see."""

    def __init__(self, store: EpisodeStore, *, read_only: bool = False) -> None:
        self._store, self._read_only = store, read_only
        self._hidden: frozenset[str] = frozenset()

    def hide(self, episode_ids: Iterable[str]) -> None:
        """In the place of what was hidden before."""
        self._hidden = frozenset(episode_ids)

    def add(self, episode: Episode) -> None:
        if not self._read_only:
            self._store.add(episode)

    def get(self, episode_id: str) -> Episode | None:
        return self._store.get(episode_id)

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
        if k <= 0:
            return []
        hidden = self._hidden
        found = self._store.fetch_semantic(query, k + len(hidden) + 8, solved=solved)
        return [hit for hit in found if hit.score < SAME_TASK and hit.episode_id not in hidden][:k]

    def episodes(self) -> Iterator[Episode]:
        return self._store.episodes()

    def stats(self) -> MemoryStats:
        return self._store.stats()

    def warm(self) -> None:
        getattr(self._store, "warm", lambda: None)()

    def close(self) -> None:
        """The store belongs to who made it."""
