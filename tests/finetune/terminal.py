"""A person at a terminal, for code that asks one: it runs in a child of its own under a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import time
from collections.abc import Callable

PATIENCE_S = 30.0


def answered(ask: Callable[[], bool], typed: str) -> tuple[bool, str]:
    """What `ask` returned with `typed` for an answer, and what the terminal showed. True only if it returned True."""
    pid, terminal = pty.fork()
    if pid == 0:
        code = 3
        try:
            code = 0 if ask() else 1
        finally:
            os._exit(code)
    shown, sent, ended = b"", False, time.monotonic() + PATIENCE_S
    while time.monotonic() < ended:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the child closed its end
            break
        if not piece:
            break
        shown += piece
        if not sent and b"to agree" in shown:
            os.write(terminal, typed.encode() + b"\n")
            sent = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status) == 0, shown.decode("utf-8", "replace")


def without_terminal(ask: Callable[[], bool]) -> int:
    """The exit code of a child that has no terminal: 0 returned True, 1 False, 3 raised."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            os.setsid()
            code = 0 if ask() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
