"""What a benchmark's cells say: shares with their intervals, costs, and arms compared pair by pair.

Pure functions of what was read. One problem worked with three seeds is three cells and still one problem: cells of a
problem are alike, so every interval and the sign test go over problems. None of this speaks of problems unlike those
of the set.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from crucible.bench.record import GREEDY, Cell, Results
from crucible.errors import InputError
from crucible.rewards import Means
from crucible.stats import Interval, bootstrap, mcnemar, pass_at_k, sign_test, wilson
from crucible.types import Frozen

SIGNIFICANT = 0.05


# ---------------------------------------------------------------- one arm


class Share(Frozen):
    """The number of problems of one difficulty, and how many of them were solved."""

    problems: int
    pass_at_1: float


class ArmSummary(Frozen):
    """One arm over all its cells. Solved: by the hidden tests. Tokens: generated ones, diagnoses included."""

    arm: str
    problems: int
    cells: int
    pass_at_1: float
    """Mean over problems of the mean over seeds."""
    pass_at_k: dict[int, float]
    """For k up to the seeds that every problem has."""
    ci95: Interval
    """Of pass_at_1: Wilson's over problems, each as one draw. Conservative where a problem has several seeds."""
    tokens: int
    tokens_per_problem: float
    """Each time that a problem was worked: per cell."""
    tokens_per_solved: float | None
    """All tokens by solved cells; None where none is solved."""
    wall_s: float
    """Summed over cells, which may have run at the same time."""
    seconds_per_solved: float | None
    tokens_per_s: float | None
    """Tokens by that sum; None where no time was taken."""
    failures: dict[str, int]
    """Unsolved cells by kind, the most frequent first."""
    by_difficulty: dict[str, Share]
    visible_only: int
    """Cells that passed the visible tests and failed a hidden one."""
    mean_reward: float | None = None
    """Over cells, what the loop was paid: by the visible tests, and 0 for a cell without a program. None: not recorded."""
    quality: float | None = None
    """Over cells, the mean of the components lint, style and security. None: not recorded."""


def summarise(results: Results) -> list[ArmSummary]:
    """Every arm that has cells, in the plan's order."""
    return [_summary(results, arm, cells) for arm in results.plan.arms if (cells := results.of(arm))]


def _summary(results: Results, arm: str, cells: Sequence[Cell]) -> ArmSummary:
    by_problem: dict[str, list[bool]] = defaultdict(list)
    for cell in cells:
        by_problem[cell.problem].append(cell.passed)
    shares = {problem: fmean(passed) for problem, passed in by_problem.items()}
    solved = sum(cell.passed for cell in cells)
    tokens, wall_s = sum(cell.tokens.completion for cell in cells), math.fsum(cell.wall_s for cell in cells)
    means = Means.of(cell.rewards for cell in cells)
    return ArmSummary(
        arm=arm,
        problems=len(shares),
        cells=len(cells),
        pass_at_1=fmean(shares.values()),
        pass_at_k={
            k: fmean(pass_at_k(len(passed), sum(passed), k) for passed in by_problem.values())
            for k in range(1, min(map(len, by_problem.values())) + 1)
        },
        ci95=wilson(math.fsum(shares.values()), len(shares)),
        tokens=tokens,
        tokens_per_problem=tokens / len(cells),
        tokens_per_solved=tokens / solved if solved else None,
        wall_s=wall_s,
        seconds_per_solved=wall_s / solved if solved else None,
        tokens_per_s=tokens / wall_s if wall_s else None,
        failures=dict(Counter(cell.failure for cell in cells if cell.failure and not cell.passed).most_common()),
        by_difficulty=_by_difficulty(results, shares),
        visible_only=sum(cell.passed_visible and not cell.passed for cell in cells),
        mean_reward=means.reward,
        quality=means.quality,
    )


def _by_difficulty(results: Results, shares: Mapping[str, float]) -> dict[str, Share]:
    groups: dict[str, list[float]] = defaultdict(list)
    for problem in results.plan.problems:
        if problem.id in shares:
            groups[problem.difficulty].append(shares[problem.id])
    return {difficulty: Share(problems=len(group), pass_at_1=fmean(group)) for difficulty, group in groups.items()}


class Point(NamedTuple):
    tokens: int
    share: float


def curve(results: Results, arm: str) -> list[Point]:
    """Return how much is solved for how little: the share of the arm's cells that are solved and generated at most so many
    tokens, at every number where it rises, from (0, …) on."""
    cells = _of(results, arm)
    solved = Counter(cell.tokens.completion for cell in cells if cell.passed)
    points, so_far = [], 0
    for tokens in sorted({0, *solved}):
        so_far += solved[tokens]
        points.append(Point(tokens, so_far / len(cells)))
    return points


# ---------------------------------------------------------------- two arms


class Comparison(Frozen):
    """Two arms on what both worked: the same problem with the same seed. The arm `single` is greedy and run once; its
    cell stands for every seed, and counts, tokens too, in each of its pairs."""

    arm_a: str
    arm_b: str
    problems: int
    pairs: int
    both: int
    only_a: int
    only_b: int
    neither: int
    pass_at_1_a: float
    pass_at_1_b: float
    difference: float
    """pass_at_1_a - pass_at_1_b, over pairs."""
    ci95: Interval
    """Of the difference: bootstrap over problems."""
    mcnemar_p: float
    """Exact, over pairs as if they were independent."""
    sign_p: float
    """Exact, over problems: the one that several seeds of a problem do not make smaller than it is."""
    tokens_a: int
    tokens_b: int


def compare(results: Results, arm_a: str, arm_b: str) -> Comparison:
    """Raises InputError for an arm that has no cells, or where the two have no problem and seed in common."""
    return _compared(arm_a, arm_b, list(_pairs(_of(results, arm_a), _of(results, arm_b))))


def compare_folders(a: Results, b: Results, arm: str) -> Comparison:
    """The same arm in two folders, over the problems whose content is the same in both. Raises InputError as `compare`."""
    same = {(problem.id, problem.fingerprint) for problem in a.plan.problems}
    shared = {problem.id for problem in b.plan.problems if (problem.id, problem.fingerprint) in same}
    ours = [cell for cell in _of(a, arm) if cell.problem in shared]
    return _compared(f"{arm} ({a.folder})", f"{arm} ({b.folder})", list(_pairs(ours, _of(b, arm))))


def _of(results: Results, arm: str) -> Sequence[Cell]:
    cells = results.of(arm)
    if not cells:
        there = ", ".join(dict.fromkeys(cell.arm for cell in results.cells)) or "none yet"
        raise InputError(f"{results.folder} holds no results of arm {arm!r}; there are: {there}")
    return cells


def _pairs(ours: Iterable[Cell], theirs: Iterable[Cell]) -> Iterator[tuple[Cell, Cell]]:
    by_key = {(cell.problem, _seed(cell)): cell for cell in theirs}
    seeds: dict[str, list[int | None]] = defaultdict(list)
    for problem, seed in by_key:
        seeds[problem].append(seed)
    for cell in ours:
        for seed in seeds[cell.problem]:
            if seed == _seed(cell) or None in (seed, _seed(cell)):
                yield cell, by_key[cell.problem, seed]


def _seed(cell: Cell) -> int | None:
    """None: for every seed the same."""
    return None if cell.arm == GREEDY else cell.seed


def _compared(arm_a: str, arm_b: str, pairs: Sequence[tuple[Cell, Cell]]) -> Comparison:
    if not pairs:
        raise InputError(f"{arm_a} and {arm_b} have no problem with the same seed in common")
    counts = Counter((a.passed, b.passed) for a, b in pairs)
    by_problem: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for a, b in pairs:
        by_problem[a.problem].append((a.passed, b.passed))
    shares_a = [fmean(a for a, _ in passed) for passed in by_problem.values()]
    shares_b = [fmean(b for _, b in passed) for passed in by_problem.values()]
    differences = [a - b for a, b in zip(shares_a, shares_b, strict=True)]
    return Comparison(
        arm_a=arm_a,
        arm_b=arm_b,
        problems=len(by_problem),
        pairs=len(pairs),
        both=counts[True, True],
        only_a=counts[True, False],
        only_b=counts[False, True],
        neither=counts[False, False],
        pass_at_1_a=fmean(shares_a),
        pass_at_1_b=fmean(shares_b),
        difference=fmean(differences),
        ci95=bootstrap(differences),
        mcnemar_p=mcnemar(counts[True, False], counts[False, True]),
        sign_p=sign_test(differences),
        tokens_a=sum(a.tokens.completion for a, _ in pairs),
        tokens_b=sum(b.tokens.completion for _, b in pairs),
    )


def verdict_sentence(comparison: Comparison) -> str:
    """Return what the comparison allows to be said. A difference only where the interval leaves out 0 and the sign test agrees."""
    low, high = comparison.ci95
    if low == high:
        spread = "an interval cannot be given: every problem shows the same difference"
    else:
        spread = f"95 % interval {100 * low:+.1f} to {100 * high:+.1f} points"
    figures = (
        f"{comparison.arm_a} {_percent(comparison.pass_at_1_a)}, {comparison.arm_b} {_percent(comparison.pass_at_1_b)} "
        f"of {comparison.problems} problems; difference {100 * comparison.difference:+.1f} points, {spread}; "
        f"sign test over problems {_p(comparison.sign_p)}"
    )
    if low <= 0 <= high:
        return f"no difference was found: {figures}"
    if comparison.sign_p >= SIGNIFICANT:
        return f"a difference is not certain, the sign test does not confirm it: {figures}"
    more = "more" if comparison.difference > 0 else "less"
    return f"{comparison.arm_a} solves {more} than {comparison.arm_b}: {figures}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
