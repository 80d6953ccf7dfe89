"""Crucible in a real terminal: what a person sees and types."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import psutil
import pytest

from tests.cli.test_commands import FORGETFUL, REMEMBERS

REPOSITORY = Path(__file__).parents[2]
RIGHT = "```python\ndef double(n):\n    return n + n\n```"
SLOW = "```python\nimport time\ndef double(n):\n    time.sleep(60)\n    return n + n\n```"
TASK = "Write double(n): twice n. assert double(2) == 4"

Spawn = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def spawn(tmp_path: Path) -> Spawn:
    def start(*arguments: str, replies: list[str] | None = None, remembers: bool = False) -> pexpect.spawn[str]:
        script = tmp_path / "script.json"
        script.write_text(json.dumps(replies or [RIGHT]))
        environment = {
            **os.environ,
            "CRUCIBLE_MODEL__SCRIPT": str(script),
            "CRUCIBLE_MODEL__ENGINE": "scripted",
            **(REMEMBERS if remembers else FORGETFUL),
            "TERM": "xterm-256color",
        }
        command = [str(REPOSITORY / "main.py"), *arguments]
        return pexpect.spawn(
            sys.executable, command, env=environment, cwd=tmp_path, encoding="utf-8", timeout=60, dimensions=(40, 140)
        )

    return start


def finish(child: pexpect.spawn[str]) -> int:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return child.exitstatus


@pytest.mark.sandbox
def test_solve_shows_what_happens(spawn: Spawn) -> None:
    child = spawn("solve", TASK, "--approve", "auto")
    child.expect("solving with")
    child.expect("tokens/s")
    child.expect("PASS 1/1")
    child.expect("solved")
    child.expect("tokens written")
    assert finish(child) == 0


@pytest.mark.sandbox
def test_yes_at_the_question_runs_the_candidate(spawn: Spawn) -> None:
    child = spawn("solve", TASK)
    child.expect("executed in the sandbox")
    child.sendline("y")
    child.expect("PASS 1/1")
    assert finish(child) == 0


@pytest.mark.sandbox
def test_no_at_the_question_refuses(spawn: Spawn) -> None:
    child = spawn("solve", TASK)
    child.expect("executed in the sandbox")
    child.sendline("")
    child.expect("refused")
    assert finish(child) == 3


@pytest.mark.sandbox
def test_ctrl_c_ends_with_130_and_no_child_and_resume_goes_on(spawn: Spawn) -> None:
    child = spawn("solve", TASK, "--approve", "auto", replies=[SLOW])
    child.expect("testing in the sandbox")
    assert child.pid is not None
    family = psutil.Process(child.pid).children(recursive=True)
    child.sendintr()
    assert finish(child) == 130
    assert psutil.wait_procs(family, timeout=5)[1] == []
    again = spawn("runs", "list")
    again.expect("interrupted")
    assert finish(again) == 0


@pytest.mark.sandbox
def test_ctrl_c_at_the_question_ends_with_130(spawn: Spawn) -> None:
    child = spawn("solve", TASK)
    child.expect("executed in the sandbox")
    child.sendintr()
    # Between the question and the read for its answer, Python takes note of a signal and reads on: a person presses again.
    if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10) == 1:
        child.sendintr()
    assert finish(child) == 130


@pytest.mark.sandbox
def test_the_interactive_session(spawn: Spawn) -> None:
    child = spawn(remembers=True)
    child.expect("/help")
    child.sendline("/nonsense")
    child.expect("unknown command")
    child.sendline(TASK)
    child.expect("executed in the sandbox")
    child.sendline("y")
    child.expect("PASS 1/1")
    child.expect("def.*double")
    child.sendline("/search doubling")
    child.expect("Write double")
    child.sendeof()
    assert finish(child) == 0
