"""Characters that stand in for others: invisible ones, typographic ones, HTML escapes. String literals are left alone
wherever the program parses with them."""

# ruff: noqa: RUF001
from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

from crucible.languages.python.checks.source import TOKEN
from crucible.languages.python.extraction.source import masked, parsed

_LINE_ENDS = dict.fromkeys(map(ord, "\x85\u2028\u2029\x0b"), "\n")
_TYPOGRAPHIC = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys(map(ord, "“”„‟″«»"), '"'),
    **dict.fromkeys(map(ord, "‘’‚‛′´"), "'"),
    **dict.fromkeys(map(ord, "‐‑‒–—―−﹣"), "-"),
    **str.maketrans({"×": "*", "÷": "/", "≤": "<=", "≥": ">=", "≠": "!=", "…": "...", "→": "->", "。": "."}),
}
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d+|#x[0-9a-fA-F]+);")
_ESCAPED = re.compile(r"\\([_*\[\]<>#`])")


def visible(text: str) -> str:
    """`text` with every blank that Python does not know as a plain one, and without what cannot be seen."""
    if text.isascii():
        return text
    kept = []
    for character in text.translate(_LINE_ENDS):
        if character.isascii():
            kept.append(character)
        elif unicodedata.category(character) == "Zs":
            kept.append(" ")
        elif unicodedata.category(character) not in ("Cf", "Cc") and not 0xFE00 <= ord(character) <= 0xFE0F:
            kept.append(character)
    return "".join(kept)


def cleaned(code: str) -> str:
    """`code` without the characters that keep Python from reading it. What parses comes back as it is."""
    if parsed(code) is not None and not _escaped_outside(code):
        return code
    for change in (_unescaped, _outside(visible), _outside(_typewritten), _everywhere, _unmarked):
        changed = change(code)
        if changed == code:
            continue
        if parsed(changed) is not None:
            return changed
        if change is not _everywhere:  # a step on the way: what is wrong may be several things
            code = changed
    return code


def _outside(change: Callable[[str], str]) -> Callable[[str], str]:
    """`change`, applied outside string literals and comments."""

    def apply(code: str) -> str:
        if code.isascii():
            return code
        return "".join(text if literal else change(text) for literal, text in masked(code))

    return apply


def _typewritten(text: str) -> str:
    return text.translate(_TYPOGRAPHIC)


def _everywhere(code: str) -> str:
    return visible(code).translate(_TYPOGRAPHIC)


def _escaped_outside(code: str) -> bool:
    """Return whether an HTML escape stands where Python has none: outside string literals and comments."""
    if "&" not in code:
        return False
    starts = [match.start() for match in _ENTITY.finditer(code)]
    literals = [match.span() for match in TOKEN.finditer(code) if match.lastgroup in ("string", "comment")]
    return any(not any(begin <= start < end for begin, end in literals) for start in starts)


def _unescaped(code: str) -> str:
    return html.unescape(code) if _escaped_outside(code) else code


def _unmarked(code: str) -> str:
    """Without Markdown's backslashes before `_` and its like."""
    return "".join(text if literal else _ESCAPED.sub(r"\1", text) for literal, text in masked(code))
