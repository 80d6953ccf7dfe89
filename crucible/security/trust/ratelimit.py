"""How often something may begin: a token bucket. It fills steadily, holds `capacity`, and every start takes one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from crucible.errors import RateLimitedError


class TokenBucket:
    """Full at first. Thread-safe. per_minute: how fast it fills; capacity: starts at once, default a minute's worth."""

    def __init__(
        self, per_minute: float, capacity: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute, self._rate_s = per_minute, per_minute / 60.0
        self._capacity = max(1.0, per_minute if capacity is None else capacity)
        self._clock = clock
        self._level, self._seen = self._capacity, clock()
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """Take one and return 0.0; or take nothing and return the seconds until there will be one."""
        with self._lock:
            now = self._clock()
            self._level = min(self._capacity, self._level + (now - self._seen) * self._rate_s)
            self._seen = now
            if self._level > 1.0 - 1e-9:  # waiting as long as was said is enough, whatever rounding does
                self._level -= 1.0
                return 0.0
            return (1.0 - self._level) / self._rate_s

    def take(self, limit: str) -> None:
        """Take one. limit: what sets the rate, for the message. Raises RateLimitedError, which says when to try again."""
        wait = self.wait_s()
        if wait > 0:
            message = f"{limit} allows {self._per_minute:g} a minute; try again in {wait:.1f} s"
            raise RateLimitedError(message, retry_after_s=wait)
