"""Integers of more digits than Python reads and writes by default (4,300).

The limit guards against text that takes quadratic time to read. Where the text is bounded anyway, `long_integers` lifts it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_DIGITS = 100_000

_lock = threading.Lock()
_users = 0
_before = 0


@contextmanager
def long_integers() -> Iterator[None]:
    """Read and write integers of up to MAX_DIGITS digits inside the block. Threads may be in it at the same time."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = sys.get_int_max_str_digits()
            if 0 < _before < MAX_DIGITS:
                sys.set_int_max_str_digits(MAX_DIGITS)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                sys.set_int_max_str_digits(_before)
