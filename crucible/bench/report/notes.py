"""The report's sentences: what a table counts, what its figures rest on, and how it was all measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crucible.bench.record import GREEDY
from crucible.bench.report.facts import AS_ASKED, MENDED, Facts, Passed
from crucible.bench.stats import ArmSummary, Comparison
from crucible.reporting.words import count, percent, together


def subject(facts: Facts) -> str:
    plan = facts.plan
    sets = together([one.name for one in plan.sets]) or "no set"
    begun = f"; begun {plan.created}" if plan.created else ""
    return f"{count(facts.problems)} problems of {sets}, {_seeds(plan.seeds)}, {_budget(plan.budget)}{begun}"


class Said(NamedTuple):
    """`about`: the arms it is about, where it does not name them."""

    about: str
    verdict: str
    figures: str


def verdicts(facts: Facts) -> list[Said]:
    """Return what can be said, and the figures for it, of every comparison; of the arms themselves where there is none."""
    if not facts.verdicts:
        return [_alone(arm) for arm in facts.arms] or [Said("", "Nothing was measured yet", "")]
    return [_said(*said) for said in zip(facts.comparisons, facts.verdicts, strict=True)]


def _said(pair: Comparison, sentence: str) -> Said:
    lead, _, figures = sentence.partition(": ")
    if lead.startswith(pair.arm_a):
        return Said("", lead, figures)
    return Said(f"{pair.arm_a} against {pair.arm_b}", lead[:1].upper() + lead[1:], figures)


def _alone(arm: ArmSummary) -> Said:
    low, high = map(percent, arm.ci95)
    return Said(
        "",
        f"{arm.arm} solves {percent(arm.pass_at_1)} of {count(arm.problems)} problems",
        f"95 % interval {low} to {high}; there is no second arm to compare it with",
    )


def arms(facts: Facts) -> str:
    visible = ", ".join(f"{arm.arm} {arm.visible_only}" for arm in facts.arms if arm.visible_only)
    return (
        "pass@1 is the mean over problems of the mean over seeds; its interval is Wilson's, over problems. Tokens are "
        "generated ones, diagnoses included. Seconds are summed over cells, which may have run at the same time. "
        "A cell counts as solved by the hidden tests alone. "
        f"Cells that passed every visible test and failed a hidden one: {visible or 'none'}."
    )


def comparisons(facts: Facts) -> str:
    stands = (
        f" The arm {GREEDY} is greedy: its one cell of a problem stands for every seed."
        if GREEDY in facts.names
        else ""
    )
    several = ""
    if len(facts.comparisons) > 1:
        several = f" No p is corrected for there being {len(facts.comparisons)} comparisons."
    return (
        f"A pair is the same problem with the same seed.{stands} The difference is the first arm's pass@1 less the second's, "
        "with a bootstrap interval over problems. McNemar's exact test takes pairs for independent, which several seeds of "
        f"a problem are not; the sign test goes over problems, and the verdict rests on it and on the interval.{several}"
    )


def extraction(facts: Facts) -> str:
    total = {step.name: list(step.arms.values()) for step in facts.extraction}

    def of(name: str) -> Passed:
        rows = total.get(name, [])
        return Passed(cells=sum(row.cells for row in rows), passed=sum(row.passed for row in rows))

    asked, mended = of(AS_ASKED), of(MENDED)
    return (
        f"Of {count(facts.cells)} cells, {count(asked.cells)} had their program written as asked, of which "
        f"{count(asked.passed)} passed; {count(mended.cells)} needed a step of post-processing, of which "
        f"{count(mended.passed)} passed. Some of those might have passed without it, so the latter is the most that it "
        "recovered. A cell may need several steps. Numbers are cells that passed, of cells."
    )


def differing(facts: Facts) -> str:
    number, shown = facts.differing_in_all, len(facts.differing)
    if len(facts.arms) < 2:
        return "There are no two arms that could differ."
    if not number:
        return "Every problem was solved equally often by all arms."
    which = f" The {shown} where they are furthest apart:" if shown < number else ""
    return (
        f"{count(number)} of {count(facts.problems)} problems were not solved equally often by all arms.{which} "
        "Numbers are cells that passed, of cells."
    )


def measured(facts: Facts) -> Iterator[tuple[str, str]]:
    plan, model = facts.plan, facts.plan.model
    yield "model", model.name
    yield "model's SHA-256", model.sha256 or "not known"
    yield "engine", model.engine
    if model.adapter:
        yield "adapter", model.adapter
    if model.context_length:
        yield "context", f"{count(model.context_length)} tokens"
    yield "seeds", ", ".join(map(str, plan.seeds))
    yield "budget", _budget(plan.budget)
    for one in plan.sets:
        yield f"set {one.name}", f"{count(one.problems)} problems, SHA-256 {one.sha256}, read from {one.path}"
    yield "memory", plan.memory or "none: no episode could be retrieved"
    yield "settings", f"SHA-256 {plan.settings}"
    yield "cells at a time", str(plan.parallel)
    yield "versions", ", ".join(f"{name} {version}" for name, version in plan.versions.items()) or "not known"
    yield "machine", ", ".join(f"{name} {value}" for name, value in plan.machine.items()) or "not known"
    if plan.created:
        yield "begun", plan.created


def _budget(tokens: int) -> str:
    return f"at most {count(tokens)} generated tokens a cell"


def _seeds(seeds: tuple[int, ...]) -> str:
    return f"seed{'s' if len(seeds) != 1 else ''} {together(list(map(str, seeds)))}"
