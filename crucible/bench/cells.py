"""From the episode of a run to the record of a cell: right or wrong, why, at what price."""

from __future__ import annotations

import ast
import re
from collections import Counter

from crucible.bench.record import AttemptRecord, Cell, Failure
from crucible.languages.python import syntax
from crucible.types import Attempt, Episode, FindingKind, Verdict

_BY_KIND: dict[FindingKind, Failure] = {
    FindingKind.SYNTAX: "syntax",
    FindingKind.MISSING_ENTRY: "missing-entry",
    FindingKind.TIMEOUT: "timeout",
    FindingKind.MEMORY: "memory",
    FindingKind.CONSTRAINT: "constraint",
    FindingKind.RUNTIME: "runtime",
    FindingKind.WRONG_ANSWER: "wrong-answer",
}
"""Findings of a failed attempt, the one that says most first."""

_CONSTRUCTS: dict[str, tuple[type[ast.AST], ...]] = {
    "function": (ast.FunctionDef, ast.AsyncFunctionDef),
    "class": (ast.ClassDef,),
    "if": (ast.If, ast.IfExp),
    "for": (ast.For,),
    "while": (ast.While,),
    "comprehension": (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    "lambda": (ast.Lambda,),
    "try": (ast.Try,),
    "import": (ast.Import, ast.ImportFrom),
    "call": (ast.Call,),
    "return": (ast.Return,),
}


def cell_of(arm: str, seed: int, problem: str, episode: Episode) -> Cell:
    """The cell that this episode fills."""
    best = next((attempt for attempt in episode.attempts if attempt.id == episode.best_attempt), None)
    decisive = episode.hidden_verdict or episode.verdict
    # What only shared the program's process is a pass for a user, and no measurement.
    low = decisive is not None and decisive.verdict == "pass" and decisive.trust == "low"
    passed = decisive is not None and decisive.verdict == "pass" and not low
    visible = best is not None and best.solved
    return Cell(
        arm=arm,
        seed=seed,
        problem=problem,
        passed=passed,
        passed_visible=visible,
        fraction=decisive.fraction if decisive else 0.0,
        failure="low-trust" if low else _failure(episode, best, passed=passed, visible=visible),
        status=episode.status,
        stop=episode.stop,
        tokens=episode.tokens,
        cycles=episode.cycles,
        wall_s=round(episode.wall_s, 3),
        attempts=tuple(_attempt(attempt) for attempt in episode.attempts),
        extraction=best.extraction if best else (),
        code=episode.code,
        constructs=constructs(episode.code),
        rewards=episode.rewards,
        episode_id=episode.episode_id,
    )


def _attempt(attempt: Attempt) -> AttemptRecord:
    return AttemptRecord(
        tokens=attempt.completion_tokens,
        temperature=attempt.temperature,
        strategy=attempt.strategy,
        passed_visible=attempt.solved,
        duplicate=attempt.duplicate_of is not None,
        failure="" if attempt.solved else attempt_failure(attempt),
    )


def _failure(episode: Episode, best: Attempt | None, *, passed: bool, visible: bool) -> Failure:
    if passed:
        return ""
    if episode.status == "refused":
        return "refused"
    if visible:
        return "hidden-only"
    return attempt_failure(best) if best is not None else "no-code"


def attempt_failure(attempt: Attempt) -> Failure:
    """Return why an attempt failed the visible tests."""
    if not attempt.code.strip():
        return "no-code"
    errors = [finding for finding in attempt.findings if finding.severity == "error"]
    if any(finding.action == "deny" for finding in errors):
        return "security"
    if attempt.verdict is not None and _lacks_entry(attempt.verdict):
        return "missing-entry"
    kinds = {finding.kind for finding in errors}
    return next((name for kind, name in _BY_KIND.items() if kind in kinds), "wrong-answer")


def _lacks_entry(verdict: Verdict) -> bool:
    """Whether no case found what it was to call."""
    missing = re.compile(r"AttributeError: module 'solution' has no attribute|NameError: name '\w+' is not defined$")
    told = [case.message for case in verdict.cases if case.status != "skipped"]
    return bool(told) and all(missing.match(message) for message in told)


def constructs(code: str) -> dict[str, int]:
    """Return how often a program uses each construct; empty for one that does not parse."""
    try:
        nodes = list(ast.walk(syntax.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    counted = Counter(name for name, kinds in _CONSTRUCTS.items() for node in nodes if isinstance(node, kinds))
    return {name: counted[name] for name in _CONSTRUCTS if counted[name]}
