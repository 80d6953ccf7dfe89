"""When to give up on requests in flight: the caller's event, a deadline, silence, or a failure elsewhere.

A reader blocked on a socket is woken by shutting the socket down; closing it from another thread would not wake it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Self

POLL_S = 0.05


class Line:
    """One request's connection, as far as it concerns giving up on it."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._socket: socket.socket | None = None
        self._heard = time.monotonic()
        self.silent = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """httpcore's trace hook: the only way to a connection's socket before the response's headers are there."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._stop.reason:
                self.cut()

    def heard(self) -> None:
        self._heard = time.monotonic()

    def silent_for(self) -> float:
        return time.monotonic() - self._heard

    def cut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it ended by itself a moment before
                self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._stop.lines.add(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.lines.discard(self)


class Stop:
    """Watches one call of `generate`. Used as a context manager around it."""

    def __init__(self, cancel: threading.Event | None, deadline_s: float | None, silence_s: float) -> None:
        self.reason = ""
        """Why everything must end: "cancelled", "deadline", "failed"; empty while nothing must."""
        self.lines: set[Line] = set()
        self.deadline_s, self.silence_s = deadline_s, silence_s
        self._cancel = cancel
        self._until = None if deadline_s is None else time.monotonic() + deadline_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="crucible-stop")

    def now(self, reason: str) -> None:
        """End every request. The first reason stays."""
        self.reason = self.reason or reason
        for line in tuple(self.lines):
            line.cut()

    def check(self) -> str:
        """The reason to stop, looked at this moment."""
        if not self.reason and self._cancel is not None and self._cancel.is_set():
            self.now("cancelled")
        if not self.reason and self._until is not None and time.monotonic() >= self._until:
            self.now("deadline")
        return self.reason

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            self.check()
            for line in tuple(self.lines):
                if self.reason:
                    line.cut()  # again: a request may have connected since
                elif line.silent_for() > self.silence_s:
                    line.silent = True
                    line.cut()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
