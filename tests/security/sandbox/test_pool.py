"""Sandboxes started ahead: each used once, none left behind."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.tiers import BubblewrapSandbox
from crucible.types import Limits, Task

pytestmark = pytest.mark.sandbox
TASK = Task(prompt="p", tests="assert f(1) == 1", limits=Limits(wall_s=2, cpu_s=2))
MARKS = (
    "import os\nseen = os.path.exists('mark')\nopen('mark', 'w').close()\ndef f(n):\n    return 1 if not seen else 2"
)

LOOK = """
import os
for fd in range(3, 256):
    try:
        os.fstat(fd)
        print("holds", fd)
    except OSError:
        continue
"""


def test_no_candidate_meets_what_another_left(sandbox: Sandbox) -> None:
    with WarmPool(sandbox) as pool:
        assert [SandboxJudge(pool).judge(MARKS, TASK).verdict for _ in range(5)] == ["pass"] * 5


def test_one_started_beside_another_holds_nothing_of_it(sandbox: Sandbox) -> None:
    other = sandbox.open(TASK.limits)
    try:
        assert sandbox.run(LOOK).stdout == ""
    finally:
        other.abandon()


def test_other_limits_get_sandboxes_of_their_own(sandbox: Sandbox) -> None:
    fills = "def f(n):\n    open('fill', 'wb').write(bytes(8 << 20))\n    return n"
    with WarmPool(sandbox) as pool:
        assert SandboxJudge(pool).judge(fills, TASK).verdict == "pass"
        small = TASK.model_copy(update={"limits": TASK.limits.model_copy(update={"disk_mib": 4})})
        assert SandboxJudge(pool).judge(fills, small).verdict == "fail"


def test_waiting_costs_a_candidate_no_time(sandbox: Sandbox) -> None:
    with WarmPool(sandbox) as pool:
        pool.open(TASK.limits).abandon()
        time.sleep(3)  # longer than the candidate's wall time
        assert SandboxJudge(pool).judge("def f(n):\n    return n", TASK).verdict == "pass"


def test_closing_ends_what_waits() -> None:
    sandbox = BubblewrapSandbox()
    with WarmPool(sandbox) as pool:
        pool.open(TASK.limits).abandon()
        launcher = sandbox._launcher._process
        assert launcher is not None
        waiting = psutil.Process(launcher.pid).children(recursive=True)
        assert waiting
    _, left = psutil.wait_procs(waiting, timeout=3)
    assert not left


def test_a_killed_launcher_is_started_again() -> None:
    sandbox = BubblewrapSandbox()
    assert sandbox.run("print(1)").stdout == "1\n"
    launcher = sandbox._launcher._process
    assert launcher is not None
    os.kill(launcher.pid, signal.SIGKILL)
    launcher.wait()
    assert sandbox.run("print(2)").stdout == "2\n"
