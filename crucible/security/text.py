"""Text that a terminal, a log line or a prompt can show without being driven by it."""

from __future__ import annotations

import unicodedata

_KEPT = "\n\t"
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str, limit: int | None = None) -> str:
    """`text` with control, escape, bidirectional and other invisible formatting characters written as \\xNN or \\uNNNN.

    Newlines and tabs stay. limit: characters at most, an ellipsis in place of the rest."""
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if _shows(character) else _escaped(character) for character in text)


def plain(text: str, limit: int | None = None) -> str:
    """As `printable`, with every line end made a newline first: text from anywhere as data for a prompt."""
    return printable(text.replace("\r\n", "\n").replace("\r", "\n"), limit)


def one_line(text: str, limit: int | None = None) -> str:
    """As `printable`, with newlines and tabs escaped too."""
    return printable(text, limit).replace("\n", "\\n").replace("\t", "\\t")


def _shows(character: str) -> bool:
    if character in _KEPT or (character.isascii() and character.isprintable()):
        return True
    # Cc control, Cf format (zero-width, bidi), Cs lone surrogates, Co private use, Zl and Zp line separators
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _BIDI


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
