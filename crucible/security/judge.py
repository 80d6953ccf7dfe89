"""The one definition of "correct". Every verdict, the loop's and a training reward's, comes from here.

Expected values, checkers and test source stay in this process or in a sandbox of their own; the candidate's sandbox gets
one call at a time and answers it. An answer is a claim about a value, compared here, type-strictly. Exit codes and files
count for nothing, and output only where the task is to print. A pass is every case, in order, right, within the task's
time, with nothing said unasked. Every candidate gets a fresh sandbox.
"""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Any

from crucible.errors import InputError, SandboxUnavailableError
from crucible.security import constraints, relay
from crucible.security.base import Sandbox
from crucible.security.candidate import LOST, Candidate, Reply
from crucible.security.suite import MAX_SHOWN, Case, Suite, parse_suite
from crucible.security.text import one_line
from crucible.security.wire import Opaque, same
from crucible.types import CaseResult, CaseStatus, Task, Verdict

UNASKED = "the program wrote to the judge's pipe unasked"


class SandboxJudge:
    """Implements `Judge` over a sandbox tier."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def judge(self, code: str, task: Task) -> Verdict:
        """The verdict on `code` by the task's visible tests. Raises InputError for tests that cannot be read,
        SandboxUnavailableError where nothing isolates."""
        suite = parse_suite(task)
        began = time.monotonic()
        with Checker(self._sandbox, task) as checker:
            if suite.together:
                verdict = self._together(code, suite, task)
            elif suite.is_program:
                verdict = self._by_output(code, suite, task, checker)
            else:
                verdict = self._by_calls(code, suite, task, checker)
        if task.rules:
            verdict = _with_rules(verdict, constraints.check(code, task.rules))
        return verdict.model_copy(update={"wall_s": time.monotonic() - began, "tier": self._sandbox.tier})

    def _by_calls(self, code: str, suite: Suite, task: Task, checker: Checker) -> Verdict:
        claimed = False
        with Candidate(self._sandbox, code, task.limits, task.preamble) as candidate:
            loaded = relay.load(candidate) if suite.statements else candidate.load()
            if loaded.status != "pass":
                cases = [_failed(loaded, shown) for shown in _shown(suite) or ["import"]]
            elif suite.statements:
                cases, claimed = relay.run_tests(self._sandbox, candidate, suite, task.limits)
            else:
                cases = _called(candidate, suite, checker)
            cases = candidate.explain(cases)
        verdict = _verdict(cases, suite, loaded)
        used = {"cpu_s": candidate.report["cpu_s"], "memory_mib": candidate.report["memory_mib"]}
        return verdict.model_copy(update={**used, "trust": "claimed" if claimed else "full"})

    def _by_output(self, code: str, suite: Suite, task: Task, checker: Checker) -> Verdict:
        """Programs that read stdin and print: a fresh sandbox for every case."""
        code = f"{task.preamble}\n{code}" if task.preamble else code
        cases: list[CaseResult] = []
        cpu_s = memory_mib = 0.0
        for case in suite.cases:
            done = self._sandbox.run(code, stdin=str(case.args[0]), limits=task.limits)
            cpu_s, memory_mib = cpu_s + done.cpu_s, max(memory_mib, done.memory_mib)
            if done.status == "ok":
                reply = Reply("pass", value=done.stdout)
            else:
                status: CaseStatus = "timeout" if done.status == "timeout" else "error"
                last = done.stderr.strip().splitlines()[-1:] or [f"ended: {done.status}, exit code {done.exit_code}"]
                reply = Reply(status, message=one_line(last[0], MAX_SHOWN))
            cases.append(_compared(case, reply, checker))
        verdict = _verdict(cases, suite, Reply("pass"))
        return verdict.model_copy(update={"cpu_s": cpu_s, "memory_mib": memory_mib})

    def _together(self, code: str, suite: Suite, task: Task) -> Verdict:
        """Tests that share the program's process. It could report what it likes: a low trust, and not even that where
        the same program without its functions passes too."""
        verdict = self._one_process(code, suite, task)
        if verdict.verdict == "pass" and self._one_process(relay.mutant(code), suite, task).verdict == "pass":
            reason = "the tests pass without the program's functions: they prove nothing, or were made to pass"
            verdict = verdict.model_copy(update={"verdict": "fail", "reason": reason})
        return verdict.model_copy(update={"trust": "low"})

    def _one_process(self, code: str, suite: Suite, task: Task) -> Verdict:
        with Candidate(self._sandbox, code, task.limits, task.preamble) as candidate:
            loaded, cases = relay.run_together(candidate, suite)
            if loaded.status != "pass":
                cases = [_failed(loaded, shown) for shown in _shown(suite) or ["import"]]
            cases = candidate.explain(cases)
        used = {"cpu_s": candidate.report["cpu_s"], "memory_mib": candidate.report["memory_mib"]}
        return _verdict(cases, suite, loaded).model_copy(update=used)


class NoJudge:
    """Stands where no sandbox works: it judges nothing and says why."""

    def __init__(self, why: SandboxUnavailableError) -> None:
        self._why = why

    def judge(self, code: str, task: Task) -> Verdict:
        raise self._why


class Checker:
    """What makes an answer right: equality, equality within a tolerance, or the task's own `check` in its own sandbox."""

    def __init__(self, sandbox: Sandbox, task: Task) -> None:
        self._sandbox, self._task = sandbox, task
        self._stack = ExitStack()
        self._checking: Candidate | None = None

    def objection(self, case: Case, value: Any) -> str | None:  # noqa: ANN401
        """None for a right answer; else what there is to say, if anything. A checker that fails on an answer has not
        accepted it. Raises InputError for one that does not load, or fails on the expected answer too."""
        if self._task.checker:
            return self._asked(case, value)
        if case.prints:
            return None if _same_output(str(case.expected), value, self._task.tolerance) else ""
        try:
            right = same(value, case.expected, case.loose, self._task.tolerance)
        except RecursionError:
            right = False
        return None if right else ""

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


def _same_output(expected: str, printed: str, tolerance: float | None) -> bool:
    """Equal line by line, spaces at line ends and empty lines at the end aside; numbers within the tolerance, if any."""
    one, other = ([line.rstrip() for line in text.rstrip().splitlines()] for text in (expected, printed))
    if one == other or tolerance is None:
        return one == other
    pairs = [(line.split(), theirs.split()) for line, theirs in zip(one, other, strict=False)]
    return len(one) == len(other) and all(
        len(words) == len(theirs) and all(_near(a, b, tolerance) for a, b in zip(words, theirs, strict=True))
        for words, theirs in pairs
    )


def _near(one: str, other: str, tolerance: float) -> bool:
    try:
        return one == other or math.isclose(float(one), float(other), rel_tol=tolerance, abs_tol=tolerance)
    except ValueError:
        return False


def _called(candidate: Candidate, suite: Suite, checker: Checker) -> list[CaseResult]:
    """Direct cases: call, compare."""
    results = []
    for case in suite.cases:
        began = time.monotonic()
        reply = candidate.call(case.name, case.args, case.kwargs)
        result = _compared(case, reply, checker)
        results.append(result.model_copy(update={"wall_s": time.monotonic() - began}))
        if reply.status in LOST:
            skipped = [CaseResult(status="skipped", call=one_line(rest.shown)) for rest in suite.cases[len(results) :]]
            return results + skipped
    if results and not candidate.quiet():
        results[-1] = results[-1].model_copy(update={"status": "protocol", "message": UNASKED})
    return results


def _compared(case: Case, reply: Reply, checker: Checker) -> CaseResult:
    expected = one_line(repr(case.expected) if case.raises is None else f"raises {case.raises}", MAX_SHOWN)
    result = CaseResult(status="pass", call=one_line(case.shown, MAX_SHOWN), expected=expected)
    if case.raises is not None:
        if case.raises in reply.error:
            return result
        actual = _show(reply.value) if reply.status == "pass" else reply.message
        status: CaseStatus = "wrong" if reply.status in ("pass", "error") else reply.status
        return result.model_copy(update={"status": status, "actual": actual})
    if reply.status != "pass":
        return result.model_copy(update={"status": reply.status, "message": reply.message})
    actual = _show(reply.value)
    kind = checker.objection(case, reply.value)
    if kind is None:
        return result.model_copy(update={"actual": actual})
    if not kind and actual == expected:
        kind = f"equal in writing, but of type {type(reply.value).__name__}, not {type(case.expected).__name__}"
    return result.model_copy(update={"status": "wrong", "actual": actual, "message": kind})


def _shown(suite: Suite) -> list[str]:
    return [case.shown for case in suite.cases] + [each.source for each in suite.statements if each.is_case]


def _show(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Opaque):
        return one_line(value.shown, MAX_SHOWN)
    try:
        return one_line(repr(value), MAX_SHOWN)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes, or deep nesting
        return f"a {type(value).__name__} too large to show"


def _failed(reply: Reply, shown: str) -> CaseResult:
    return CaseResult(status=reply.status, call=one_line(shown, MAX_SHOWN), message=reply.message)


def _with_rules(verdict: Verdict, results: list[CaseResult]) -> Verdict:
    """The verdict with a case for every rule; a task of rules alone proves nothing and stays without tests."""
    if not verdict.total:
        return verdict
    cases = (*verdict.cases, *results)
    passed, total = sum(case.status == "pass" for case in cases), verdict.total + len(results)
    broken = next((case.message for case in results if case.status != "pass"), None)
    changes: dict[str, Any] = {"cases": cases, "passed": passed, "total": total}
    if broken is not None:
        changes["verdict"] = "fail"
        changes["reason"] = f"constraint: {broken}" if verdict.verdict == "pass" else verdict.reason
    return verdict.model_copy(update=changes)


def _verdict(cases: list[CaseResult], suite: Suite, loaded: Reply) -> Verdict:
    passed = sum(case.status == "pass" for case in cases)
    total = suite.total
    good = 0 < total == passed == len(cases)
    if good:
        reason = "all cases pass"
    elif loaded.status != "pass":
        reason = f"the program does not load: {loaded.message}"
    elif total == 0:
        reason = "no tests"
    else:
        worst = next(case for case in cases if case.status not in ("pass", "skipped"))
        reason = f"{worst.status}: {worst.message or worst.call}"
    return Verdict(verdict="pass" if good else "fail", reason=reason, passed=passed, total=total, cases=tuple(cases))
