"""What a model was asked for and how it did: requests, tokens, cost, latency. Kept for the life of the process."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from crucible.models.base import Model, OnDelta
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Frozen, Message, Sampling

KEPT = 10_000
"""Latencies, the newest ones."""


class Usage(Frozen):
    """Completions, not calls: one call may draw several."""

    completions: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    """In the currency of the prices."""
    latency_s: dict[str, float]
    """Seconds a completion took: p50, p90, p99 (nearest rank), over the newest ones."""


class MeteredModel(WrappedModel):
    """prompt_price, completion_price: for a million tokens."""

    def __init__(self, inner: Model, *, prompt_price: float = 0.0, completion_price: float = 0.0) -> None:
        super().__init__(inner)
        self._prices = (prompt_price, completion_price)
        self._lock = threading.Lock()
        self._tokens = [0, 0]
        self._seconds: list[float] = []
        self._completions = 0

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        drawn = super().generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        with self._lock:
            self._completions += len(drawn)
            for each in drawn:
                self._tokens[0] += each.prompt_tokens
                self._tokens[1] += each.completion_tokens
                self._seconds.append(each.wall_s)
            del self._seconds[:-KEPT]
        return drawn

    def usage(self) -> Usage:
        with self._lock:
            ordered = sorted(self._seconds)
            cost = sum(price * tokens / 1e6 for price, tokens in zip(self._prices, self._tokens, strict=True))
            return Usage(
                completions=self._completions,
                prompt_tokens=self._tokens[0],
                completion_tokens=self._tokens[1],
                cost=cost,
                latency_s={f"p{percent}": _rank(ordered, percent) for percent in (50, 90, 99)} if ordered else {},
            )


def _rank(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of all do not exceed."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
