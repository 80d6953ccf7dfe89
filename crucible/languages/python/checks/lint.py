"""ruff's rules over one program, in one call of its command line."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from crucible.errors import MissingPartError
from crucible.languages.python.checks.finding import Severity, short
from crucible.types import Feedback, FindingKind

RULES = "E9,F,PLE,S,RUF001,RUF006,RUF008,RUF016,RUF024,RUF026,RUF034,RUF040,RUF049"
"""E9, F: what fails when it runs. PLE and the RUF0.. taken: what is wrong whatever was meant. S: security. RUF001: texts with
letters that look like others. The rest of ruff is taste."""
IGNORED = "F401,F541,F841,PLE25,S101,S102,S105,S106,S107,S110,S112,S113,S307,S311,S324,S4,S60"
"""Taste, too, in programs of one function; S102, S307, S4, S60, PLE25: our own rules see more of it."""
TIMEOUT_S = 10.0
NEWEST = 14
"""The last Python 3 that the oldest ruff we take knows."""

_FAILS = ("F821", "F822", "F823", "F7", "E9", "PLE")


def lint(code: str) -> Iterator[Feedback]:
    """ruff's findings. What keeps it from giving any is a finding as well."""
    try:
        done = subprocess.run(_command(), input=code.encode(), capture_output=True, timeout=TIMEOUT_S, check=False)
        rows = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        yield _untold(f"the linter did not finish within {TIMEOUT_S:g} s")
    except ValueError:
        yield _untold(f"the linter gave no readable answer (exit code {done.returncode})")
    else:
        yield from (_finding(row) for row in rows)


@cache
def _command() -> list[str]:
    beside = Path(sysconfig.get_path("scripts")) / "ruff"
    if not beside.is_file():
        raise MissingPartError(f"ruff is not installed for {sys.executable}; run: {sys.executable} -m pip install ruff")
    # What the program's own comments say (noqa) does not count: it is not the program that decides what is said of it.
    command = [str(beside), "check", "--isolated", "--no-cache", "--quiet", "--exit-zero", "--ignore-noqa"]
    command += ["--output-format", "json", "--target-version", f"py3{min(sys.version_info.minor, NEWEST)}"]
    return [*command, "--select", RULES, "--ignore", IGNORED, "--stdin-filename", "candidate.py", "-"]


def _untold(message: str) -> Feedback:
    return Feedback(kind=FindingKind.LINT, severity="warning", message=message)


def _finding(row: dict[str, object]) -> Feedback:
    rule = "E999" if row["code"] in (None, "invalid-syntax") else str(row["code"])
    severity: Severity = "error" if rule.startswith(_FAILS) else "warning"
    place = row["location"]
    assert isinstance(place, dict)
    return Feedback(
        kind=FindingKind.SECURITY if rule.startswith(("S", "RUF001")) else FindingKind.LINT,
        severity=severity,
        message=short(str(row["message"])),
        line=place["row"],
        column=place["column"],
        rule=rule,
    )
