"""Whether a problem can be trusted: what its file alone shows, and what the judge says of programs whose worth is known.

Every reference solution must pass the tests that score and the visible ones; every mutant, the empty program and one that
returns None must fail. What this cannot find: tests that are wrong in the way all reference solutions are.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.languages.python import constraints, syntax
from crucible.problems.problem import Problem
from crucible.security.base import Judge
from crucible.security.judge.suite import parse_suite
from crucible.types import Example, Task, Verdict

SLOW = 0.5
"""The part of its processor time that a reference solution may use: another machine is slower."""


class Complaint(NamedTuple):
    """`file`: with line or entry, as the problem was read."""

    file: str
    field: str
    reason: str


def validate(problem: Problem, judge: Judge) -> list[Complaint]:
    """Return what is wrong with a problem; nothing where nothing was found. Programs are judged only where the text is sound.

    Raises SandboxUnavailableError."""
    found = list(_text(problem)) or list(_programs(problem, judge))
    return [Complaint(problem.origin, field, reason) for field, reason in found]


# ------------------------------------------------------------- what the text shows

Found = Iterator[tuple[str, str]]


def _text(problem: Problem) -> Found:
    task = problem.task
    if not task.prompt.strip():
        yield "prompt", "is empty"
    if task.language != "python":
        yield "language", f"{task.language!r} cannot be judged; only python can"
        return
    yield from _sources(problem)
    for rule in task.rules:
        reason = constraints.problem_with(rule)
        if reason is not None:
            yield "constraints", reason
    if not task.checker:
        yield from _contradictions(problem)
    totals = {}
    for field, asked in (("tests", task), ("hidden_tests", problem.scored)):
        try:
            totals[field] = parse_suite(asked).total
        except InputError as error:
            yield field, str(error)
    if totals.get("hidden_tests") == 0:
        yield "tests", "there are none, neither visible nor hidden"
    if (
        len(totals) == 2
        and problem.hidden
        and _count(task, totals["tests"]) > _count(problem.scored, totals["hidden_tests"])
    ):
        yield "tests", f"there are more visible ones ({totals['tests']}) than hidden ones ({totals['hidden_tests']})"


def _sources(problem: Problem) -> Found:
    task = problem.task
    sources = [("preamble", task.preamble), ("checker", task.checker), ("tests", task.tests)]
    sources += [("hidden_tests", problem.hidden.tests), *_numbered("solutions", problem.solutions)]
    given: set[str] = set()
    for field, source in sources:
        try:
            tree = syntax.parse(source)
            given |= _defined(tree) if field == "preamble" else set()
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if not re.search(r"^\s*>>> ", source, re.M):  # a session, which the suite reads
                line = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else str(error)
                yield field, f"does not parse: {line}"
            continue
        if field == "checker" and source.strip() and "check" not in _defined(tree):
            yield field, "defines no function check(args, kwargs, expected, actual)"
        if field.startswith("solutions") and task.entry_point:
            name = re.split(r"\W", task.entry_point)[0]
            if name not in _defined(tree) | given:
                yield "entry_point", f"{task.entry_point!r} is not in {field}"
    known = {_normal(source): field for field, source in _numbered("solutions", problem.solutions)}
    for field, source in _numbered("mutants", problem.mutants):
        if _normal(source) in known:
            yield field, f"is the same program as {known[_normal(source)]}"


def _contradictions(problem: Problem) -> Found:
    seen: dict[str, tuple[str, Any]] = {}
    for field, examples in (("examples", problem.task.examples), ("test_cases", problem.hidden.examples)):
        for number, example in enumerate(examples, 1):
            key, place = _key(example), f"{field}, entry {number}"
            other, output = seen.setdefault(key, (place, example.output))
            if output != example.output and repr(output) != repr(example.output):  # NaN is unequal to itself
                yield field, f"entry {number} contradicts {other}: the same input gives another output"


def _key(example: Example) -> str:
    try:
        return json.dumps(example.input, sort_keys=True, default=repr)
    except (TypeError, ValueError):  # keys of several types
        return repr(example.input)


def _count(task: Task, total: int) -> float:
    """How many things the tests ask: asserts inside functions and doctests inside texts, which run as one case, count, and
    a loop may ask any number."""
    try:
        nodes = list(ast.walk(syntax.parse(task.tests)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return total
    if any(isinstance(node, ast.For | ast.While) for node in nodes):
        return math.inf
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    inner = sum(isinstance(node, ast.Assert) for node in nodes) + sum(text.count(">>> ") for text in texts)
    return max(total, inner)


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


def _normal(source: str) -> str:
    """The program without comments and spacing."""
    try:
        return ast.unparse(syntax.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source


def _numbered(field: str, programs: Iterable[str]) -> list[tuple[str, str]]:
    return [(f"{field}, entry {number}", program) for number, program in enumerate(programs, 1)]


# ------------------------------------------------------------- what the judge says


def _programs(problem: Problem, judge: Judge) -> Found:
    try:
        for field, program in _numbered("solutions", problem.solutions):
            yield from _right(problem, judge, field, program)
        for field, program in _numbered("mutants", problem.mutants):
            if judge.judge(program, problem.scored).verdict == "pass":
                yield field, "passes every test that scores, and is to fail"
        for name, program in (("the empty program", ""), ("a program that returns None", nothing(problem.scored))):
            if judge.judge(program, problem.scored).verdict == "pass":
                yield "hidden_tests" if problem.hidden else "tests", f"{name} passes them"
    except InputError as error:  # a checker that fails, tests that cannot be read
        yield "checker" if "checker" in str(error) else "tests", str(error)


def _right(problem: Problem, judge: Judge, field: str, program: str) -> Found:
    verdict = judge.judge(program, problem.scored)
    if verdict.verdict != "pass":
        broken = any(case.status == "constraint" for case in verdict.cases)
        yield (
            "constraints" if broken else field,
            f"fails: {_why(verdict)}" if not broken else f"{field}: {verdict.reason}",
        )
        return
    allowed = problem.scored.limits.cpu_s
    if verdict.cpu_s > SLOW * allowed:
        yield "time_limit", f"{field} needs {verdict.cpu_s:.1f} s of {allowed:g} s"
    if problem.hidden and parse_suite(problem.task).total:
        visible = judge.judge(program, problem.task)
        if visible.verdict != "pass":
            yield field, f"fails a visible test: {_why(visible)}"


def _why(verdict: Verdict) -> str:
    case = next((case for case in verdict.cases if case.status not in ("pass", "skipped")), None)
    if case is None or "does not load" in verdict.reason:
        return verdict.reason
    got = f", got {case.actual}" if case.actual is not None else f", {case.message}" if case.message else ""
    return (
        f"{case.status} at {case.call}: expected {case.expected}{got}" if case.expected is not None else verdict.reason
    )


def nothing(task: Task) -> str:
    """A program with every name the tests ask for, each a function (or LeetCode's method) that returns None."""
    entry = task.entry_point or ""
    owner, _, method = entry.partition("().")
    if method:
        return f"class {owner}:\n    def {method}(self, *args, **kwargs):\n        return None\n"
    suite = parse_suite(task)
    if suite.is_program:
        return "pass\n"
    names = sorted({name for name in (*suite.names, suite.entry_point or "") if name.isidentifier()})
    return "\n".join(f"def {name}(*args, **kwargs):\n    return None\n" for name in names)
