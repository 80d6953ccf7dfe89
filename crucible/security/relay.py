"""Tests that are more than calls with literals: they run in a second sandbox, the tester's, and the judge passes the
messages between it and the candidate's. What the tester reports is believed, for it runs the task's tests and no line of
the candidate's."""

from __future__ import annotations

import ast
import marshal
import time
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from crucible.security.base import Sandbox
from crucible.security.candidate import LOST, MAX_MESSAGE, Candidate, Reply
from crucible.security.suite import MAX_SHOWN, Suite
from crucible.security.text import one_line
from crucible.security.wire import WireError
from crucible.types import CaseResult, CaseStatus, Limits

TESTER_S = 1.0
"""Beyond the candidate's wall time, which the tests' own work counts towards."""


@cache
def runtime(*names: str) -> bytes:
    """The sources of a sandbox's side of a test, compiled for the interpreter there, which is ours."""
    package = files("crucible.security")
    source = "\n".join(package.joinpath(name).read_text() for name in names)
    return marshal.dumps(compile(source, names[-1], "exec", dont_inherit=True))


def load(candidate: Candidate) -> Reply:
    """Start the program as the tests' other side."""
    return candidate.load("candidate", runtime=runtime("peer.py"))


def run_tests(sandbox: Sandbox, candidate: Candidate, suite: Suite, limits: Limits) -> tuple[list[CaseResult], bool]:
    """The cases' results, and whether any rests on the program's own word that two of its objects are equal."""
    results: list[CaseResult] = []
    claimed = False
    lost: Reply | None = None
    deadline = time.monotonic() + limits.wall_s + TESTER_S
    with sandbox.open(limits) as tester:
        statements = [[each.source, each.is_case, each.is_method] for each in suite.statements]
        tester.order(
            "tester", limits, runtime=runtime("peer.py", "tester.py"), statements=statements, names=list(suite.names)
        )
        while True:
            try:
                said = tester.receive(deadline)
            except (TimeoutError, EOFError, WireError) as error:
                why: Literal["timeout", "error"] = "timeout" if isinstance(error, TimeoutError) else "error"
                lost = lost or Reply(why, message=f"the tests did not end ({type(error).__name__})")
                break
            if "done" in said:
                break
            if "case" in said:
                results.append(_reported(said, suite, lost))
                claimed |= said["claimed"]
                lost = None
                continue
            reply = candidate.ask(said)
            if reply.status != "pass":
                lost = reply
                if reply.status in LOST or reply.said is None:
                    break
            try:
                tester.send(reply.said)
            except (BrokenPipeError, WireError) as error:
                lost = Reply("protocol", message=f"the answer cannot be passed on ({type(error).__name__})")
                break
    return _all_cases(results, suite, lost, candidate), claimed


def run_together(candidate: Candidate, suite: Suite) -> tuple[Reply, list[CaseResult]]:
    """Program and tests in one sandbox: whether the program loads, and what that process says of each case."""
    statements = [[each.source, each.is_case, each.is_method] for each in suite.statements]
    loaded = candidate.load("together", runtime=runtime("peer.py", "tester.py"), statements=statements)
    results: list[CaseResult] = []
    lost: Reply | None = None
    while loaded.status == "pass":
        reply = candidate.next()
        if reply.status != "pass" or not isinstance(reply.said, dict) or "case" not in reply.said:
            lost = None if reply.said is not None and "done" in reply.said else reply
            break
        said = {"message": "", "expected": None, "actual": None, **reply.said}
        if not _is_report(said, suite, len(results)):
            lost = Reply("protocol", message="the report of the tests has no known form")
            break
        results.append(_reported(said, suite, None))
    return loaded, _all_cases(results, suite, lost, candidate)


def _is_report(said: dict[str, Any], suite: Suite, number: int) -> bool:
    """Whether a report of the candidate's own process is one, about a case there is and in its turn."""
    texts = (said["expected"], said["actual"])
    return (
        type(said["case"]) is int
        and 0 <= said["case"] < len(suite.statements)
        and type(said.get("ok")) is bool
        and type(said["message"]) is str
        and all(text is None or type(text) is str for text in texts)
        and number < suite.total
    )


def mutant(code: str) -> str:
    """The program with nothing in its functions. Tests that pass on it prove nothing, or are not what decides."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Return(ast.Constant(None))]
    return ast.unparse(ast.fix_missing_locations(tree))


def _reported(said: dict[str, Any], suite: Suite, lost: Reply | None) -> CaseResult:
    source = suite.statements[said["case"]].source
    status: CaseStatus = "pass" if said["ok"] else "wrong"
    message = said["message"]
    if said.get("crashed"):
        status = lost.status if lost is not None else "error"
        message = lost.message if lost is not None else message
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
