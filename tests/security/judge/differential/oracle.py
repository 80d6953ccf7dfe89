"""Two verdicts on a pair: CPython's own, in a sandbox of its own, and the judge's."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from crucible.errors import InputError
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Limits, Task
from tests.security.judge.differential.pairs import Pair

LIMITS = Limits()


class Answer(NamedTuple):
    """verdict: pass, fail or refused."""

    verdict: str
    reason: str
    trust: str = ""


@cache
def _driver() -> str:
    return Path(__file__).with_name("driver.py").read_text("utf-8")


def cpython(sandbox: Sandbox, pair: Pair) -> Answer:
    """Program and tests, run as one module."""
    call = f"main(*{(pair.program, pair.tests, pair.entry)!r})\n"
    done = sandbox.run(_driver() + call, limits=LIMITS)
    passed = done.status == "ok" and "CPYTHON PASSED THEM" in done.stdout
    return Answer("pass" if passed else "fail", f"{done.status}: {done.stderr[-400:]}")


def judged(sandbox: Sandbox, pair: Pair) -> Answer:
    """The judge's verdict. Tests that it refuses by name are neither passed nor failed."""
    task = Task(prompt="Write it.", tests=pair.tests, entry_point=pair.entry, limits=LIMITS)
    try:
        verdict = SandboxJudge(sandbox).judge(pair.program, task)
    except InputError as error:
        return Answer("refused", str(error))
    return Answer(verdict.verdict, verdict.reason, verdict.trust)
