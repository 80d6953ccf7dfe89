"""Python expressions in the middle of words: where one may end, and whether it stands by itself."""

from __future__ import annotations

import ast
import builtins
import re

from crucible.languages.python import syntax

_PAIRS = {")": "(", "]": "[", "}": "{"}


def parse_expression(text: str) -> ast.expr | None:
    try:
        return syntax.parse_expression(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def concrete(node: ast.expr) -> bool:
    """Return whether it names nothing but what it calls, and so can be evaluated where it stands."""
    functions = {id(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
    inner: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.comprehension):
            inner |= {name.id for name in ast.walk(part.target) if isinstance(name, ast.Name)}
        elif isinstance(part, ast.Lambda):
            inner |= {argument.arg for argument in ast.walk(part.args) if isinstance(argument, ast.arg)}
        elif isinstance(part, ast.Constant) and part.value is ...:
            return False
    return all(
        id(part) in functions or part.id in inner or hasattr(builtins, part.id)
        for part in ast.walk(node)
        if isinstance(part, ast.Name)
    )


def balanced(text: str, start: int, most: int) -> int | None:
    """Return where the bracket at `start` is closed (the place after it); None where it is not, within `most` characters."""
    end, depth = _scan(text, start, most)
    return end if depth == 0 else None


def is_open(text: str) -> bool:
    """Return whether a bracket of `text` waits to be closed."""
    stack = 0
    place = 0
    while place < len(text):
        char = text[place]
        if char in "\"'":
            place = string_end(text, place, len(text))
            continue
        stack += (char in "([{") - (char in ")]}")
        place += 1
    return stack > 0


def _scan(text: str, start: int, most: int) -> tuple[int, int]:
    stack: list[str] = []
    place, last = start, min(len(text), start + most)
    while place < last:
        char = text[place]
        if char in "\"'":
            place = string_end(text, place, last)
            continue
        if char in "([{":
            stack.append(char)
        elif char in ")]}":
            if not stack or stack.pop() != _PAIRS[char]:
                return place, 1
            if not stack:
                return place + 1, 0
        place += 1
    return place, max(1, len(stack))


def string_end(text: str, start: int, last: int) -> int:
    """The place after the string that starts at `start`; of an apostrophe, the next place."""
    quote = text[start]
    place = start + 1
    while place < last and text[place] not in (quote, "\n"):
        place += 2 if text[place] == "\\" else 1
    return place + 1 if place < last and text[place] == quote else start + 1


_END = re.compile(r"[.,;:!?`)\]*]|\s(?:and|or|but|assert|which|where|then)\b|\s(?=>>>)|\n")
MAX_ENDS = 24


def ends(text: str) -> list[int]:
    """Return where an example that starts `text` may end, the farthest first."""
    first = text.find("\n")
    places = {len(text), len(text) if first < 0 else first}
    for match in _END.finditer(text[:2_000]):
        places |= {match.start(), match.end()} if match[0] in (")", "]") else {match.start()}
        if len(places) > 200:
            break
    kept = sorted(places, reverse=True)
    return [*kept[:MAX_ENDS], *kept[-MAX_ENDS:]] if len(kept) > 2 * MAX_ENDS else kept
