"""The arms of a benchmark: what each does differently. Model, sandbox, judge, prompts, tests and budget are the same for all.

An arm is settings, and where settings are not enough a node or a memory in the place of the usual one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from crucible.bench.record import GREEDY
from crucible.errors import InputError
from crucible.memory.base import EpisodeStore, MemoryStats
from crucible.nodes.base import BaseNode, Context
from crucible.nodes.reflect import Reflect
from crucible.types import Attempt, Diagnosis, Episode, Hit, State

UNBOUNDED_CYCLES = 64
"""Tokens end a cell, not cycles."""
SAME_TASK = 0.98
"""Cosine similarity of task texts from which an episode counts as one of this very problem."""

FILLER = "The script should be read again with care, and the result compared with what the task asks for. "


class Placebo(Reflect):
    """Reflection without content: the model's diagnosis is drawn and paid for, and words of the same length that say
    nothing take its place. What the tests showed stays."""

    def _diagnose(self, attempt: Attempt, state: State, context: Context) -> Diagnosis:
        drawn = super()._diagnose(attempt, state, context)
        return drawn.model_copy(update={"cause": _filler(drawn.cause), "fix": _filler(drawn.fix)})


def _filler(text: str) -> str:
    return (FILLER * (1 + len(text) // len(FILLER)))[: len(text)]


class Arm(NamedTuple):
    """overrides: settings by section. nodes: by name, in the place of the built-in ones. shuffled: retrieval gives other
    episodes than the nearest."""

    name: str
    says: str
    strategy: str
    overrides: Mapping[str, Mapping[str, Any]] = {}
    nodes: Mapping[str, type[BaseNode]] = {}
    shuffled: bool = False


_NO_MEMORY = {"tools": {"memory": False}}

ARMS = {
    arm.name: arm
    for arm in (
        Arm(GREEDY, "one greedy sample", "direct", _NO_MEMORY),
        Arm(
            "best-of-n",
            "fresh samples until one passes the visible tests; else the one that passes most, then agrees with most",
            "resample",
            _NO_MEMORY,
        ),
        Arm("loop", "repairs near misses with a diagnosis, resamples the rest, retrieves solved episodes", "auto"),
        Arm("no-memory", "the loop without retrieved episodes", "auto", _NO_MEMORY),
        Arm("shuffled-memory", "the loop with as many episodes, but drawn by lot", "auto", shuffled=True),
        Arm(
            "no-reflect",
            "the loop without diagnoses: repairs see only what the tests showed",
            "auto",
            {"tools": {"reflection": False}},
        ),
        Arm(
            "placebo",
            "the loop with diagnoses replaced by words of the same length that say nothing",
            "auto",
            nodes={"reflect": Placebo},
        ),
    )
}


def chosen(names: tuple[str, ...]) -> tuple[Arm, ...]:
    """The arms of these names, in order, each once. Raises InputError for an unknown one."""
    for name in names:
        if name not in ARMS:
            raise InputError(f"unknown arm {name!r}; there are: {', '.join(ARMS)}")
    return tuple(ARMS[name] for name in dict.fromkeys(names))


def overrides(arm: Arm, budget: int) -> dict[str, dict[str, Any]]:
    """The arm's settings, over what every arm of a benchmark has in common."""
    common: dict[str, dict[str, Any]] = {
        "cycles": {
            "strategy": arm.strategy,
            "max_total_tokens": budget,
            "max_cycles": UNBOUNDED_CYCLES,
            "max_reflect": UNBOUNDED_CYCLES,
            "max_wall_s": 86_400.0,  # the clock must not decide
            "greedy_first": True,
            "approve": "auto",
        },
        "tools": {"solves_per_minute": None, "dataset_logging": True},
    }
    return {
        section: {**common.get(section, {}), **arm.overrides.get(section, {})} for section in (*common, *arm.overrides)
    }


class BenchMemory:
    """The memory of a cell: it reads from `shown`, which nothing changes while the benchmark runs, and writes to
    `kept`. Episodes of the very problem are never shown."""

    def __init__(self, kept: EpisodeStore, shown: EpisodeStore | None, *, shuffled: bool = False) -> None:
        self._kept, self._shown, self._shuffled = kept, shown, shuffled

    def add(self, episode: Episode) -> None:
        self._kept.add(episode)

    def get(self, episode_id: str) -> Episode | None:
        return self._kept.get(episode_id)

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
        if self._shown is None or k <= 0:
            return []
        others = self._shown.stats().episodes if self._shuffled else k + 8
        hits = [hit for hit in self._shown.fetch_semantic(query, others, solved=solved) if hit.score < SAME_TASK]
        nearest = hits[:k]
        if not self._shuffled:
            return nearest
        # Where the nearest stood, with their scores, so that as many pass the threshold of similarity.
        lot = random.Random(query).sample(hits[k:], min(k, len(hits[k:])))  # noqa: S311 - a shuffle, no secret
        return [other.model_copy(update={"score": near.score}) for other, near in zip(lot, nearest, strict=False)]

    def episodes(self) -> Iterator[Episode]:
        return self._kept.episodes()

    def stats(self) -> MemoryStats:
        return self._kept.stats()

    def warm(self) -> None:
        for store in (self._kept, self._shown):
            getattr(store, "warm", lambda: None)()

    def close(self) -> None:
        """The stores belong to who made them."""
