"""How many requests a server gets at once: as many as it answers well, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), with latency as the signal besides refusals. A server that
batches answers each request more slowly and all of them together faster; one that is full does less in all than it did
with fewer, and more requests would only wait there instead of here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crucible.models.transport.stop import POLL_S, Stop

SLOW = 0.5
"""Share of the most tokens a second, all requests in flight together, below which a server counts as full."""
FADES = 0.99
"""What is left of that most with every answer: a server may have become slower for good."""
MIN_TOKENS = 8
"""Shorter answers are mostly the reading of the prompt, and say little of the pace."""


class Throttle:
    """Lets `limit` requests through at a time, between 1 and `most`; always `most` where it does not adapt, as for a server
    of our own, which takes just as many. Thread-safe."""

    def __init__(self, most: int, *, adapts: bool = True) -> None:
        self.most, self._adapts = most, adapts
        self.limit = float(most)
        self._best = 0.0
        self._now = 0
        self._free = threading.Condition()

    @contextmanager
    def admitted(self, stop: Stop) -> Iterator[None]:
        """Waits for a place; not once `stop` says to end, as nothing will then be sent."""
        with self._free:
            while self._now >= int(self.limit) and not stop.check():
                self._free.wait(POLL_S)
            self._now += 1
        try:
            yield
        finally:
            with self._free:
                self._now -= 1
                self._free.notify_all()

    def answered(self, seconds: float, tokens: int) -> None:
        """An answer came, so fast. To be said while it is still admitted."""
        if tokens < MIN_TOKENS or seconds <= 0 or not self._adapts:
            return
        with self._free:
            rate = self._now * tokens / seconds
            if self._now >= int(self.limit) and rate < SLOW * self._best:
                self.limit = max(1.0, self.limit * 0.9)
            else:
                self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
            self._best = max(self._best * FADES, rate)
            self._free.notify_all()

    def refused(self) -> None:
        """The server said that it is too much, or did not answer in time."""
        if not self._adapts:
            return
        with self._free:
            self.limit = max(1.0, self.limit / 2)


def pause(seconds: float, stop: Stop) -> None:
    """Sleeps, unless it is time to stop."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0 and not stop.check():
        time.sleep(min(POLL_S, left))
