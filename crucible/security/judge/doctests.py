"""Read doctest sessions: which examples they hold, and which of them are a plain call with a plain answer."""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Iterator

from crucible.errors import InputError

Example = doctest.Example
SKIP = doctest.SKIP


def is_session(text: str) -> bool:
    """Return whether `text` holds a doctest example."""
    return re.search(r"^\s*>>> ?\S", text, re.M) is not None


def examples(session: str) -> list[Example]:
    """Return the examples of a session. Raises InputError for one that doctest cannot read."""
    try:
        return doctest.DocTestParser().get_examples(session)
    except ValueError as error:
        raise InputError(f"the tests do not parse: {error}") from error


def checked(found: list[Example]) -> list[int]:
    """Return the numbers of the examples that are cases: those with an answer, or all where none has one."""
    run = [number for number, each in enumerate(found) if not each.options.get(doctest.SKIP)]
    return [number for number in run if _answers(found[number])] or run


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and its functions that hold doctests."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and is_session(text):
                yield text


def stray_asserts(text: str) -> list[str]:
    """Return the lines of a session's text that look like asserts and are part of no example."""
    parts = doctest.DocTestParser().parse(text)
    prose = "\n".join(part for part in parts if isinstance(part, str))
    return [line.strip() for line in prose.splitlines() if re.match(r"\s*assert\b", line)]


def same(want: str, got: str, options: dict[int, bool]) -> bool:
    """Return whether doctest takes `got` for `want` under an example's options."""
    flags = sum(flag for flag, is_set in options.items() if is_set)
    return doctest.OutputChecker().check_output(want, got, flags)


def _answers(example: Example) -> bool:
    return bool(example.want) or example.exc_msg is not None
