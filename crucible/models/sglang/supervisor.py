"""Runs a server in a process that ends with its parent, and all of the server's own processes with it.

    python supervisor.py COMMAND …      stdin's end is the parent's end; output is the command's; exits with its code

The command becomes a child of this process, which adopts whatever that child leaves behind (PR_SET_CHILD_SUBREAPER) and
kills them all before it ends. This file is run as a script and imports nothing of Crucible.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

LOOK_S = 0.5
PR_SET_CHILD_SUBREAPER = 36


def descendants(root: int) -> list[int]:
    """Every process below `root`, as /proc shows them now."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
            parents.setdefault(parent, []).append(int(entry.name))
    found, open_ = [], [root]
    while open_:
        children = parents.get(open_.pop(), [])
        found += children
        open_ += children
    return found


def kill_all() -> None:
    """Until none is left: one that is killed while it forks may leave another."""
    while left := descendants(os.getpid()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break


def end(*_: object) -> None:
    kill_all()
    os._exit(143)


def main() -> int:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which ends this in order
    signal.signal(signal.SIGTERM, end)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    try:
        while child.poll() is None and os.getppid() == parent:
            readable, _, _ = select.select([0], [], [], LOOK_S)
            if readable and os.read(0, 4096) == b"":
                break
    finally:
        code = child.poll()
        kill_all()
    return 137 if code is None else code


if __name__ == "__main__":
    sys.exit(main())
