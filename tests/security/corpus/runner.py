"""Runs a corpus on one sandbox, in a process of its own: a job as JSON on stdin, one JSON line per result on stdout.

Most programs run two at a time. What uses up a machine, and what is judged by who else runs, runs alone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Execution, Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.probe import select_sandbox
from crucible.security.validator import validate
from crucible.types import Example, Limits, Task, Verdict
from tests.security.corpus.checks import CLIPPED, Outcome, failures
from tests.security.corpus.entries import Entry, TaskText
from tests.security.corpus.host import Host, Process, descendants

HONEST = Limits(wall_s=5, cpu_s=5)
HOSTILE = Limits(wall_s=4, cpu_s=4)
ENDLESS = Limits(wall_s=1.5, cpu_s=2)
"""For the kinds of which many programs are ended by their deadline: below what the corpus assumes, to save time."""
JUDGED = Limits(wall_s=3, cpu_s=3)
JUDGED_HONEST = Limits(wall_s=10, cpu_s=10)
ALONE = ("resource", "survivor")


class Job(BaseModel):
    entries: tuple[Entry, ...]
    tasks: dict[str, TaskText]
    tier: str
    profile: str
    workers: int


class Result(BaseModel):
    """What came of one program."""

    name: str
    failures: list[str]
    observed: str = ""
    seconds: float = 0.0


class Runner:
    def __init__(self, host: Host, sandbox: Sandbox, tasks: dict[str, TaskText]) -> None:
        self._host, self._sandbox, self._tasks = host, sandbox, tasks
        self._judge = SandboxJudge(sandbox)
        done = sandbox.run("print('FINE')", limits=HONEST)
        if done.stdout != "FINE\n":
            raise SandboxUnavailableError(f"the sandbox runs nothing: {_shown(done)}")
        host.learn_parts()

    def result(self, entry: Entry) -> Result:
        began = time.monotonic()
        try:
            wrong, observed = self._tried(entry)
        except Exception:
            wrong, observed = [f"an exception came out of Crucible or of the runner:\n{traceback.format_exc()}"], ""
        return Result(name=entry.name, failures=wrong, observed=observed, seconds=time.monotonic() - began)

    def _tried(self, entry: Entry) -> tuple[list[str], str]:
        code, expect = self._host.local(entry.code), entry.expect
        absent = self._host.paths(expect.host_absent)
        littered = self._host.litter() if _alone(entry) else set()
        wrong = [f"{path} is there before the program ran" for path in absent if os.path.lexists(path)]
        observed = []
        for _ in range(2 if expect.run_twice else 1):
            outcome = self._once(entry, code)
            outcome = outcome._replace(present=tuple(str(path) for path in absent if os.path.lexists(path)))
            wrong += failures(expect, outcome)
            if self._host.canary in outcome.said:
                wrong.append("the host's secret came out")
            if entry.kind == "net" and outcome.heard:
                wrong.append(f"reached the host's {', '.join(outcome.heard)}")
            observed.append(_observed(outcome))
        if _alone(entry) and (left := self._host.left_over(littered)):
            wrong.append(f"left in the host's folders: {sorted(left)}")
        return wrong, "\n".join(observed)

    def _once(self, entry: Entry, code: str) -> Outcome:
        """Everything that can be seen of one run."""
        expect = entry.expect
        known: set[Process] = {*descendants()} if expect.no_survivors else set()
        heard = len(self._host.heard)
        execution: Execution | None = None
        verdict: Verdict | None = None
        findings = validate(code) if expect.static is not None else ()
        with self._host.connecting(expect.host_cannot_connect) as answered:
            began = time.monotonic()
            if expect.needs_execution:
                execution = self._sandbox.run(code, stdin=entry.stdin, limits=_limits(entry))
            if expect.task is not None:
                verdict = self._judge.judge(code, self._task(entry))
            elapsed_s = time.monotonic() - began
        if entry.kind == "net":
            time.sleep(0.05)  # what was sent without waiting for an answer
        return Outcome(
            execution=execution,
            verdict=verdict,
            findings=findings,
            elapsed_s=elapsed_s,
            survivors=tuple(self._host.survivors(known)) if expect.no_survivors else (),
            heard=tuple(self._host.heard[heard:]),
            answered=tuple(answered),
            missing=tuple(self._host.missing_parts()) if expect.host_ok else (),
            next_program=self._next_program() if expect.host_ok else None,
        )

    def _task(self, entry: Entry) -> Task:
        text = self._tasks[entry.expect.task or ""]
        fields: dict[str, Any] = {"checker": text.checker} if text.checker else {}
        fields |= {"tolerance": text.tolerance} if text.tolerance is not None else {}
        return Task(
            prompt=text.prompt,
            entry_point=text.entry,
            examples=tuple(Example(input=given, output=output) for given, output in [*text.public, *text.hidden]),
            tests=text.tests,
            limits=JUDGED if entry.expect.verdict == "fail" else JUDGED_HONEST,
            **fields,
        )

    def _next_program(self) -> str | None:
        done = self._sandbox.run("print(6 * 7)", limits=HONEST)
        return None if (done.status, done.stdout) == ("ok", "42\n") else _shown(done)


def _limits(entry: Entry) -> Limits:
    if entry.kind == "control":
        return HONEST
    return ENDLESS if entry.kind in ALONE else HOSTILE


def _alone(entry: Entry) -> bool:
    """Whether others would disturb it, or be disturbed, or be taken for what it leaves behind."""
    expect = entry.expect
    judged_by_the_host = expect.no_survivors or expect.run_twice or bool(expect.host_cannot_connect)
    return judged_by_the_host or (entry.kind in ALONE and not entry.beside)


def _observed(outcome: Outcome) -> str:
    parts = [] if outcome.execution is None else [_shown(outcome.execution)]
    if outcome.verdict is not None:
        cases = "; ".join(f"{case.status} {case.call}: {case.actual or case.message}" for case in outcome.verdict.cases)
        parts.append(f"verdict {outcome.verdict.verdict}: {outcome.verdict.reason} [{cases[: 2 * CLIPPED]}]")
    return f"{' '.join(parts)} ({outcome.elapsed_s:.2f} s)"


def _shown(done: Execution) -> str:
    texts = f"stdout {done.stdout[:CLIPPED]!a}, stderr {done.stderr[-CLIPPED:]!a}"
    return f"status {done.status}, exit code {done.exit_code}, {texts}"


def main() -> None:
    job = Job.model_validate(json.load(sys.stdin))
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # stdout is for results, whatever else in this process prints
    lock = threading.Lock()

    def tell(**line: Any) -> None:
        with lock:
            results.write(json.dumps(line) + "\n")
            results.flush()

    keys = frozenset(key for entry in job.entries if (key := entry.expect.host_sysv_shm_key) is not None)
    with Host(keys) as host:
        for path in {path for entry in job.entries for path in entry.expect.launcher_leaks_inheritable_fd_to}:
            host.leak(path)
        try:
            runner = Runner(host, select_sandbox(job.tier, job.profile), job.tasks)  # type: ignore[arg-type]
        except SandboxUnavailableError as error:
            tell(unavailable=str(error))
            return

        def attempt(entry: Entry) -> None:
            tell(began=entry.name)
            tell(result=runner.result(entry).model_dump())

        with ThreadPoolExecutor(job.workers) as pool:
            list(pool.map(attempt, (entry for entry in job.entries if not _alone(entry))))
        for entry in job.entries:
            if _alone(entry):
                attempt(entry)
    tell(ended=True)


if __name__ == "__main__":
    main()
