"""Decide whether an answer is right: equality, a tolerance, what doctest would print, or the task's own checker.

An answer is a copy of plain values that came over the pipe; nothing of the program runs here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from crucible.errors import InputError
from crucible.integers import long_integers
from crucible.security.base import Sandbox
from crucible.security.judge import doctests
from crucible.security.judge.asked import MAX_SHOWN, Case
from crucible.security.judge.candidate import LOST, Candidate, Reply
from crucible.security.sandbox.wire import Items, Opaque, same
from crucible.text import one_line
from crucible.types import CaseResult, CaseStatus, Task

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.I | re.A)
INTEGER = re.compile(r"[+-]?\d+", re.A)


class Compared:
    """A case's result, and what is to be thought of it.

    undecided: the answer is no copy of plain values, so that Python may see it otherwise in the program's process. weak: the
    values are equal to Python, but True stands for 1 or False for 0."""

    def __init__(self, result: CaseResult, *, undecided: bool = False, weak: bool = False) -> None:
        self.result, self.undecided, self.weak = result, undecided, weak


class Checker:
    """The comparison of an answer with what is expected. A task's `check` runs in a sandbox of its own."""

    def __init__(self, sandbox: Sandbox, task: Task) -> None:
        self._sandbox, self._task = sandbox, task
        self._stack = ExitStack()
        self._checking: Candidate | None = None

    def compare(self, case: Case, reply: Reply) -> Compared:
        """Return the result of one call. Raises InputError for a checker that does not work."""
        expected = one_line(case.raises.strip() if case.raises else show(case.expected), MAX_SHOWN)
        result = CaseResult(status="pass", call=one_line(case.shown, MAX_SHOWN), expected=expected)
        if case.raises is not None:
            return Compared(_raised(case, reply, result))
        if reply.status != "pass":
            failed = result.model_copy(update={"status": reply.status, "message": reply.message})
            return Compared(failed, undecided=reply.error[:1] == ("ResultError",) and case.form != "json")
        actual = show(reply.value)
        objection = self._objection(case, reply.value)
        if objection is None:
            by_python = case.form == "python" and not self._task.checker
            has_bools = any(isinstance(part, bool) for part in _parts([reply.value, case.expected]))
            weak = by_python and has_bools and not same(reply.value, case.expected)
            return Compared(result.model_copy(update={"actual": actual}), weak=weak)
        if not objection and actual == expected:
            objection = (
                f"equal in writing, but of type {type(reply.value).__name__}, not {type(case.expected).__name__}"
            )
        update = {"status": "wrong", "actual": actual, "message": objection}
        by_python = case.form not in ("json", "output") and not self._task.checker
        return Compared(result.model_copy(update=update), undecided=by_python and not is_plain(reply.value))

    def _objection(self, case: Case, value: Any) -> str | None:  # noqa: ANN401
        """None for a right answer; else what there is to say, if anything. A checker that fails on an answer has not
        accepted it. Raises InputError for one that does not load, or fails on the expected answer too."""
        if self._task.checker and case.form in ("json", "python", "output"):
            return self._asked(case, value)
        if case.form == "output":
            return None if same_output(str(case.expected), value, self._task.tolerance) else ""
        try:
            return None if self._equal(case, value) else ""
        except RecursionError:
            return ""

    def _equal(self, case: Case, value: Any) -> bool:  # noqa: ANN401
        if case.form == "json":
            return same(value, case.expected, True, self._task.tolerance)
        if not is_plain(value):
            return False
        if case.form == "is":
            return value is case.expected
        if case.form == "doctest":
            return _prints(case, value)
        return bool(value == case.expected) or same(value, case.expected, False, self._task.tolerance)

    def _asked(self, case: Case, value: Any) -> str | None:  # noqa: ANN401
        if isinstance(value, Opaque):
            return "the answer is no plain value"
        if self._checking is None:
            self._checking = self._stack.enter_context(Candidate(self._sandbox, self._task.checker, self._task.limits))
            loaded = self._checking.load()
            if loaded.status != "pass":
                raise InputError(f"the task's checker does not load: {loaded.message}")
        reply = self._check(self._checking, case, value)
        if reply.status == "pass":
            return None if reply.value is True else ""
        if reply.status in LOST:
            self._checking = None  # the next answer gets one that works
        elif case.expected is not None and self._check(self._checking, case, case.expected).status != "pass":
            raise InputError(f"the task's checker fails: {reply.message}")
        return f"the task's checker fails on this answer: {reply.message}"

    @staticmethod
    def _check(checking: Candidate, case: Case, value: Any) -> Reply:  # noqa: ANN401
        return checking.call("check", (list(case.args), case.kwargs, case.expected, value), {})

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()


def is_plain(value: Any) -> bool:  # noqa: ANN401
    """Return whether a value is a copy in all its parts: no object that stayed in the program, no items of an iterator."""
    return not any(isinstance(part, Opaque | Items) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:  # noqa: ANN401
    """Yield a value and all that it holds."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part


def show(value: Any) -> str:  # noqa: ANN401
    """Write a value for a reader, on one line and not too long."""
    if isinstance(value, Opaque):
        return one_line(value.shown, MAX_SHOWN)
    try:
        return one_line(repr(value), MAX_SHOWN)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes, or deep nesting
        return f"a {type(value).__name__} too large to show"


def same_output(expected: str, printed: str, tolerance: float | None) -> bool:
    """Return whether two printed texts are equal line by line, spaces at line ends and empty lines at the end aside.

    Lines end with LF or CR LF. tolerance: how far numbers may differ where at least one of them is no integer."""
    one, other = ([line.rstrip(" \t\r") for line in text.rstrip().split("\n")] for text in (expected, printed))
    if one == other or tolerance is None:
        return one == other
    pairs = [(line.split(), theirs.split()) for line, theirs in zip(one, other, strict=False)]
    return len(one) == len(other) and all(
        len(words) == len(theirs) and all(_near(a, b, tolerance) for a, b in zip(words, theirs, strict=True))
        for words, theirs in pairs
    )


def _near(one: str, other: str, tolerance: float) -> bool:
    if one == other:
        return True
    if not (NUMBER.fullmatch(one) and NUMBER.fullmatch(other)):
        return False
    if INTEGER.fullmatch(one) and INTEGER.fullmatch(other):
        return one.lstrip("+") == other.lstrip("+")
    first, second = float(one), float(other)
    return (first != first and second != second) or math.isclose(first, second, rel_tol=tolerance, abs_tol=tolerance)


def _prints(case: Case, value: Any) -> bool:  # noqa: ANN401
    """Whether doctest takes the value for what is wanted. Sets are compared as sets: they print in no fixed order."""
    with long_integers():
        got = "" if value is None else f"{value!r}\n"
    if doctests.same(case.want, got, case.options):
        return True
    has_sets = any(isinstance(part, set | frozenset) for part in _parts(case.expected))
    return has_sets and same(value, case.expected)


def _raised(case: Case, reply: Reply, result: CaseResult) -> CaseResult:
    """The result of a call that has to raise: the exception's class, or one of its bases, and its message, as doctest
    compares them."""
    assert case.raises is not None
    name = case.raises.partition(":")[0]
    if reply.said is not None and reply.error and name.strip() == reply.error[0]:
        told = str(reply.said.get("message", ""))
        if doctests.same(case.raises, f"{reply.error[0]}: {told}\n" if told else f"{reply.error[0]}\n", case.options):
            return result
    actual = show(reply.value) if reply.status == "pass" else reply.message
    status: CaseStatus = "wrong" if reply.status in ("pass", "error") else reply.status
    return result.model_copy(update={"status": status, "actual": actual})
