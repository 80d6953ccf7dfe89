"""Server-sent events, read leniently (HTML standard, section "Server-sent events"): any line ends, comments, several data lines.

Beyond the standard: a data line that is JSON by itself is an event at once, as some servers leave out the empty line; data that
is no JSON is passed over, as some servers keep a connection alive by it; and a body of plain JSON is read as one event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

DONE = "[DONE]"
MAX_BYTES = 32 << 20
"""One line, or a body that is no stream: more is no completion."""
_BOM = b"\xef\xbb\xbf"
_FIELDS = ("data", "event", "id", "retry")


class Event(NamedTuple):
    """One event: its JSON value, or the text DONE; its name where it has one."""

    data: Any
    name: str = ""


class EventStream:
    """Takes a body's chunks and gives its events. Raises ValueError for a line that is too long."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False
        self._name = ""
        self._data: list[bytes] = []
        self._stray: list[bytes] = []
        self._stray_bytes = 0
        self._events = 0

    @property
    def stray(self) -> bytes:
        """Return what came and is no event: the body of an answer that is no stream."""
        return b"\n".join(self._stray)

    def feed(self, chunk: bytes) -> Iterator[Event]:
        text = self._rest + chunk
        if not self._started and len(text) >= len(_BOM):
            text, self._started = text.removeprefix(_BOM), True
        # A carriage return at the end may be half of a line end.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        if len(self._rest) > MAX_BYTES:
            raise ValueError(f"a line of more than {MAX_BYTES} bytes")
        for line in lines:
            yield from self._line(line)

    def close(self) -> Iterator[Event]:
        """Return what the end of the body completes."""
        rest, self._rest = self._rest.removesuffix(b"\r"), b""
        if rest:
            yield from self._line(rest)
        yield from self._dispatch()
        if not self._events and self._stray:
            whole, body = _json(self.stray)
            if whole:
                yield from (Event(body), Event(DONE))
            elif self._stray_bytes < MAX_BYTES:
                parsed = [_json(line) for line in self._stray if line.strip()]
                if parsed and all(good and isinstance(value, dict) for good, value in parsed):
                    yield from (Event(value) for _, value in parsed)

    def _line(self, line: bytes) -> Iterator[Event]:
        if not line.strip():
            yield from self._dispatch()
            return
        field, _, value = line.partition(b":")
        name = field.decode("ascii", "replace")
        if name not in ("", *_FIELDS):
            self._keep(line)
        elif name == "event":
            self._name = value.strip().decode("utf-8", "replace")
        elif name == "data":
            self._data.append(value.removeprefix(b" "))
            if len(self._data) == 1:
                yield from self._event(self._data[0])

    def _event(self, data: bytes) -> Iterator[Event]:
        good, value = _json(data)
        if good:
            self._events += 1
            self._data.clear()
            yield Event(value, self._name)

    def _dispatch(self) -> Iterator[Event]:
        data, self._data = self._data, []
        if data:
            good, value = _json(b"\n".join(data))
            found = [(good, value)] if good else [_json(line) for line in data]
            for line, (fine, each) in zip(data, found, strict=False):
                if fine:
                    self._events += 1
                    yield Event(each, self._name)
                else:
                    self._keep(line)
        self._name = ""

    def _keep(self, line: bytes) -> None:
        if self._stray_bytes < MAX_BYTES:
            self._stray.append(line)
            self._stray_bytes += len(line)


def _json(data: bytes) -> tuple[bool, Any]:
    """(whether `data` is JSON or DONE, its value)."""
    text = data.decode("utf-8", "replace").strip()
    if text == DONE:
        return True, DONE
    try:
        return bool(text), json.loads(text) if text else None
    except (ValueError, RecursionError):
        return False, None
