"""Sandboxes started ahead of their candidates: the same wrapper, each used once, so that a verdict costs milliseconds."""

from __future__ import annotations

import threading
from collections import deque
from typing import Self

from crucible.security.base import Execution, Profile, Sandbox, SandboxSession
from crucible.types import Limits

SIZE = 2


class WarmPool:
    """A Sandbox that keeps `size` of another's sandboxes started for the limits asked for last. Threads may share it."""

    def __init__(self, sandbox: Sandbox, size: int = SIZE) -> None:
        self._sandbox, self._size = sandbox, size
        self._lock = threading.Lock()
        self._ready: deque[SandboxSession] = deque()
        self._limits: Limits | None = None

    @property
    def tier(self) -> str:
        return self._sandbox.tier

    @property
    def profile(self) -> Profile:
        return self._sandbox.profile

    def open(self, limits: Limits) -> SandboxSession:
        """A fresh sandbox, started already where one is ready. The one that takes its place is started at once."""
        with self._lock:
            if self._limits != limits:
                self._drop()
                self._limits = limits
            session = self._ready.popleft() if self._ready else self._sandbox.open(limits)
            while len(self._ready) < self._size:
                self._ready.append(self._sandbox.open(limits))
        return session

    def run(self, code: str, *, stdin: str = "", limits: Limits | None = None) -> Execution:
        return self._sandbox.run(code, stdin=stdin, limits=limits)

    def close(self) -> None:
        """End the sandboxes that wait."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _drop(self) -> None:
        while self._ready:
            self._ready.popleft().abandon()
