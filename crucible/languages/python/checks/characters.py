"""What a program's characters hide from who reads it: encodings, bidirectional controls, invisible and control characters."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator

from crucible.languages.python.checks.finding import finding
from crucible.languages.python.checks.source import place
from crucible.types import Feedback

MAX_SAID = 5
"""Findings of one kind; the first few say it all."""

_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_NO_CODE = re.compile(rb"[ \t\f]*(?:#|$)")
_UTF8 = re.compile(r"utf-?8(-.*)?|u8|utf|cp65001")

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKS = frozenset("\u061c\u200e\u200f")
"""Of those, the marks that only lean: they stand in honest text of right-to-left scripts."""
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Drawn as nothing, though no category says so: fillers, blanks, variation selectors."""
_ODD = re.compile(r"[^\t\n\f\r -~]")
_ASIDE = re.compile(r"(?<=\S)[ \t]{120,}+(?=\S)")
"""Room enough to push what follows out of sight."""


def odd_characters(code: str) -> Iterator[Feedback]:
    """Findings about encodings and characters, in the order of the text."""
    yield from _cookie(code)
    if at := re.search(r"\r(?!\n)", code):
        message = "holds a lone carriage return: Python begins a line there, and many editors do not"
        yield finding("CR107", message, *place(code, at.start()))
    if at := _ASIDE.search(code):
        message = f"goes on after {len(at[0])} blanks in a line, where nobody looks"
        yield finding("CR107", message, *place(code, at.end()))
    said = {"CR106": 0, "CR107": 0}
    for match in _ODD.finditer(code):
        character = match[0]
        turns = (character in _TURNS and character not in _MARKS) or "\U000e0000" <= character <= "\U000e007f"
        if not turns and not (_invisible(character) and not _joins(code, match.start())):
            continue
        rule = "CR106" if turns else "CR107"
        said[rule] += 1
        if said[rule] <= MAX_SAID:
            name = unicodedata.name(character, "a control character").lower()
            written = f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
            what = "shows it in another order than it runs" if character in _TURNS else "cannot be seen"
            message = f"holds {written} ({name}), which {what}; write it as an escape"
            yield finding(rule, message, *place(code, match.start()))


def _cookie(code: str) -> Iterator[Feedback]:
    """PEP 263 goes by the file's bytes, and so do we: line one, or line two after a line without code."""
    lines = re.split(rb"\r\n?|\n", code.encode("utf-8", "replace").removeprefix(codecs.BOM_UTF8), maxsplit=2)
    for number, line in enumerate(lines[:2], 1):
        if match := _COOKIE.match(line):
            encoding = match[1].decode("ascii", "replace").lower().replace("_", "-")
            plain = encoding in ("ascii", "us-ascii") and code.isascii()
            if not plain and not _UTF8.fullmatch(encoding):
                message = f"declares the encoding {encoding}, in which its bytes are another program; use UTF-8"
                yield finding("CR105", message, number, match.start(1) + 1)
            return
        if not _NO_CODE.match(line):
            return


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp") or _UNSEEN.match(character) is not None


def _joins(code: str, at: int) -> bool:
    """Whether the character does honest work: it joins emoji, picks how one is drawn, or joins letters of scripts that need it."""
    before, here, after = code[at - 1 : at], code[at], code[at + 1 : at + 2]
    if here in "\ufe0e\ufe0f":
        return before != "" and (before in "0123456789#*\u2139" or unicodedata.category(before) in ("So", "Sm", "Po"))
    if here not in "\u200c\u200d" or not before or not after:
        return False
    emoji = before == "\ufe0f" or unicodedata.category(before) in ("So", "Sk")
    if here == "\u200d" and emoji:
        return unicodedata.category(after) in ("So", "Sm")
    return {unicodedata.category(before), unicodedata.category(after)} <= {"Lo", "Mn", "Mc"}
