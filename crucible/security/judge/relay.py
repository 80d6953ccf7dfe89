"""Run tests that are more than calls with literals, in two ways.

*Between two processes*: the tests run in a second sandbox, the tester's, and the judge passes the messages between it and
the candidate's. What the tester reports is believed, for it runs the task's tests and no line of the candidate's. Not
everything that Python does can be carried between two processes.

*In the program's process*: the tests run as Python itself would run them. What that process reports is the program's claim.
"""

from __future__ import annotations

import ast
import marshal
import secrets
import time
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from crucible.languages.python import syntax
from crucible.security.base import Sandbox
from crucible.security.judge.asked import MAX_SHOWN, Suite
from crucible.security.judge.candidate import LOST, MAX_MESSAGE, Candidate, Reply
from crucible.security.judge.compiled import compiled
from crucible.security.sandbox.wire import WireError
from crucible.text import one_line
from crucible.types import CaseResult, CaseStatus, Limits

TESTER_S = 1.0
"""Beyond the candidate's wall time, which the tests' own work counts towards."""

Key = tuple[int, str]
"""A statement's number, and which of its results."""


class Outcome(NamedTuple):
    """The report of one run of the tests. skipped: what the tests themselves left out. doubt: "claimed" or "low" where a
    pass rests on less than a value."""

    loaded: Reply
    cases: dict[Key, CaseResult]
    skipped: frozenset[Key] = frozenset()
    doubt: Literal["", "claimed", "low"] = ""

    @property
    def passes(self) -> bool:
        return self.loaded.status == "pass" and all(
            case.status == "pass" for key, case in self.cases.items() if key not in self.skipped
        )


@cache
def runtime(*names: str) -> bytes:
    """Compile the sources of a sandbox's side of a test for the interpreter there, which is ours."""
    package = files("crucible.security.judge")
    source = "\n".join(package.joinpath(name).read_text() for name in names)
    return marshal.dumps(compile(source, names[-1], "exec", dont_inherit=True))


def between_two(sandbox: Sandbox, candidate: Candidate, suite: Suite, limits: Limits) -> Outcome:
    """Run the tests in a sandbox of their own against the candidate's."""
    loaded = candidate.load("candidate", runtime=runtime("peer.py"))
    reports = _Reports(suite, secrets.token_hex(8))
    if loaded.status != "pass":
        return reports.outcome(loaded, None)
    lost: Reply | None = None
    tests = compiled(suite, everywhere=True)
    with sandbox.open(limits) as tester:
        tester.order(
            "tester",
            candidate.allowance,
            runtime=runtime("peer.py", "importing.py", "runner.py", "tester.py"),
            statements=tests.statements,
            imports=tests.imports,
            names=list(suite.names),
            token=reports.token,
        )
        while True:
            try:
                said = tester.receive(time.monotonic() + limits.wall_s + TESTER_S)
            except (TimeoutError, EOFError, WireError) as error:
                why: Literal["timeout", "error"] = "timeout" if isinstance(error, TimeoutError) else "error"
                lost = lost or Reply(why, message=f"the tests did not end ({type(error).__name__})")
                break
            if "done" in said:
                break
            if "case" in said:
                reports.add(said, lost)
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
    return reports.outcome(loaded, lost)


def in_process(candidate: Candidate, suite: Suite) -> Outcome:
    """Run the tests in the candidate's process, as Python itself would."""
    reports = _Reports(suite, secrets.token_hex(16))
    tests = compiled(suite, everywhere=False)
    loaded = candidate.load(
        "together",
        runtime=runtime("importing.py", "runner.py"),
        statements=tests.statements,
        imports=tests.imports,
        token=reports.token,
    )
    lost: Reply | None = None
    if loaded.status == "pass" and (loaded.said or {}).get("token") != reports.token:
        loaded = Reply("protocol", message="the program reported in the tests' place")
    while loaded.status == "pass":
        reply = candidate.next()
        if reply.status != "pass" or not isinstance(reply.said, dict):
            lost = reply
            break
        if not reports.is_one(reply.said):
            lost = Reply("protocol", message="the report of the tests has no known form")
            break
        if "done" in reply.said:
            break
        reports.add(reply.said, None)
    return reports.outcome(loaded, lost)


class _Reports:
    """Collects what a run says of each case, and knows which it has to hear of."""

    def __init__(self, suite: Suite, token: str) -> None:
        self.token = token
        self._suite = suite
        self._shown = {(number, key): text for number, each in enumerate(suite.statements) for key, text in each.cases}
        self._cases: dict[Key, CaseResult] = {}
        self._skipped: set[Key] = set()
        self._doubt: Literal["", "claimed", "low"] = ""

    def is_one(self, said: dict[str, Any]) -> bool:
        """Return whether a message is a report: in form, about a statement there is, not said before, and with the token."""
        if said.get("token") != self.token:
            return False
        if "done" in said:
            return True
        texts = (said.get("expected"), said.get("actual"), said.get("skipped"))
        return (
            type(said.get("case")) is int
            and 0 <= said["case"] < len(self._suite.statements)
            and type(said.get("ok")) is bool
            and type(said.get("key")) is str
            and type(said.get("message")) is str
            and all(text is None or type(text) is str for text in texts)
            and (said["case"], said["key"]) not in self._cases
        )

    def add(self, said: dict[str, Any], lost: Reply | None) -> None:
        number, key = said["case"], said["key"]
        source = self._shown.get((number, key)) or key or self._suite.statements[number].source
        status: CaseStatus = "pass" if said["ok"] else "wrong"
        message = said["message"]
        if said["skipped"] is not None:
            status, message = "skipped", f"the tests skip it: {said['skipped']}"
            self._skipped.add((number, key))
        elif said.get("crashed"):
            status = "memory" if message.startswith("MemoryError") else "error"
            status, message = (lost.status, lost.message) if lost is not None else (status, message)
        if said.get("doubt") == "low" or (said.get("doubt") == "claimed" and not self._doubt):
            self._doubt = said["doubt"]
        call, expected = _halves(source)
        self._cases[number, key] = CaseResult(
            status=status,
            call=one_line(call, MAX_SHOWN),
            expected=one_line(said["expected"] or expected, MAX_SHOWN) if said["expected"] or expected else None,
            actual=one_line(said["actual"], MAX_SHOWN) if said["actual"] else None,
            message=one_line(message, MAX_MESSAGE),
        )

    def outcome(self, loaded: Reply, lost: Reply | None) -> Outcome:
        """Return what was reported, in the tests' order. A case that was not reported is lost, those after it skipped."""
        reply = loaded if loaded.status != "pass" else lost or Reply("error", message="the tests ended early")
        cases: dict[Key, CaseResult] = {}
        status, message = reply.status, reply.message
        for key, text in self._shown.items():
            if key in self._cases:
                cases[key] = self._cases.pop(key)
                continue
            cases[key] = CaseResult(status=status, call=one_line(text, MAX_SHOWN), message=message)
            if loaded.status == "pass":
                status, message = "skipped", ""
        cases |= self._cases  # what failed without being a case; tests of a base class from elsewhere
        if lost is not None and all(case.status == "pass" for case in cases.values()):
            cases[len(self._suite.statements), ""] = CaseResult(status=lost.status, call="", message=lost.message)
        return Outcome(loaded, cases, frozenset(self._skipped), self._doubt)


def mutants(code: str) -> list[str]:
    """Return known-bad variants of a program: one with nothing in its functions, and one without definitions.

    Tests that pass on both do not depend on the program, or were made to pass by what it did when it was loaded."""
    tree = syntax.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Return(ast.Constant(None))]
    emptied = ast.unparse(ast.fix_missing_locations(tree))
    tree.body = [node for node in tree.body if not _defines(node)]
    used = {node.id for each in tree.body for node in ast.walk(each) if isinstance(node, ast.Name)}
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom) or _binds(node) & used]
    return [emptied, ast.unparse(tree)]


def _binds(node: ast.Import | ast.ImportFrom) -> set[str]:
    return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name | ast.Tuple) for target in node.targets)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign)


def _halves(source: str) -> tuple[str, str]:
    """Return (what is called, what it is compared with) of an assert, for showing."""
    text = source.removeprefix("assert ")
    left, equals, right = text.partition(" == ")
    return (left, right) if equals else (text, "")
