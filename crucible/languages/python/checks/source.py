"""The way from text to a syntax tree in our own process: what could crash or stall Python's parser is refused first.

Python guards itself (200 brackets, 100 indents, a limit on recursion), but the guards differ by version and by the size of
the thread's stack, and normalising a name takes time with the square of its combining marks.
"""

from __future__ import annotations

import ast
import re

from crucible.languages.python import syntax
from crucible.languages.python.checks.finding import finding
from crucible.types import Feedback

MAX_CHARS = 200_000
MAX_BRACKETS = 100
MAX_CHAIN = 1000
"""Operators that may hang on one another within a statement: `not not …`, `a.b.c…`, `x()()…`, lambdas, sums."""
MAX_NAME = 200
"""Characters of a name that is not plain ASCII."""

TOKEN = re.compile(
    r"""
    (?P<string>[bBrRuUfFtT]{0,2}(?:
        '''(?:[^'\\]++|\\.|'(?!''))*+'''
      | \"""(?:[^"\\]++|\\.|"(?!""))*+\"""
      | '(?!'')(?:[^'\\\r\n]++|\\(?:\r\n|.))*+'
      | "(?!"")(?:[^"\\\r\n]++|\\(?:\r\n|.))*+"))
  | (?P<unclosed>['"])
  | (?P<comment>\#[^\r\n]*+)
  | (?P<word>[A-Za-z0-9_\u0080-\U0010ffff]++)
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<end>\r\n?|\n|;)
  | (?P<comma>,)
  | (?P<operator>[-+*/%@&|^~<>=.:!])
  | \\(?:\r\n?|\n)
    """,
    re.VERBOSE | re.DOTALL,
)
"""Python's tokens as far as they matter here. After an unclosed string Python reads no further, and neither may we."""

_HANGING = frozenset(["not", "lambda", "await", "yield", "if", "else", "and", "or", "in", "is", "for"])


def parse(code: str) -> ast.Module:
    """The syntax tree of `code`. Raises SyntaxError, and only that."""
    problem = unreadable(code)
    if problem is not None:
        raise SyntaxError(problem.message)
    try:
        return syntax.parse(code)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError("it is nested too deeply for Python's parser") from error


def first_error(code: str) -> int | None:
    """The line, from 1, at which `code` does not parse; None if it does."""
    try:
        parse(code)
    except SyntaxError as error:
        return error.lineno or 1
    return None


def unreadable(code: str) -> Feedback | None:
    """Return why `code` is not given to a parser at all; None if it may be."""
    if len(code) > MAX_CHARS:
        return finding("CR101", f"the program has {len(code)} characters, {MAX_CHARS} are allowed")
    if "\0" in code:
        return finding("CR102", "the program holds a null byte", *place(code, code.index("\0")))
    if half := re.search("[\ud800-\udfff]", code):
        message = f"the program holds half a surrogate pair (\\u{ord(half[0]):04x}), which is no character"
        return finding("CR104", message, *place(code, half.start()))
    for match in TOKEN.finditer("" if code.isascii() else code):
        if match.lastgroup == "word" and len(match[0]) > MAX_NAME and not match[0].isascii():
            message = f"a name has {len(match[0])} characters, {MAX_NAME} are allowed"
            return finding("CR103", message, *place(code, match.start()))
    brackets, chain = depth(code)
    if brackets > MAX_BRACKETS:
        return finding("CR103", f"brackets are nested {brackets} deep, {MAX_BRACKETS} are allowed")
    if chain > MAX_CHAIN:
        return finding("CR103", f"an expression hangs {chain} operators on one another, {MAX_CHAIN} are allowed")
    return None


def depth(code: str) -> tuple[int, int]:
    """Return how deep brackets are nested, and a bound on how many operators hang on one another in one statement."""
    around: list[tuple[int, int]] = []
    deepest = longest = outer = chain = lambdas = 0
    for match in TOKEN.finditer(code):
        kind = match.lastgroup
        if kind == "unclosed":
            break
        if kind == "open":
            around.append((chain, lambdas))
            outer += chain + 1
            chain = lambdas = 0
            deepest = max(deepest, len(around))
        elif kind == "close" and around:
            chain, lambdas = around.pop()
            outer -= chain + 1
            chain += 1
        elif kind == "comma":
            chain = lambdas  # parameters of a lambda are separated by commas and end nothing
        elif kind == "end" and not around:
            chain = lambdas = 0
        elif kind == "operator" or (kind == "word" and match[0] in _HANGING):
            chain += 1
            lambdas += match[0] == "lambda"
        elif kind == "string" and _formatted(match[0]):
            inner = [depth(part) for part in re.split("[{}'\"]", match[0])[1:]]
            deepest = max(deepest, len(around) + max(part[0] for part in inner))
            longest = max(longest, outer + chain + max(part[1] for part in inner))
        longest = max(longest, outer + chain)
    return deepest, longest


def _formatted(string: str) -> bool:
    return not {*string[:2].lower()}.isdisjoint("ft") and "{" in string


def place(code: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    lines = re.split(r"\r\n?|\n", code[:offset])
    return len(lines), len(lines[-1]) + 1
