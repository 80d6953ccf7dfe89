"""Two sets of reward weights over the same recorded attempts: what each would have paid, and what it would have chosen.

Nothing is run again: the verdicts and findings are the episodes' own, so time and memory have no reference and are
left out. It shows where two rewards differ, not which of them trains the better model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import StatisticsError, correlation, fmean

from crucible.config import RewardSettings
from crucible.errors import InputError
from crucible.rewards import COMPONENTS, RewardInput, Rewards
from crucible.types import Attempt, Episode, Frozen

TOTAL = "total"
Scores = Mapping[str, float]


class RewardComparison(Frozen):
    """Two rewards, a and b, over every attempt that has a verdict."""

    episodes: int
    """Those with such an attempt."""
    attempts: int
    mean_a: dict[str, float]
    """By component, and `total`; over the attempts for which it is known."""
    mean_b: dict[str, float]
    spearman: float | None
    """Rank correlation of the totals over attempts; None where one of the two is the same for all."""
    chosen_differently: float
    """Share of episodes in which the attempt of highest total (the earliest of several) is another program."""


def ab(a: RewardSettings, b: RewardSettings, episodes: Iterable[Episode]) -> RewardComparison:
    """Raises InputError where no attempt has a verdict."""
    scores_a: list[Scores] = []
    scores_b: list[Scores] = []
    differently: list[bool] = []
    for episode in episodes:
        judged = [attempt for attempt in episode.attempts if attempt.verdict is not None]
        if not judged:
            continue
        ours, theirs = _scores(a, judged), _scores(b, judged)
        differently.append(_chosen(judged, ours) != _chosen(judged, theirs))
        scores_a += ours
        scores_b += theirs
    if not differently:
        raise InputError("no attempt of these episodes has a verdict: there is nothing to compare rewards by")
    return RewardComparison(
        episodes=len(differently),
        attempts=len(scores_a),
        mean_a=_means(scores_a),
        mean_b=_means(scores_b),
        spearman=spearman([score[TOTAL] for score in scores_a], [score[TOTAL] for score in scores_b]),
        chosen_differently=fmean(differently),
    )


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Rank correlation, ties at their mean rank (Spearman 1904, Am. J. Psychol. 15, 72-101). None where it is undefined:
    fewer than two values, or all alike."""
    try:
        return correlation(_ranks(xs), _ranks(ys))
    except StatisticsError:
        return None


def table(comparison: RewardComparison) -> str:
    """The comparison as plain text."""
    rows = [("", "a", "b", "b - a")]
    for name in (*COMPONENTS, TOTAL):
        one, other = comparison.mean_a.get(name), comparison.mean_b.get(name)
        if one is not None and other is not None:
            rows.append((name, f"{one:.3f}", f"{other:.3f}", f"{other - one:+.3f}"))
    wide = max(len(row[0]) for row in rows)
    lines = [f"{name:<{wide}}  {one:>6}  {other:>6}  {by:>7}".rstrip() for name, one, other, by in rows]
    agreement = "undefined" if comparison.spearman is None else f"{comparison.spearman:.3f}"
    return "\n".join(
        [
            f"means over {comparison.attempts} attempts of {comparison.episodes} episodes",
            *lines,
            f"rank correlation of the totals (Spearman): {agreement}",
            f"episodes in which they choose another program: {100 * comparison.chosen_differently:.1f} %",
        ]
    )


def _scores(settings: RewardSettings, attempts: Sequence[Attempt]) -> list[Scores]:
    rewards = Rewards(settings)
    return [rewards.score(RewardInput.of(attempt)) for attempt in attempts]


def _chosen(attempts: Sequence[Attempt], scores: Sequence[Scores]) -> str:
    best = max(range(len(attempts)), key=lambda index: scores[index][TOTAL])
    return attempts[best].fingerprint


def _means(scores: Sequence[Scores]) -> dict[str, float]:
    known = {name: [score[name] for score in scores if name in score] for name in (*COMPONENTS, TOTAL)}
    return {name: fmean(values) for name, values in known.items() if values}


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    first: dict[float, int] = {}
    last: dict[float, int] = {}
    for place, value in enumerate(order):
        first.setdefault(value, place)
        last[value] = place
    return [(first[value] + last[value]) / 2 for value in values]
