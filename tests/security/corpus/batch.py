"""Many programs on one sandbox as one user: starts the runner, and takes it in its stride when that dies."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from crucible.errors import SandboxUnavailableError
from tests.security.corpus.entries import CHECKOUT, Entry, TaskText
from tests.security.corpus.host import TOKEN
from tests.security.corpus.runner import Job, Result

ORDINARY_UID = 1000
TIMEOUT_S = 240.0
WORKERS = 3


class Combination(NamedTuple):
    """Who runs what. user: "root" or "ordinary"."""

    user: str
    tier: str
    profile: str

    def __str__(self) -> str:
        return "-".join(self)


def combinations() -> list[Combination]:
    users = ["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"]
    return [
        Combination(user, *kind) for user in users for kind in (("A", "function"), ("B", "function"), ("A", "project"))
    ]


class _Part(NamedTuple):
    """What one process of the runner's came to."""

    results: dict[str, Result]
    unfinished: list[str]
    ended: bool
    how: str


def run(combination: Combination, entries: Sequence[Entry], tasks: dict[str, TaskText]) -> dict[str, Result]:
    """A result for each entry. Raises SandboxUnavailableError where there is no such sandbox.

    Where the runner's process dies, what was running is run again alone; what kills it then has failed."""
    results: dict[str, Result] = {}
    workers = WORKERS
    while left := [entry for entry in entries if entry.name not in results]:
        job = Job(entries=tuple(left), tasks=tasks, tier=combination.tier, profile=combination.profile, workers=workers)
        part = _process(combination.user, job)
        results |= part.results
        if part.ended:
            break
        if workers == 1 or len(part.unfinished) == 1:
            died = f"the process that runs the sandbox did not survive it: {part.how}"
            results |= {name: Result(name=name, failures=[died]) for name in part.unfinished}
        elif not part.unfinished:
            raise RuntimeError(f"the runner fails: {part.how}")
        workers = 1
    return results


def _process(user: str, job: Job) -> _Part:
    folder = Path(tempfile.mkdtemp(prefix="crucible-corpus-"))
    command = [sys.executable, "-m", "tests.security.corpus.runner"]
    if user == "ordinary" and os.geteuid() == 0:
        os.chown(folder, ORDINARY_UID, ORDINARY_UID)
        needed = {sys.prefix, sys.base_prefix, str(CHECKOUT), str(folder), *filter(os.path.isdir, sys.path)}
        become = str(Path(__file__).with_name("become.py"))
        command = [sys.executable, "-I", "-S", become, str(ORDINARY_UID), ":".join(sorted(needed)), *command]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "PYTHONPATH": str(CHECKOUT),
        TOKEN: f"CRUCIBLE-CANARY-{secrets.token_hex(16)}",
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        try:
            running = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                env=environment,
                cwd=folder,
                text=True,
                start_new_session=True,
            )
            how = _wait(running, json.dumps(job.model_dump()))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        out.seek(0)
        errors.seek(0)
        return _part(out.read().splitlines(), f"{how}; {errors.read()[-3000:].strip()}")


def _wait(running: subprocess.Popen[str], job: str) -> str:
    try:
        running.communicate(job, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"did not end within {TIMEOUT_S:g} s"
    else:
        return f"exit code {running.returncode}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _part(lines: list[str], how: str) -> _Part:
    results: dict[str, Result] = {}
    began: list[str] = []
    ended = False
    for line in lines:
        with suppress(ValueError):  # a killed writer's last line
            said = json.loads(line)
            if "unavailable" in said:
                raise SandboxUnavailableError(said["unavailable"])
            if "began" in said:
                began.append(said["began"])
            if "result" in said:
                result = Result(**said["result"])
                results[result.name] = result
            ended |= "ended" in said
    return _Part(results, [name for name in began if name not in results], ended, how)
