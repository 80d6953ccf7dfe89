"""How busy a benchmark keeps the engine: tokens a second of a whole `bench`, against the engine asked for the same alone.

    python -m benchmarks.busy SET … [--limit 24] [--model qwen2.5-coder-0.5b] [--parallel 16] [--json FILE]

First the benchmark runs (arms single, best-of-n and loop) and every request to the model is noted. Then the same requests
go to the same engine again, as many at a time, with nothing else to do: no sandbox, no checks, no memory. The answers of
both are as long as they come out; both rates are generated tokens over wall seconds from the first request to the
last answer. Exits 1 below the bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from crucible.app import Crucible
from crucible.benchmark import ARMS, benchmark
from crucible.config import load_settings
from crucible.config.paths import Paths
from crucible.models import load_model
from crucible.models.base import Model, OnDelta
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, Sampling

BOUND = 0.85


class Request(NamedTuple):
    messages: tuple[Message, ...]
    samplings: tuple[Sampling, ...]


class Noting(WrappedModel):
    """A model that notes what it is asked, and when it was first and last at work."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._lock = threading.Lock()
        self.requests: list[Request] = []
        self.tokens = 0
        self.began = self.ended = 0.0

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        with self._lock:
            self.began = self.began or time.monotonic()
            self.requests.append(Request(tuple(messages), tuple(samplings)))
        drawn = self.inner.generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        with self._lock:
            self.ended = time.monotonic()
            self.tokens += sum(each.completion_tokens for each in drawn)
        return drawn

    @property
    def rate(self) -> float:
        return self.tokens / (self.ended - self.began)

    def close(self) -> None:
        """The engine belongs to who made it."""


def alone(model: Model, requests: Sequence[Request], parallel: int) -> float:
    """Tokens a second for the same requests and nothing else."""
    noting = Noting(model)
    with ThreadPoolExecutor(parallel) as threads:
        for done in [threads.submit(noting.generate, each.messages, each.samplings) for each in requests]:
            done.result()
    return noting.rate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--limit", type=int, default=24, help="first problems of every set")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    given: dict[str, dict[str, Any]] = {
        "model": {"name": options.model, "slots": options.parallel},
        "cycles": {"approve": "auto"},
    }
    settings = load_settings(overrides=given)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        settings = settings.model_copy(update={"paths": Paths(home=place / "home", cache=settings.paths.cache)})
        with load_model(settings.model, settings.paths) as engine:
            noting = Noting(engine)
            with Crucible(settings=settings, model=noting) as app:
                results = benchmark(app, options.sets, out=place / "out", arms=ARMS, limit=options.limit)
            raw = alone(engine, noting.requests, options.parallel)
    result = {
        "model": options.model,
        "parallel": options.parallel,
        "cells": len(results.cells),
        "requests": len(noting.requests),
        "bench_tokens": noting.tokens,
        "bench_tokens_per_s": round(noting.rate, 1),
        "alone_tokens_per_s": round(raw, 1),
        "ratio": round(noting.rate / raw, 3),
        "bound": BOUND,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if noting.rate / raw >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
