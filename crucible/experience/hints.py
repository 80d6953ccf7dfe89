"""Hints as a last resort, and what they do.

A problem is stuck after so many failed episodes. From then on the lot decides, each time that it is worked, whether a hint
is given: with a chance that halves with each decision on that problem (exponential backoff), the weakest hint first. That
the lot decides is what lets their effect be measured: stuck problems with and without a hint differ in nothing else. Later
decisions are about problems that resisted longer and have a smaller chance, so the comparison takes each problem's first
decision alone, where the chance is the same for all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from crucible.config import HintSettings, packaged
from crucible.stats import Interval, wilson
from crucible.types import Frozen

FEW = 30
"""Problems on either side below which the comparison is said to rest on few."""


class Decided(NamedTuple):
    """A decision on a stuck problem. hint: the place of the hint that was given, from 0; None: the lot said no."""

    problem: str
    hint: int | None
    success: bool


class Drawn(NamedTuple):
    """stuck: whether there was anything to decide. hint: as in `Decided`."""

    stuck: bool
    hint: int | None = None


def draw(
    problem: str, hints: int, *, failed: int, before: Sequence[Decided], seed: int, settings: HintSettings | None = None
) -> Drawn:
    """Return whether `problem`, which has so many `hints` and `failed` episodes, gets one. before: earlier decisions on it.

    The same arguments give the same decision."""
    settings = settings or packaged(HintSettings)
    if not hints or failed < settings.stuck_after:
        return Drawn(stuck=False)
    lot = random.Random(f"{seed}/hint/{problem}/{len(before)}")  # noqa: S311 - reproducible, and no secret
    if lot.random() >= settings.chance * settings.backoff ** len(before):
        return Drawn(stuck=True)
    given = sum(decided.hint is not None for decided in before)
    return Drawn(stuck=True, hint=min(given, hints - 1))


class Group(Frozen):
    """Problems whose first decision went one way. `ci95`: Wilson's, of the share that succeeded."""

    problems: int
    successes: int
    ci95: Interval


class Effect(Frozen):
    """The effect of hints. `decisions`, `given`, `given_successes`: over all decisions; the rest over first ones."""

    decisions: int
    given: int
    given_successes: int
    hinted: Group
    unhinted: Group
    difference: float | None
    """Success with a hint less success without; None where one side has no problem."""
    ci95: Interval | None
    says: str


def effect(decisions: Iterable[Decided]) -> Effect:
    """decisions: in order."""
    taken = list(decisions)
    first: dict[str, Decided] = {}
    for decided in taken:
        first.setdefault(decided.problem, decided)
    hinted = _group(each.success for each in first.values() if each.hint is not None)
    unhinted = _group(each.success for each in first.values() if each.hint is None)
    difference = interval = None
    if hinted.problems and unhinted.problems:
        difference = hinted.successes / hinted.problems - unhinted.successes / unhinted.problems
        interval = _newcombe(hinted, unhinted)
    given = [each for each in taken if each.hint is not None]
    return Effect(
        decisions=len(taken),
        given=len(given),
        given_successes=sum(each.success for each in given),
        hinted=hinted,
        unhinted=unhinted,
        difference=difference,
        ci95=interval,
        says=_sentence(hinted, unhinted, difference, interval),
    )


def _group(successes: Iterable[bool]) -> Group:
    seen = list(successes)
    return Group(problems=len(seen), successes=sum(seen), ci95=wilson(sum(seen), len(seen)))


def _newcombe(one: Group, other: Group) -> Interval:
    """95 % interval of the difference of two independent shares, from Wilson's of each
    (Newcombe 1998, Statist. Med. 17, 873-890, method 10)."""
    p, q = one.successes / one.problems, other.successes / other.problems
    below = math.hypot(p - one.ci95.low, other.ci95.high - q)
    above = math.hypot(one.ci95.high - p, q - other.ci95.low)
    return Interval(max(-1.0, p - q - below), min(1.0, p - q + above))


def _sentence(hinted: Group, unhinted: Group, difference: float | None, interval: Interval | None) -> str:
    if not hinted.problems and not unhinted.problems:
        return "no problem that has hints was stuck: nothing can be said of them"
    figures = (
        f"solved at the first decision: {hinted.successes} of {hinted.problems} stuck problems with a hint, "
        f"{unhinted.successes} of {unhinted.problems} without"
    )
    if difference is None or interval is None:
        return f"what hints do cannot be told: {figures}"
    low, high = interval
    found = "hints help" if low > 0 else "hints harm" if high < 0 else "no effect of hints was found"
    few = f"; these are few problems ({hinted.problems} and {unhinted.problems}), only a large effect would show"
    return (
        f"{found}: {figures}; difference {100 * difference:+.1f} points, "
        f"95 % interval {100 * low:+.1f} to {100 * high:+.1f}{few if min(hinted.problems, unhinted.problems) < FEW else ''}"
    )
