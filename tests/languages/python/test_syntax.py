"""Parsing from many threads at once, which CPython's own parser does not stand."""

from __future__ import annotations

import ast
import gc
import sys
import threading
import weakref

from crucible.languages.python import syntax

DEEP = "x = " + "[" * 40 + "]" * 40 + "\n"
"""Its tree is built by many nested calls, in any of which a thread may have to wait."""


def test_threads_that_parse_at_once_do_not_disturb_each_other() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(60):
                assert isinstance(syntax.parse(DEEP * 20), ast.Module)
                assert syntax.literal("[[1], (2,)]") == [[1], (2,)]
        except BaseException as error:
            errors.append(error)

    class Cyclic:
        def __init__(self) -> None:
            self.me = self
            weakref.finalize(self, lambda: sum(range(100)))

    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(5)  # finalizers run in the middle of the parser, and there other threads come in
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            Cyclic()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)
    assert not errors, errors[0]
