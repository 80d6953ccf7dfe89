"""Text that a terminal, a log line or a prompt can show without being driven by it."""

from __future__ import annotations

import unicodedata
from typing import Any

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


def whole(text: str) -> str:
    """`text` with surrogate halves that meet joined and lone ones replaced by U+FFFD: every encoding can hold it."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_broken(value: Any) -> bool:  # noqa: ANN401
    """Return whether a text in plain data holds half a surrogate pair, as an undecodable byte becomes one too."""
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value) if not value.isascii() else False
    if isinstance(value, dict):
        return any(is_broken(key) or is_broken(item) for key, item in value.items())
    return isinstance(value, list | tuple | set | frozenset) and any(map(is_broken, value))


def mended(value: Any) -> Any:  # noqa: ANN401
    """Plain data with every text made `whole`."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {mended(key): mended(item) for key, item in value.items()}
    return type(value)(map(mended, value)) if isinstance(value, list | tuple) else value


def _shows(character: str) -> bool:
    if character in _KEPT or (character.isascii() and character.isprintable()):
        return True
    # Cc control, Cf format (zero-width, bidi), Cs lone surrogates, Co private use, Zl and Zp line separators
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and character not in _BIDI


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
