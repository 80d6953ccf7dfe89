"""The one definition of "correct". Every verdict, the loop's and a training reward's, comes from here.

Expected values, checkers and test source stay in this process or in the tester's sandbox; the candidate's sandbox gets one
call at a time and answers it. An answer is a claim about a value, compared here, type-strictly. Exit codes, output and
files count for nothing. A pass is every case, in order, right, within the task's time, with nothing said unasked.
Every candidate gets a fresh sandbox.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Sandbox
from crucible.security.suite import Case, Suite, parse_suite
from crucible.security.text import one_line
from crucible.security.wire import Opaque, WireError, same
from crucible.types import CaseResult, CaseStatus, Limits, Task, Verdict

MAX_SHOWN = 300
MAX_MESSAGE = 300
FREE: dict[str, Any] = {"ref": None, "args": [], "kwargs": {}, "get": False}


class Reply(NamedTuple):
    """What came of one request: a value, or why there is none."""

    status: CaseStatus
    value: Any = None
    error: tuple[str, ...] = ()
    message: str = ""


class SandboxJudge:
    """Implements `Judge` over a sandbox tier."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def judge(self, code: str, task: Task) -> Verdict:
        """The verdict on `code` by the task's visible tests. Raises InputError for tests that cannot be read,
        SandboxUnavailableError where nothing isolates."""
        suite = parse_suite(task)
        began = time.monotonic()
        with Candidate(self._sandbox, code, task.limits) as candidate:
            loaded = candidate.load()
            if loaded.status != "pass":
                cases = [_failed(loaded, shown) for shown in _shown(suite) or ["import"]]
            elif suite.statements:
                cases = _tested(self._sandbox, candidate, suite, task.limits)
            else:
                cases = _called(candidate, suite)
            cases = candidate.explain(cases)
        return _verdict(cases, suite, loaded, candidate.report, time.monotonic() - began, self._sandbox.tier)


class Candidate:
    """The candidate's sandbox as the judge sees it: something that may answer."""

    def __init__(self, sandbox: Sandbox, code: str, limits: Limits) -> None:
        self._code, self._limits = code, limits
        self._deadline = time.monotonic() + limits.wall_s + 0.5  # half a second for the interpreter's start
        self._session = sandbox.open(limits)
        self._lost: Reply | None = None
        self.report: dict[str, Any] = {}

    def load(self) -> Reply:
        try:
            self._session.order("serve", self._limits, code=self._code)
        except (BrokenPipeError, WireError) as error:
            return Reply("error", message=f"the program cannot be loaded: {error}")
        return self._answer()

    def ask(self, request: dict[str, Any]) -> Reply:
        """Send one call and wait for its answer. After a loss every further answer is the same loss."""
        if self._lost is not None:
            return self._lost
        if self._session.pending():
            return self._lose(Reply("protocol", message="the program wrote to the judge's pipe unasked"))
        try:
            self._session.send(request)
        except BrokenPipeError:
            return self._lose(Reply("killed", message="the program ended before it was called"))
        except WireError as error:
            return Reply("error", message=str(error))
        return self._answer()

    def quiet(self) -> bool:
        """Whether nothing more was said than asked for."""
        return self._lost is not None or not self._session.pending()

    def explain(self, cases: list[CaseResult]) -> list[CaseResult]:
        """End the sandbox; where it was lost, say why as its report tells it."""
        try:
            self.report = self._session.close()
        except SandboxUnavailableError:
            if all(case.status == "pass" for case in cases):
                raise
            self.report = {"cpu_s": 0.0, "memory_mib": 0.0, "stderr": "", "why": None}
        if any(case.status == "killed" for case in cases):
            status: CaseStatus = "killed"
            message = "the program ended its process instead of answering"
            if self.report["cpu_s"] >= self._limits.cpu_s or self.report["why"] == "timeout":
                status, message = "timeout", f"no answer within {self._limits.wall_s:g} s"
            elif self.report["why"] == "output_limit":
                message = f"the program printed more than {self._limits.output_bytes} bytes"
            update = {"status": status, "message": message}
            cases = [case.model_copy(update=update) if case.status == "killed" else case for case in cases]
        return cases

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.__exit__(*exc)

    def _lose(self, reply: Reply) -> Reply:
        self._lost = reply
        return reply

    def _answer(self) -> Reply:
        try:
            reply = self._session.receive(self._deadline)
        except TimeoutError:
            return self._lose(Reply("timeout", message=f"no answer within {self._limits.wall_s:g} s"))
        except EOFError:
            return self._lose(Reply("killed", message="the program ended its process instead of answering"))
        except WireError as error:
            return self._lose(Reply("protocol", message=f"the answer is no value: {error}"))
        if isinstance(reply, dict) and "value" in reply:
            return Reply("pass", value=reply["value"])
        try:
            names = tuple(str(name) for name in reply["error"])
            line = f" (line {int(reply['line'])})" if reply["line"] is not None else ""
            message = one_line(f"{names[0]}: {reply['message']}{line}", MAX_MESSAGE)
        except (KeyError, TypeError, ValueError, IndexError):
            return self._lose(Reply("protocol", message="the answer has no known form"))
        status: CaseStatus = "memory" if names[0] == "MemoryError" else "error"
        return Reply(status, error=names, message=message)


def _called(candidate: Candidate, suite: Suite) -> list[CaseResult]:
    """Direct cases: call, compare."""
    results = []
    for case in suite.cases:
        began = time.monotonic()
        reply = candidate.ask({**FREE, "name": case.name, "args": list(case.args), "kwargs": case.kwargs})
        result = _compared(case, reply)
        results.append(result.model_copy(update={"wall_s": time.monotonic() - began}))
        if reply.status in ("timeout", "killed", "protocol"):
            skipped = [CaseResult(status="skipped", call=one_line(rest.shown)) for rest in suite.cases[len(results) :]]
            return results + skipped
    if results and not candidate.quiet():
        results[-1] = results[-1].model_copy(
            update={"status": "protocol", "message": "the program wrote to the judge's pipe unasked"}
        )
    return results


def _compared(case: Case, reply: Reply) -> CaseResult:
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
    try:
        equal = same(reply.value, case.expected, case.loose)
    except RecursionError:
        equal = False
    actual = _show(reply.value)
    if equal:
        return result.model_copy(update={"actual": actual})
    kind = ""
    if actual == expected:
        kind = f"equal in writing, but of type {type(reply.value).__name__}, not {type(case.expected).__name__}"
    return result.model_copy(update={"status": "wrong", "actual": actual, "message": kind})


def _tested(sandbox: Sandbox, candidate: Candidate, suite: Suite, limits: Limits) -> list[CaseResult]:
    """Statements run in the tester's sandbox; its calls are passed to the candidate's and the answers back."""
    results: list[CaseResult] = []
    deadline = time.monotonic() + limits.wall_s + 1.0
    with sandbox.open(limits) as tester:
        statements = [[statement.source, statement.is_case] for statement in suite.statements]
        tester.order("test", limits, statements=statements, names=list(suite.names))
        lost: Reply | None = None
        while True:
            try:
                said = tester.receive(deadline)
            except (TimeoutError, EOFError, WireError) as error:
                why = "timeout" if isinstance(error, TimeoutError) else "error"
                lost = lost or Reply(why, message=f"the tests did not end ({type(error).__name__})")  # type: ignore[arg-type]
                break
            if "done" in said:
                break
            if "case" in said:
                results.append(_reported(said, suite, lost))
                lost = None
                continue
            reply = candidate.ask(said)
            if reply.status == "pass":
                tester.send({"value": reply.value})
            else:
                lost = reply
                if reply.status in ("timeout", "killed", "protocol"):
                    break
                tester.send({"error": list(reply.error) or ["RuntimeError"], "message": reply.message})
    return _all_cases(results, suite, lost, candidate)


def _reported(said: dict[str, Any], suite: Suite, lost: Reply | None) -> CaseResult:
    source = suite.statements[said["case"]].source
    status: CaseStatus = "pass" if said["ok"] else "wrong"
    message = said["message"]
    if not said["ok"] and lost is not None:
        status, message = lost.status, lost.message
    elif said.get("crashed"):
        status = "error"
    call, expected = _halves(source)
    return CaseResult(
        status=status,
        call=one_line(call, MAX_SHOWN),
        expected=one_line(said["expected"] or expected, MAX_SHOWN) if said["expected"] or expected else None,
        actual=one_line(said["actual"], MAX_SHOWN) if said["actual"] else None,
        message=one_line(message, MAX_MESSAGE),
    )


def _all_cases(results: list[CaseResult], suite: Suite, lost: Reply | None, candidate: Candidate) -> list[CaseResult]:
    """As many results as there are cases: the one that was lost, then skipped ones."""
    missing = suite.total - len(results)
    if missing > 0:
        cases = [statement.source for statement in suite.statements if statement.is_case]
        rest = cases[len(cases) - missing :]
        reply = lost or Reply("error", message="the tests ended early")
        results.append(CaseResult(status=reply.status, call=one_line(rest[0], MAX_SHOWN), message=reply.message))
        results += [CaseResult(status="skipped", call=one_line(source, MAX_SHOWN)) for source in rest[1:]]
    elif not candidate.quiet():
        results.append(CaseResult(status="protocol", call="", message="the program wrote to the judge's pipe unasked"))
    return results


def _halves(source: str) -> tuple[str, str]:
    """(what is called, what it is compared with) of an assert, for showing."""
    text = source.removeprefix("assert ")
    left, equals, right = text.partition(" == ")
    return (left, right) if equals else (text, "")


def _shown(suite: Suite) -> list[str]:
    return [case.shown for case in suite.cases] + [
        statement.source for statement in suite.statements if statement.is_case
    ]


def _show(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Opaque):
        return one_line(value.shown, MAX_SHOWN)
    try:
        return one_line(repr(value), MAX_SHOWN)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes, or deep nesting
        return f"a {type(value).__name__} too large to show"


def _failed(reply: Reply, shown: str) -> CaseResult:
    return CaseResult(status=reply.status, call=one_line(shown, MAX_SHOWN), message=reply.message)


def _verdict(
    cases: list[CaseResult], suite: Suite, loaded: Reply, report: dict[str, Any], wall_s: float, tier: str
) -> Verdict:
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
    return Verdict(
        verdict="pass" if good else "fail",
        reason=reason,
        passed=passed,
        total=total,
        cases=tuple(cases),
        wall_s=wall_s,
        cpu_s=report["cpu_s"],
        memory_mib=report["memory_mib"],
        tier=tier,
    )
