"""Everything the report shows, as data: what stats.py says, and counts of what is in the cells.

The same `Facts` are written to summary.json and shown in the tables and plots, so none of the three can say otherwise.
No problem's text and no program is among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from crucible.bench import stats
from crucible.bench.record import Cell, Plan, Results, keys
from crucible.bench.stats import ArmSummary, Comparison, Point
from crucible.errors import InputError
from crucible.reporting.words import FAILURES, STEPS, UNCLASSIFIED
from crucible.stats import Interval, wilson
from crucible.types import Frozen

VERSION = 1
BASELINES = 2
"""Arms are compared with the plan's first ones: one sample, and blind sampling for the same tokens."""
MAX_CONSTRUCTS = 14
MAX_DIFFERING = 40
LEVELS = ("easy", "introductory", "medium", "interview", "hard", "competition")
AS_ASKED, MENDED, NO_PROGRAM = "as asked", "any of these", "no program"


class Bar(Frozen):
    """`ci95`: Wilson's, over problems."""

    problems: int
    pass_at_1: float
    ci95: Interval


class Level(Frozen):
    """A difficulty. `problems`: the most that an arm worked."""

    name: str
    problems: int
    arms: dict[str, Bar]


class Passed(Frozen):
    cells: int
    passed: int


class Kind(Frozen):
    """A kind of failure and, by arm, how many cells ended with it."""

    name: str
    meaning: str
    arms: dict[str, int]


class Step(Frozen):
    """A step of the extraction and, by arm, the cells that needed it. What passed after it may have passed without it."""

    name: str
    meaning: str
    arms: dict[str, Passed]


class Construct(Frozen):
    """An AST construct and, by arm, the share of chosen programs that use it."""

    name: str
    share: dict[str, float]


class Differing(Frozen):
    """A problem that some arms solved more often than others."""

    problem: str
    arms: dict[str, Passed]


class Facts(Frozen):
    version: int = VERSION
    problems: int
    cells: int
    planned: int
    verdicts: tuple[str, ...]
    arms: tuple[ArmSummary, ...]
    comparisons: tuple[Comparison, ...]
    curves: dict[str, tuple[Point, ...]]
    levels: tuple[Level, ...]
    failures: tuple[Kind, ...]
    tokens: dict[str, tuple[int, ...]]
    """By arm, those of every cell, ascending."""
    seconds: dict[str, tuple[float, ...]]
    constructs: tuple[Construct, ...]
    extraction: tuple[Step, ...]
    differing: tuple[Differing, ...]
    """At most MAX_DIFFERING, where the arms are furthest apart first."""
    differing_in_all: int
    plan: Plan

    @property
    def missing(self) -> int:
        return self.planned - self.cells

    @property
    def names(self) -> list[str]:
        return [arm.arm for arm in self.arms]


def gather(results: Results) -> Facts:
    arms = stats.summarise(results)
    cells = {summary.arm: results.of(summary.arm) for summary in arms}
    comparisons = tuple(_comparisons(results, list(cells)))
    differing = list(_differing(results.plan, cells))
    return Facts(
        problems=len(results.plan.problems),
        cells=len(results.cells),
        planned=sum(1 for _ in keys(results.plan)),
        verdicts=tuple(map(stats.verdict_sentence, comparisons)),
        arms=tuple(arms),
        comparisons=comparisons,
        curves={arm: tuple(stats.curve(results, arm)) for arm in cells},
        levels=tuple(_levels(arms)),
        failures=tuple(_failures(cells)),
        tokens={arm: tuple(sorted(cell.tokens.completion for cell in of)) for arm, of in cells.items()},
        seconds={arm: tuple(sorted(cell.wall_s for cell in of)) for arm, of in cells.items()},
        constructs=used({arm: [cell.constructs for cell in of if cell.code] for arm, of in cells.items()}),
        extraction=tuple(_extraction(cells)),
        differing=tuple(differing[:MAX_DIFFERING]),
        differing_in_all=len(differing),
        plan=results.plan.model_copy(update={"problems": ()}),
    )


def _comparisons(results: Results, arms: Sequence[str]) -> Iterator[Comparison]:
    """The later arm first, so that a positive difference is what it gains."""
    for index, baseline in enumerate(arms[:BASELINES]):
        for arm in arms[index + 1 :]:
            try:
                yield stats.compare(results, arm, baseline)
            except InputError:
                continue  # an incomplete benchmark: the two have no cell in common yet


def _levels(arms: Sequence[ArmSummary]) -> Iterator[Level]:
    names = {name for arm in arms for name in arm.by_difficulty}
    for name in sorted(names, key=rank):
        shares = {arm.arm: arm.by_difficulty[name] for arm in arms if name in arm.by_difficulty}
        bars = {
            arm: Bar(
                problems=share.problems,
                pass_at_1=share.pass_at_1,
                ci95=wilson(share.pass_at_1 * share.problems, share.problems),
            )
            for arm, share in shares.items()
        }
        yield Level(name=name, problems=max(bar.problems for bar in bars.values()), arms=bars)


def rank(difficulty: str) -> tuple[bool, int, float, str]:
    """Sorts difficulties from easy to hard: numbers as numbers, known words by what they mean; ungraded comes last."""
    name = difficulty.strip().lower()
    number = float(name) if re.fullmatch(r"\d+(\.\d+)?", name) else 0.0
    return name == "", (*LEVELS, name).index(name), number, name


def _failures(cells: dict[str, tuple[Cell, ...]]) -> Iterator[Kind]:
    counts = {arm: Counter(cell.failure or UNCLASSIFIED for cell in of if not cell.passed) for arm, of in cells.items()}
    for name, meaning in [*FAILURES.items(), (UNCLASSIFIED, "The run ended without a verdict.")]:
        if any(count[name] for count in counts.values()):
            yield Kind(name=name, meaning=meaning, arms={arm: count[name] for arm, count in counts.items()})


def used(programs: Mapping[str, Sequence[Mapping[str, int]]]) -> tuple[Construct, ...]:
    """Return the constructs that most programs use, of every arm's programs, each as its constructs' counts."""
    there = {arm: of for arm, of in programs.items() if of}
    found = Counter(name for of in there.values() for program in of for name, times in program.items() if times)
    return tuple(
        Construct(
            name=name,
            share={arm: sum(bool(program.get(name)) for program in of) / len(of) for arm, of in there.items()},
        )
        for name, _ in sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_CONSTRUCTS]
    )


def _extraction(cells: dict[str, tuple[Cell, ...]]) -> Iterator[Step]:
    programs = {arm: [cell for cell in of if cell.code] for arm, of in cells.items()}
    steps = dict.fromkeys([*STEPS, *(step for of in programs.values() for cell in of for step in cell.extraction)])

    def row(name: str, meaning: str, chosen: dict[str, list[Cell]]) -> Step:
        arms = {arm: Passed(cells=len(of), passed=sum(cell.passed for cell in of)) for arm, of in chosen.items()}
        return Step(name=name, meaning=meaning, arms=arms)

    asked = {arm: [cell for cell in of if not cell.extraction] for arm, of in programs.items()}
    mended = {arm: [cell for cell in of if cell.extraction] for arm, of in programs.items()}
    nothing = {arm: [cell for cell in of if not cell.code] for arm, of in cells.items()}
    yield row(AS_ASKED, "one fenced program, taken as it was written", asked)
    for name in steps:
        needed = {arm: [cell for cell in of if name in cell.extraction] for arm, of in programs.items()}
        if any(needed.values()):
            yield row(name, STEPS.get(name, ""), needed)
    yield row(MENDED, "cells that needed at least one step", mended)
    yield row(NO_PROGRAM, "nothing in the answer could be taken for a program", nothing)


def _differing(plan: Plan, cells: dict[str, tuple[Cell, ...]]) -> Iterator[Differing]:
    """A problem is compared over the arms that worked it. The furthest apart first, then in the plan's order."""
    by_problem: dict[str, dict[str, list[bool]]] = {}
    for arm, of in cells.items():
        for cell in of:
            by_problem.setdefault(cell.problem, {}).setdefault(arm, []).append(cell.passed)
    order = {problem.id: index for index, problem in enumerate(plan.problems)}

    def spread(problem: str) -> float:
        shares = [sum(passed) / len(passed) for passed in by_problem[problem].values()]
        return max(shares) - min(shares)

    apart = [problem for problem in by_problem if spread(problem)]
    for problem in sorted(apart, key=lambda problem: (-spread(problem), order.get(problem, len(order)), problem)):
        arms = {arm: Passed(cells=len(of), passed=sum(of)) for arm, of in by_problem[problem].items()}
        yield Differing(problem=problem, arms=arms)
