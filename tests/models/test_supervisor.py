"""A server on the leash ends with its parent, and so does everything it started."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from crucible.models.sglang.process import LEASH

SERVER = """
import subprocess, sys, time
# A child in a session of its own, whose parent ends at once: what a daemon does.
subprocess.Popen([sys.executable, "-c", "import subprocess, sys; subprocess.Popen("
                  "[sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"])
time.sleep(1)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, {str(LEASH)!r}, sys.executable, "-c", {SERVER!r}], stdin=subprocess.PIPE)
time.sleep(60)
"""


def started(command: list[str], **pipes: int) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """A process and, once its server is ready, all of its descendants."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, start_new_session=True, **pipes)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("time.sleep(60)'" not in " ".join(each.cmdline()) for each in family) and len(family) >= 2
    return process, family


def test_closing_its_stdin_ends_all_of_it() -> None:
    leash, family = started([str(LEASH), sys.executable, "-c", SERVER], stdin=subprocess.PIPE)
    assert leash.stdin is not None
    leash.stdin.close()
    assert leash.wait(timeout=5) == 137
    assert psutil.wait_procs(family, timeout=5)[1] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_parents_end_ends_all_of_it(number: signal.Signals) -> None:
    parent, family = started(["-c", PARENT])
    parent.send_signal(number)
    parent.wait()
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_it_ends_with_the_servers_code() -> None:
    with subprocess.Popen(
        [sys.executable, str(LEASH), sys.executable, "-c", "exit(7)"], stdin=subprocess.PIPE
    ) as leash:
        assert leash.wait(timeout=5) == 7
