"""Which of llama.cpp's slots a request takes.

Every slot has a cache of its own, and llama.cpp computes busy slots in one pass over the weights only where their numbers
follow one another: a gap between them costs another pass (`python -m benchmarks.slots`). Left to itself it takes any slot
that is free. So a request takes the one that leaves the fewest runs of busy slots, and among those the one that holds most
of its prompt. Samples of one prompt take theirs together, as a lane: one slot reads the prompt for all.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import takewhile

from crucible.models.transport.answer import Request
from crucible.models.transport.http import StreamClient
from crucible.models.transport.stop import POLL_S, Stop
from crucible.models.transport.throttle import Throttle
from crucible.types import Completion

WAIT_S = 120.0
"""For how long a lane waits for its slots: longer than answers take, and not for good where single requests take them all."""
MIN_LANE = 2


class Slots:
    """Thread-safe. count: of the server."""

    def __init__(self, count: int) -> None:
        self._busy, self._held = [False] * count, [""] * count
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._lanes: list[object] = []
        """The waiting ones, first come first."""

    @contextmanager
    def taken(self, prompt: str) -> Iterator[int | None]:
        """A slot to read `prompt`, until the block ends; None where all are busy."""
        with self._lock:
            slot = self._take(prompt)
        try:
            yield slot
        finally:
            if slot is not None:
                self.free([slot])

    def lane(self, count: int, prompt: str, stop: Stop) -> list[int]:
        """Slots for `count` samples of `prompt`, busy until they are freed: as many as are free, once that is half of them.

        It waits for that, each lane in its turn. Empty where two are not to be had, `stop` says so first, or the slots take
        more than WAIT_S once it is this lane's turn.
        """
        most, turn, until = min(count, len(self._busy)), object(), math.inf
        if most < MIN_LANE:
            return []
        with self._lock:
            self._lanes.append(turn)
            try:
                while not stop.check() and time.monotonic() < until:
                    if self._lanes[0] is turn:
                        until = min(until, time.monotonic() + WAIT_S)
                        if self._busy.count(False) >= max(MIN_LANE, (most + 1) // 2):
                            return [slot for _ in range(most) if (slot := self._take(prompt)) is not None]
                    self._freed.wait(POLL_S)
                return []
            finally:
                self._lanes.remove(turn)
                self._freed.notify_all()

    def free(self, slots: Iterable[int]) -> None:
        with self._lock:
            for slot in slots:
                self._busy[slot] = False
            self._freed.notify_all()

    def _take(self, prompt: str) -> int | None:
        free = [slot for slot, busy in enumerate(self._busy) if not busy]
        slot = min(free, key=lambda each: (self._more_runs(each), -self._known(each, prompt)), default=None)
        if slot is not None:
            self._busy[slot], self._held[slot] = True, prompt
        return slot

    def _more_runs(self, slot: int) -> int:
        """How many runs of busy slots there would be more: 1, 0 beside one, -1 between two."""
        beside = self._busy[max(0, slot - 1) : slot] + self._busy[slot + 1 : slot + 2]
        return 1 - sum(beside)

    def _known(self, slot: int, prompt: str) -> int:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._held[slot], prompt, strict=False))
        return sum(1 for _ in same)


class Lane:
    """Slots that draw `samples` requests between them, no more at once than there are slots. One that no request waits for
    is free for others at once."""

    def __init__(self, slots: Slots, held: Sequence[int], samples: int) -> None:
        self._slots, self._idle, self._waiting = slots, list(held), samples
        self._lock = threading.Lock()
        self.width = len(held)

    @contextmanager
    def taken(self) -> Iterator[int]:
        """One of them, until the block ends."""
        with self._lock:
            self._waiting -= 1
            slot = self._idle.pop(0)
        try:
            yield slot
        finally:
            with self._lock:
                self._idle.append(slot)
                spare = self._idle[self._waiting :]
                del self._idle[self._waiting :]
            self._slots.free(spare)

    def close(self) -> None:
        """Frees what is left, where not all samples were drawn."""
        self._slots.free(self._idle)


class SlotClient(StreamClient):
    """A client that says of every completion which of the server's `streams` slots draws it, where the request does not."""

    def __init__(self, base_url: str, model: str, *, api_key: str | None, timeout_s: float, streams: int) -> None:
        super().__init__(base_url, model, api_key=api_key, timeout_s=timeout_s, streams=streams)
        self.slots, self.throttle = Slots(streams), Throttle(streams, adapts=False)
        self._lane: Lane | None = None

    def within(self, lane: Lane) -> SlotClient:
        """The same client, all of whose completions are the lane's."""
        client = copy(self)
        client._lane, client._streams = lane, lane.width
        return client

    def draw(self, request: Request, stop: Stop, tell: Callable[[str], None] | None = None) -> Completion:
        if "id_slot" in request.body:
            return super().draw(request, stop, tell)
        with self._lane.taken() if self._lane else self.slots.taken(request.body["prompt"]) as slot:
            body = request.body if slot is None else request.body | {"id_slot": slot}
            return super().draw(request._replace(body=body), stop, tell)
