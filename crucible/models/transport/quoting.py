"""Text from elsewhere made fit for an error message: one line, printable, short, without credentials.

A library's own error text is never quoted: HTTP libraries put header values, and with them keys, into theirs.
"""

from __future__ import annotations

import html
import re
import ssl
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

MAX_QUOTE = 240
"""Characters of foreign text in one message."""
MIN_SECRET = 6
"""A shorter text is no secret worth hiding, and hiding it would blot out ordinary words."""
HIDDEN = "***"

_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->|<[^<>]*>", re.DOTALL | re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@'\"]*@|(?<=\bBearer )\S{6,}", re.IGNORECASE)
_KINDS = {
    "ConnectTimeout": "no connection in time",
    "PoolTimeout": "no connection in time",
    "ReadTimeout": "no answer in time",
    "WriteTimeout": "the request could not be sent in time",
    "RemoteProtocolError": "it broke off, or does not speak HTTP",
    "LocalProtocolError": "the request has no valid HTTP form",
    "DecodingError": "its compressed content is damaged",
    "TooManyRedirects": "it redirects without end",
    "UnsupportedProtocol": "it redirects to an address that is not http",
    "ProxyError": "the proxy refuses the connection",
    "StreamError": "the answer was read twice",
}
"""Failures of the HTTP library by the name of their class, in words of ours."""


def quote(text: str, limit: int = MAX_QUOTE, *, hide: Iterable[str] = ()) -> str:
    """`text` on one line of printable characters, `limit` at most, without what stands in `hide` and without URL credentials."""
    for secret in hide:
        if len(secret) >= MIN_SECRET:
            text = text.replace(secret, HIDDEN)
    text = _CREDENTIALS.sub(HIDDEN, " ".join(text[: 8 * limit].split()))
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def words(body: bytes, *, hide: Iterable[str] = ()) -> str:
    """The first words of a body as `quote` shows them; of a web page, the text between its tags."""
    text = body[: 1 << 14].decode("utf-8", "replace")
    if re.match(r"\s*(<!doctype|<html|<head|<body|<\?xml)", text, re.IGNORECASE):
        text = html.unescape(_MARKUP.sub(" ", text))
    return quote(text, hide=hide)


def shown(url: str) -> str:
    """`url` for a message: without user, password, query and fragment, all of which may hold a key."""
    try:
        parts = urlsplit(url)
        return quote(f"{parts.scheme}://{_host(parts)}{parts.path}")
    except ValueError:
        return quote(_CREDENTIALS.sub(HIDDEN, url.partition("?")[0]))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def reason(error: BaseException) -> str:
    """Return why a request failed, in the operating system's words where it said something, else in ours."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {quote(link.verify_message, 120)}"
        if isinstance(link, OSError) and link.strerror:
            return quote(link.strerror, 120)
        link = link.__cause__ or link.__context__
    return _KINDS.get(type(error).__name__, type(error).__name__)
