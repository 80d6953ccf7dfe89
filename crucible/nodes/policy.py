"""The decisions of the loop as pure functions of the State: when to stop, what to try next, which is best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from crucible.config import CyclesSettings, ToolsSettings
from crucible.types import Attempt, FindingKind, State, Tokens

STRATEGIES = {
    "auto": "repair near misses, resample the rest",
    "direct": "one greedy sample, no loop",
    "resample": "fresh samples only, never a repair (best-of-n)",
    "repair": "always repair the best failing attempt",
}

Decision = Literal["resample", "repair"]

MIN_SAMPLE_TOKENS = 32
"""A sample that may not write more than this cannot hold a program: the budget counts as spent."""


def best_attempt(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt to show or to repair: most tests passed, then the answers that most attempts agree on, then the program
    written most often, then fewest errors, then the earliest."""
    behaviours = Counter(map(behaviour, attempts))
    programs = Counter(attempt.fingerprint for attempt in attempts)

    def rank(attempt: Attempt) -> tuple[float, int, int, int, int]:
        fraction = attempt.verdict.fraction if attempt.verdict else -1.0
        errors = sum(finding.severity == "error" for finding in attempt.findings)
        agree = behaviours[behaviour(attempt)]
        return (attempt.solved + fraction, agree, programs[attempt.fingerprint], -errors, len(attempt.code) > 0)

    return max(attempts, key=rank, default=None)


def behaviour(attempt: Attempt) -> tuple[object, ...]:
    """Return what an attempt did on the visible tests: equal for attempts whose every answer was the same. What did not run
    agrees with nothing."""
    if attempt.verdict is None or not attempt.verdict.cases:
        return (attempt.id,)
    return tuple((case.status, case.actual) for case in attempt.verdict.cases)


def batch(attempts: Sequence[Attempt], left: int, samples: int) -> tuple[int, int]:
    """(samples, tokens each) for a batch of at most `samples` over `left` tokens.

    A batch that shares out too little cuts every answer short. As long as the task's answers have been (those that came to
    an end, and half as much again) is what one sample must have.
    """
    whole = [attempt.completion_tokens for attempt in attempts if attempt.finish_reason == "stop"]
    room = max(MIN_SAMPLE_TOKENS, max(whole, default=0) * 3 // 2)
    count = max(1, min(samples, left // room))
    return count, max(1, left // count)


def budget_left(state: State, cycles: CyclesSettings) -> int:
    """Generated tokens the run may still spend."""
    return cycles.max_total_tokens - state.get("tokens", Tokens()).completion


def why_stop(state: State, cycles: CyclesSettings, spent_s: float) -> str | None:
    """The reason to end the loop now, or None to go on. `spent_s`: wall seconds used by the run."""
    approval = state.get("approval")
    if approval is not None and not approval.granted:
        return f"refused: {approval.reason}"
    attempts = state.get("attempts", [])
    if any(attempt.solved for attempt in attempts):
        return "solved"
    if any(attempt.verdict is not None and attempt.verdict.total == 0 for attempt in attempts):
        return "no tests to check against"
    if state["strategy"] == "direct":
        return "one direct sample"
    if state.get("cycle", 0) >= cycles.max_cycles:
        return f"budget: {cycles.max_cycles} cycles used"
    if budget_left(state, cycles) < MIN_SAMPLE_TOKENS:
        return f"budget: {cycles.max_total_tokens} generated tokens used"
    if spent_s >= cycles.max_wall_s:
        return f"budget: {cycles.max_wall_s:g} s used"
    return None


def next_decision(state: State, cycles: CyclesSettings) -> tuple[Decision, Attempt | None]:
    """Repair the best failing attempt, or draw fresh samples.

    Published measurements find that repair at small model sizes at best ties blind resampling
    (arXiv 2606.31511), so `auto` repairs only where the executed facts say most: a near miss (some tests pass)
    or a crash with a message. An attempt is repaired once; a repair that changed nothing is not repeated.
    """
    strategy = state["strategy"]
    best = best_attempt(state.get("attempts", []))
    repaired = {diagnosis.attempt_id for diagnosis in state.get("diagnoses", [])}
    if (
        best is None
        or strategy in ("resample", "direct")
        or best.id in repaired
        or len(repaired) >= cycles.max_reflect
        or not best.code.strip()
    ):
        return "resample", None
    if strategy == "repair" or _worth_repairing(best):
        return "repair", best
    return "resample", None


def told(attempt: Attempt, tools: ToolsSettings) -> Attempt:
    """The attempt as the model is told of it: without the linter's findings where `tools.lint` is off."""
    if tools.lint:
        return attempt
    kept = tuple(found for found in attempt.findings if found.kind is not FindingKind.LINT)
    return attempt.model_copy(update={"findings": kept})


def _worth_repairing(attempt: Attempt) -> bool:
    near_miss = attempt.verdict is not None and attempt.verdict.passed > 0
    crashed = any(
        finding.kind in (FindingKind.RUNTIME, FindingKind.SYNTAX, FindingKind.MISSING_ENTRY)
        and finding.severity == "error"
        for finding in attempt.findings
    )
    denied = any(finding.action == "deny" for finding in attempt.findings)
    return near_miss or crashed or denied


def temperatures(schedule: Sequence[float], samples: int, *, already_greedy: bool) -> list[float]:
    """One temperature per sample of a batch: the schedule, repeated as needed.

    A greedy draw (0.0) of a prompt that was already drawn greedily would pay for the same text again, and two
    greedy draws in one batch are one: those places take the schedule's next warm value.
    """
    warm = [value for value in schedule if value > 0] or [0.8]
    drawn: list[float] = []
    greedy_used = already_greedy
    for index in range(samples):
        value = schedule[index % len(schedule)]
        if value == 0.0 and greedy_used:
            value = warm[index % len(warm)]
        greedy_used = greedy_used or value == 0.0
        drawn.append(value)
    return drawn
