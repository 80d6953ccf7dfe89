"""Which problems are worked next: an adaptive curriculum over levels of difficulty.

Pure functions of problems, history and seed: the same three give the same next round, on every machine. A level is a
difficulty of the set. The curriculum climbs where most of the latest episodes at its level succeed, steps back where few
do, and now and then revisits an easier level. What it knows of a problem is whether it was solved and how often it was
tried, never its text.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from crucible.bench.report.facts import rank
from crucible.config import CurriculumSettings, packaged


class Past(NamedTuple):
    """An episode as far as the curriculum depends on it."""

    problem: str
    success: bool


class Pick(NamedTuple):
    """A problem to work. `level`: its own, from 0."""

    problem: str
    level: int
    revisit: bool = False


class Round(NamedTuple):
    """The problems worked next, at the same time. `level`: the curriculum's, from 0. Without picks there is nothing left."""

    level: int
    picks: tuple[Pick, ...]


def levels(difficulties: Iterable[str]) -> tuple[str, ...]:
    """The levels from easy to hard: numbers as numbers, words by what they mean; what has no difficulty is one level."""
    return tuple(sorted({difficulty.strip().casefold() for difficulty in difficulties}, key=rank))


def next_round(
    difficulties: Mapping[str, str],
    history: Sequence[Past],
    *,
    size: int,
    seed: int,
    again: bool = False,
    settings: CurriculumSettings | None = None,
) -> Round:
    """Up to `size` distinct problems. difficulties: of every problem, by id. history: every episode so far, in order.

    again: solved problems count as open too."""
    board = _Board(difficulties, settings or packaged(CurriculumSettings), again)
    for past in history:
        board.see(past)
    return Round(board.level, tuple(board.picks(size, seed, begun=len(history))))


class _Board:
    """The state that a history leads to."""

    def __init__(self, difficulties: Mapping[str, str], settings: CurriculumSettings, again: bool) -> None:
        names = levels(difficulties.values())
        self._level_of = {
            problem: names.index(difficulty.strip().casefold()) for problem, difficulty in difficulties.items()
        }
        self._sizes = Counter(self._level_of.values())
        self._settings, self._again = settings, again
        self._tries: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._solved: set[str] = set()
        self._open = Counter(self._sizes)
        """Problems by level that are neither solved nor at rest."""
        self._latest: deque[bool] = deque(maxlen=settings.window)
        self.level = 0

    def see(self, past: Past) -> None:
        if (at := self._level_of.get(past.problem)) is None:
            return  # of another set
        was_open = self._is_open(past.problem)
        self._tries[past.problem] += 1
        if past.success:
            self._solved.add(past.problem)
        else:
            self._failed[past.problem] += 1
        self._open[at] -= was_open and not self._is_open(past.problem)
        if at == self.level:
            self._latest.append(past.success)
            self._decide()
        if not self._open[self.level] and (others := [level for level in self._order() if self._open[level]]):
            self._move(others[0])

    def _decide(self) -> None:
        if len(self._latest) < min(self._settings.least, self._settings.window, self._sizes[self.level]):
            return
        rate = sum(self._latest) / len(self._latest)
        if rate >= self._settings.climb_at:
            wanted = [level for level in range(self.level + 1, len(self._sizes)) if self._open[level]]
        elif rate < self._settings.back_under:
            wanted = [level for level in range(self.level - 1, -1, -1) if self._open[level]]
        else:
            return
        if wanted:
            self._move(wanted[0])

    def _move(self, level: int) -> None:
        self.level = level
        self._latest.clear()

    def _order(self) -> Iterator[int]:
        """The level, then what fills a round that it cannot: harder ones, then easier ones."""
        yield from range(self.level, len(self._sizes))
        yield from range(self.level - 1, -1, -1)

    def _is_open(self, problem: str) -> bool:
        return (self._again or problem not in self._solved) and self._failed[problem] < self._settings.rest_after

    def picks(self, size: int, seed: int, *, begun: int) -> Iterator[Pick]:
        # Where all that is not solved is at rest, rest is over.
        candidates = [problem for problem in self._level_of if self._is_open(problem)]
        candidates = candidates or [problem for problem in self._level_of if self._again or problem not in self._solved]
        waiting: dict[int, list[str]] = {level: [] for level in range(len(self._sizes))}
        for problem in sorted(
            candidates, key=lambda problem: (self._tries[problem], _lot(seed, problem)), reverse=True
        ):
            waiting[self._level_of[problem]].append(problem)
        for place in range(size):
            draw = random.Random(f"{seed}/revisit/{begun + place}")  # noqa: S311 - reproducible, and no secret
            easier = [level for level in range(self.level) if waiting[level]]
            revisit = bool(easier) and draw.random() < self._settings.revisit
            at = draw.choice(easier) if revisit else next((level for level in self._order() if waiting[level]), None)
            if at is None:
                return
            yield Pick(waiting[at].pop(), at, revisit)


def _lot(seed: int, problem: str) -> bytes:
    """Where a problem stands among those tried equally often."""
    return hashlib.sha256(f"{seed}/{problem}".encode("utf-8", "surrogatepass")).digest()
