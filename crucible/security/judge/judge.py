"""The one definition of "correct". Every verdict, the loop's and a training reward's, comes from here.

*Calls*: the program's sandbox gets one call at a time and answers it. An answer is a claim about a value, compared here, on
a copy. Expected values, checkers and test source stay outside.

*Tests* that are more than such calls run twice: in the program's own process, as Python itself would run them, and in a
second sandbox, against stubs of the program's names (relay.py). What the first says is right about honest programs; what
the second says, no program can forge. A pass needs the first. It is of full trust where the second agrees, and of low trust
where the second disagrees or cannot carry the tests: then the program's process alone says that they pass.

Exit codes and files count for nothing, and output only where the task is to print. A pass is every case, right, within the
task's time, with nothing said unasked. Every run gets a fresh sandbox.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from crucible.errors import SandboxUnavailableError
from crucible.integers import long_integers
from crucible.languages.python import constraints
from crucible.languages.python.checks.source import parse
from crucible.security.base import Sandbox
from crucible.security.judge import relay
from crucible.security.judge.asked import MAX_SHOWN, Case, Suite
from crucible.security.judge.candidate import LOST, Candidate, Reply
from crucible.security.judge.compare import Checker
from crucible.security.judge.named_values import reads_one
from crucible.security.judge.suite import parse_suite
from crucible.text import one_line
from crucible.types import CaseResult, CaseStatus, Limits, Task, Verdict

UNASKED = "the program wrote to the judge's pipe unasked"
WEAK = "an answer is True where 1 is expected, or the like: equal to Python, not of one kind"
OUTPUT_ROOM = 1 << 16
"""Bytes that a program may print beyond twice what is expected of it."""

Trust = Literal["full", "claimed", "low"]


class _Part(NamedTuple):
    """What one way of judging found. total: how many cases there are; why: what lowers the trust."""

    cases: Sequence[CaseResult]
    total: int
    loaded: Reply
    method: Literal["calls", "output", "relay", "process"]
    trust: Trust = "full"
    why: str = ""
    cpu_s: float = 0.0
    memory_mib: float = 0.0
    undecided: bool = False


class SandboxJudge:
    """Implements `Judge` over a sandbox tier. low_trust: whether tests that cannot be carried between two processes are
    judged by the program's own process alone; else they are refused."""

    languages = ("python",)

    def __init__(self, sandbox: Sandbox, *, low_trust: bool = True) -> None:
        self._sandbox = sandbox
        self._low_trust = low_trust

    def judge(self, code: str, task: Task) -> Verdict:
        """Judge `code` by the task's visible tests. Raises InputError for tests that cannot be read, and
        SandboxUnavailableError where nothing isolates."""
        suite = parse_suite(task)
        if suite.assigned and reads_one(code, suite.assigned):
            suite = parse_suite(task, direct=False)
        began = time.monotonic()
        with long_integers(), Checker(self._sandbox, task) as checker:
            parts = self._parts(code, suite, task, checker)
        verdict = _verdict(parts, suite)
        if task.rules:
            verdict = _with_rules(verdict, constraints.check(code, task.rules))
        return verdict.model_copy(update={"wall_s": time.monotonic() - began, "tier": self._sandbox.tier})

    def _parts(self, code: str, suite: Suite, task: Task, checker: Checker) -> list[_Part]:
        if suite.is_program:
            return [self._by_output(code, suite, task, checker)]
        parts = []
        if suite.cases or not suite.statements:
            calls = self._by_calls(code, suite, task, checker)
            if calls.undecided and any(case.form != "json" for case in suite.cases):
                return self._parts(code, parse_suite(task, direct=False), task, checker)
            parts.append(calls)
        if suite.statements:
            parts.append(self._by_statements(code, suite, task))
        return parts

    # ---- calls

    def _by_calls(self, code: str, suite: Suite, task: Task, checker: Checker) -> _Part:
        results: list[CaseResult] = []
        undecided = weak = False
        with Candidate(self._sandbox, code, task.limits, task.preamble, len(suite.cases)) as candidate:
            loaded = candidate.load()
            if loaded.status != "pass":
                results = [_failed(loaded, case.shown) for case in suite.cases] or [_failed(loaded, "import")]
            for case in suite.cases if loaded.status == "pass" else ():
                began = time.monotonic()
                reply = candidate.call(case.name, case.args, case.kwargs, case.bound)
                compared = checker.compare(case, reply)
                undecided, weak = undecided or compared.undecided, weak or compared.weak
                results.append(compared.result.model_copy(update={"wall_s": time.monotonic() - began}))
                if reply.status in LOST:
                    results += [_skipped(rest) for rest in suite.cases[len(results) :]]
                    break
            else:
                if results and loaded.status == "pass" and not candidate.quiet():
                    results[-1] = results[-1].model_copy(update={"status": "protocol", "message": UNASKED})
            results = candidate.explain(results)
        trust: Trust = "low" if weak else "full"
        part = _Part(results, len(suite.cases), loaded, "calls", trust, WEAK if weak else "", undecided=undecided)
        return _with_usage(part, candidate)

    def _by_output(self, code: str, suite: Suite, task: Task, checker: Checker) -> _Part:
        """Programs that read stdin and print: a fresh sandbox for every case."""
        code = _joined(task.preamble, code)
        cases: list[CaseResult] = []
        cpu_s = memory_mib = 0.0
        for case in suite.cases:
            done = self._sandbox.run(code, stdin=str(case.args[0]), limits=_printing(task.limits, case))
            cpu_s, memory_mib = cpu_s + done.cpu_s, max(memory_mib, done.memory_mib)
            if done.status == "ok":
                reply = Reply("pass", value=done.stdout)
            else:
                status: CaseStatus = "timeout" if done.status == "timeout" else "error"
                last = done.stderr.strip().splitlines()[-1:] or [f"ended: {done.status}, exit code {done.exit_code}"]
                reply = Reply(status, message=one_line(last[0], MAX_SHOWN))
            cases.append(checker.compare(case, reply).result)
        return _Part(cases, len(suite.cases), Reply("pass"), "output", cpu_s=cpu_s, memory_mib=memory_mib)

    # ---- tests

    def _by_statements(self, code: str, suite: Suite, task: Task) -> _Part:
        """Run the tests in the program's process and, unless they cannot be carried, between two."""
        number = sum(len(each.cases) for each in suite.statements)
        with Candidate(self._sandbox, code, task.limits, task.preamble, number) as candidate:
            own = relay.in_process(candidate, suite)
            own = own._replace(cases=dict(zip(own.cases, candidate.explain([*own.cases.values()]), strict=True)))
        cases = {key: case for key, case in own.cases.items() if key not in own.skipped}
        part = _with_usage(_Part([*own.cases.values()], len(cases), own.loaded, "relay"), candidate)
        if any(case.status in (*LOST, "memory") for case in own.cases.values()):
            why = "the program's process was lost, and the second run is left out"
            return part._replace(method="process", trust="low", why=why)
        why = suite.uncarried and f"the tests use {suite.uncarried}, which only the program's own process has"
        if not why:
            other = self._between_two(code, suite, task, number)
            why = _disagreement(cases, other)
            if own.skipped - other.skipped:
                why = why or "a test is skipped in the program's process alone"
            if not why:
                return part._replace(trust=other.doubt or "full", why=_DOUBTS[other.doubt])
        part = part._replace(method="process", trust="low", why=why)
        if not own.passes or not cases:
            return part
        if not self._low_trust:
            return _refused(part, f"refused: {why}; sandbox.low_trust is off")
        if all(self._passes_in_process(mutant, suite, task) for mutant in relay.mutants(code)):
            return _refused(
                part, "the tests pass without the program's functions: they prove nothing, or were made to pass"
            )
        return part

    def _between_two(self, code: str, suite: Suite, task: Task, number: int) -> relay.Outcome:
        with Candidate(self._sandbox, code, task.limits, task.preamble, number) as candidate:
            outcome = relay.between_two(self._sandbox, candidate, suite, task.limits)
            cases = [*outcome.cases.values()]
            if not candidate.quiet():
                cases.append(CaseResult(status="protocol", call="", message=UNASKED))
            explained = candidate.explain(cases)
        return outcome._replace(cases=dict(zip([*outcome.cases, (-1, "")], explained, strict=False)))

    def _passes_in_process(self, code: str, suite: Suite, task: Task) -> bool:
        with Candidate(self._sandbox, code, task.limits, task.preamble) as candidate:
            return relay.in_process(candidate, suite).passes


class NoJudge:
    """Stands where no sandbox works: it judges nothing and says why."""

    def __init__(self, why: SandboxUnavailableError) -> None:
        self._why = why

    def judge(self, code: str, task: Task) -> Verdict:
        raise self._why


_DOUBTS = {"": "", "claimed": "a test rests on the program's own word about its objects", "low": WEAK}


def _disagreement(cases: dict[relay.Key, CaseResult], other: relay.Outcome) -> str:
    """Why a pass in the program's process is not borne out by the tests between two processes; empty where it is."""
    for key, case in cases.items():
        theirs = other.cases.get(key)
        if case.status == "pass" and (theirs is None or theirs.status != "pass"):
            seen = "" if theirs is None else theirs.message or theirs.status
            return f"the tests could not be carried between two processes ({case.call[:80]}: {seen[:120]})"
    extra = next((case for key, case in other.cases.items() if key not in cases and case.status == "protocol"), None)
    return extra.message if extra is not None else ""


def _refused(part: _Part, reason: str) -> _Part:
    case = CaseResult(status="skipped", call="", message=reason)
    return part._replace(cases=[*part.cases, case], total=part.total + 1, why=reason)


def _with_usage(part: _Part, candidate: Candidate) -> _Part:
    return part._replace(cpu_s=candidate.report["cpu_s"], memory_mib=candidate.report["memory_mib"])


def _printing(limits: Limits, case: Case) -> Limits:
    """Room for an answer as long as the expected one."""
    needed = 2 * len(str(case.expected).encode("utf-8", "surrogatepass")) + OUTPUT_ROOM
    return limits.model_copy(update={"output_bytes": max(limits.output_bytes, needed)})


def _joined(preamble: str, code: str) -> str:
    """Put the preamble before the program, and the program's `from __future__` lines, which have to come first, before it."""
    if not preamble:
        return code
    try:
        body = parse(code).body
    except SyntaxError:
        body = []
    futures = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    lines = code.split("\n")
    for node in futures:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join([*(ast.unparse(node) for node in futures), preamble, *lines])


def _failed(reply: Reply, shown: str) -> CaseResult:
    return CaseResult(status=reply.status, call=one_line(shown, MAX_SHOWN), message=reply.message)


def _skipped(case: Case) -> CaseResult:
    return CaseResult(status="skipped", call=one_line(case.shown, MAX_SHOWN))


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


def _verdict(parts: list[_Part], suite: Suite) -> Verdict:
    cases = tuple(case for part in parts for case in part.cases)
    passed = sum(case.status == "pass" for case in cases)
    total = sum(part.total for part in parts)
    failing = next((case for case in cases if case.status not in ("pass", "skipped")), None)
    good = 0 < total == passed and failing is None
    unloaded = next((part.loaded for part in parts if part.loaded.status != "pass"), None)
    weakest = min(parts, key=lambda part: ("low", "claimed", "full").index(part.trust))
    if good:
        reason = "all cases pass"
    elif unloaded is not None:
        reason = f"the program does not load: {unloaded.message}"
    elif total == 0:
        reason = "no tests"
    elif failing is not None:
        reason = f"{failing.status}: {failing.message or failing.call}"
    else:
        reason = weakest.why or "a test was skipped"
    return Verdict(
        verdict="pass" if good else "fail",
        reason=reason,
        passed=passed,
        total=total,
        cases=cases,
        cpu_s=sum(part.cpu_s for part in parts),
        memory_mib=max(part.memory_mib for part in parts),
        trust=weakest.trust,
        trust_reason=weakest.why,
        method=parts[-1].method if len(parts) == 1 else weakest.method,
    )
