"""Which of llama.cpp's slots a request takes.

Every slot has a cache of its own, and llama.cpp computes busy slots in one pass over the weights only where their numbers
follow one another: a gap between them costs another pass (`python -m benchmarks.slots`). Left to itself it takes any slot
that is free. So a request takes the one that leaves the fewest runs of busy slots, and among those the one that holds most
of its prompt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile

from crucible.models.answer import Request
from crucible.models.http import StreamClient
from crucible.models.stop import Stop
from crucible.models.throttle import Throttle
from crucible.types import Completion


class Slots:
    """Thread-safe. count: of the server."""

    def __init__(self, count: int) -> None:
        self._busy, self._held = [False] * count, [""] * count
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, prompt: str) -> Iterator[int | None]:
        """A slot to read `prompt`, until the block ends; None where all are busy."""
        with self._lock:
            free = [slot for slot, busy in enumerate(self._busy) if not busy]
            slot = min(free, key=lambda each: (self._more_runs(each), -self._known(each, prompt)), default=None)
            if slot is not None:
                self._busy[slot], self._held[slot] = True, prompt
        try:
            yield slot
        finally:
            if slot is not None:
                with self._lock:
                    self._busy[slot] = False

    def hold(self, slots: Iterable[int], prompt: str) -> None:
        """Says that `slots` have read `prompt` already."""
        with self._lock:
            for slot in slots:
                self._held[slot] = prompt

    def _more_runs(self, slot: int) -> int:
        """How many runs of busy slots there would be more: 1, 0 beside one, -1 between two."""
        beside = self._busy[max(0, slot - 1) : slot] + self._busy[slot + 1 : slot + 2]
        return 1 - sum(beside)

    def _known(self, slot: int, prompt: str) -> int:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._held[slot], prompt, strict=False))
        return sum(1 for _ in same)


class SlotClient(StreamClient):
    """A client that says of every completion which of the server's `streams` slots draws it, where the request does not."""

    def __init__(self, base_url: str, model: str, *, api_key: str | None, timeout_s: float, streams: int) -> None:
        super().__init__(base_url, model, api_key=api_key, timeout_s=timeout_s, streams=streams)
        self.slots, self.throttle = Slots(streams), Throttle(streams, adapts=False)

    def draw(self, request: Request, stop: Stop, tell: Callable[[str], None] | None = None) -> Completion:
        if "id_slot" in request.body:
            return super().draw(request, stop, tell)
        with self.slots.taken(request.body["prompt"]) as slot:
            body = request.body if slot is None else request.body | {"id_slot": slot}
            return super().draw(request._replace(body=body), stop, tell)
