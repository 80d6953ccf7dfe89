"""The candidate's sandbox as the judge sees it: something that may answer."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Sandbox
from crucible.security.sandbox.session import CPU_SLACK_S
from crucible.security.sandbox.wire import WireError
from crucible.text import one_line
from crucible.types import CaseResult, CaseStatus, Limits

MAX_MESSAGE = 300
START_S = 0.5
"""For the interpreter's start, beyond the task's wall time."""

MAX_CALLS = 4
"""Calls that count towards a program's whole time: a hundred slow calls may take four times what one may, no more."""

LOST: tuple[CaseStatus, ...] = ("timeout", "killed", "protocol")
"""After these no further answer can be believed to belong to its question."""


class Reply(NamedTuple):
    """The outcome of one request: a value, or why there is none. said: the reply itself, for passing on."""

    status: CaseStatus
    value: Any = None
    error: tuple[str, ...] = ()
    message: str = ""
    said: dict[str, Any] | None = None


class Candidate:
    """One sandbox with the program in it, and its task's preamble before it."""

    def __init__(self, sandbox: Sandbox, code: str, limits: Limits, preamble: str = "", calls: int = 1) -> None:
        """limits: of one call. calls: how many will come; all of them together get up to MAX_CALLS times as much time."""
        self._code, self._limits, self._preamble = code, limits, preamble
        times = max(1, min(calls, MAX_CALLS))
        self.allowance = limits.model_copy(update={"wall_s": limits.wall_s * times, "cpu_s": limits.cpu_s * times})
        self._session = sandbox.open(self.allowance)
        self._loaded = False
        self._lost: Reply | None = None
        self.report: dict[str, Any] = {}

    def load(self, mode: str = "serve", **details: Any) -> Reply:  # noqa: ANN401
        """Start the program as a server of its functions, or as one side of a test (mode "candidate")."""
        try:
            self._session.order(mode, self.allowance, code=self._code, preamble=self._preamble, **details)
        except (BrokenPipeError, WireError) as error:
            return Reply("error", message=f"the program cannot be loaded: {error}")
        return self._answer()

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], bound: bool = False) -> Reply:
        return self.ask({"name": name, "args": list(args), "kwargs": kwargs, "bound": bound})

    def ask(self, request: Any) -> Reply:  # noqa: ANN401
        """Send one request and wait for its answer. After a loss every further answer is the same loss."""
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

    def next(self) -> Reply:
        """Return what it says next without being asked, where that is what it was started for."""
        return self._lost if self._lost is not None else self._answer()

    def quiet(self) -> bool:
        """Return whether nothing more was said than asked for."""
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
            if self.report["cpu_s"] >= self.allowance.cpu_s - CPU_SLACK_S or self.report["why"] == "timeout":
                status, message = "timeout", f"no answer within {self._limits.wall_s:g} s"
            elif self.report["why"] == "output_limit":
                message = f"the program printed more than {self._limits.output_bytes} bytes"
            update = {"status": status, "message": message}
            cases = [case.model_copy(update=update) if case.status == "killed" else case for case in cases]
        return cases

    def __enter__(self) -> Candidate:
        return self

    def __exit__(self, *exc: object) -> None:
        self._session.abandon()

    def _lose(self, reply: Reply) -> Reply:
        self._lost = reply
        return reply

    def _answer(self) -> Reply:
        deadline = time.monotonic() + self._limits.wall_s + (0.0 if self._loaded else START_S)
        self._loaded = True
        try:
            said = self._session.receive(deadline)
        except TimeoutError:
            return self._lose(Reply("timeout", message=f"no answer within {self._limits.wall_s:g} s"))
        except EOFError:
            return self._lose(Reply("killed", message="the program ended its process instead of answering"))
        except WireError as error:
            return self._lose(Reply("protocol", message=f"the answer is no value: {error}"))
        reply = _reply(said)
        return self._lose(reply) if reply.status == "protocol" else reply


def _reply(said: Any) -> Reply:  # noqa: ANN401
    if type(said) is dict and {"value", "do", "case", "done"} & set(said):
        return Reply("pass", value=said.get("value"), said=said)
    if type(said) is dict and type(said.get("error")) is list and type(said.get("message")) is str:
        names = tuple(name for name in said["error"] if type(name) is str)
        if names:
            line = f" (line {said['line']})" if type(said.get("line")) is int else ""
            message = one_line(f"{names[0]}: {said['message'][:MAX_MESSAGE]}{line}", MAX_MESSAGE)
            return Reply("memory" if names[0] == "MemoryError" else "error", error=names, message=message, said=said)
    return Reply("protocol", message="the answer has no known form")
