"""What a target is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

MAX_S = 2.0
"""CPU seconds one input may take, instrumented as the code is. A busy machine makes nothing slower by this clock."""


class Target(NamedTuple):
    test: Callable[[bytes], None]
    """Whatever it raises is a defect."""
    seeds: Sequence[bytes]
    words: Sequence[bytes]
    """What is worth inserting."""
    max_len: int


@contextmanager
def timed() -> Iterator[None]:
    began = time.process_time()
    yield
    took = time.process_time() - began
    if took > MAX_S:
        raise TimeoutError(f"one input took {took:.1f} s")
