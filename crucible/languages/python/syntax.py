"""Python source as syntax trees, from any thread.

CPython counts how deep a tree is in one counter for all threads: two that parse at once can fail with SystemError
("AST constructor recursion depth mismatch", https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import ast
import threading
from typing import Any

_ONE_AT_A_TIME = threading.RLock()


def parse(source: str) -> ast.Module:
    """Parse a module. Raises what `ast.parse` raises: SyntaxError, ValueError, RecursionError or MemoryError."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Parse one expression. Raises what `ast.parse` raises."""
    with _ONE_AT_A_TIME:
        return ast.parse(source, mode="eval").body


def literal(source: str | ast.expr) -> Any:  # noqa: ANN401 - a literal may be any
    """Return the value of a literal. Raises what `ast.literal_eval` raises."""
    with _ONE_AT_A_TIME:
        return ast.literal_eval(source)
