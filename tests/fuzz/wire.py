"""The wire: any bytes are a value or a WireError, and values come back.
Inputs that begin with "+" are what a session's sandbox says, after a byte for the length of the pieces it says it in."""

from __future__ import annotations

import datetime
import os
import time
from decimal import Decimal
from fractions import Fraction
from typing import cast

from crucible.security.sandbox.session import Launcher, Session, Start
from crucible.security.sandbox.wire import MAX_FRAME, TIGHT, Items, Opaque, WireError, decode, encode
from tests.fuzz.target import Target, timed


def read(data: bytes) -> None:
    if data[:1] == TIGHT:
        framed(data[2:], 16 + sum(data[1:2]))
    else:
        round_trip(data)


# ------------------------------------------------------------- values


def round_trip(data: bytes) -> None:
    """What decodes can be sent on, and arrives the same."""
    try:
        with timed():
            value = decode(data)
    except WireError as error:
        assert str(error)
        return
    try:
        written = encode(value)
    except WireError as error:
        assert "too large" in str(error)
        return
    assert form(decode(written)) == form(value)


def form(value: object) -> object:
    """Type and content, comparable where the value is not: NaN, sets of such, numbers of any length."""
    kind = type(value).__name__
    if isinstance(value, list | tuple):
        return kind, [form(item) for item in value]
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(form(item)) for item in value)
    if isinstance(value, dict):
        return kind, [(form(key), form(item)) for key, item in value.items()]
    if isinstance(value, Opaque):
        return kind, hex(value.ref), value.kind, value.shown
    if isinstance(value, Fraction):
        return kind, hex(value.numerator), hex(value.denominator)
    return kind, hex(value) if isinstance(value, int) else repr(value)


# ------------------------------------------------------------- frames


class Pipe:
    """In a launcher's place: a sandbox that says what it is told to."""

    def start(self, start: Start, fds: list[int]) -> None:
        self.fd = os.dup(fds[2])

    def say(self, data: bytes) -> None:
        os.write(self.fd, data)

    def end(self) -> None:
        os.close(self.fd)


def framed(replies: bytes, step: int) -> None:
    """A session reads the same out of a stream in whatever pieces it arrives."""
    stream = TIGHT + replies  # the guest's word, before a candidate can say any
    pipe = Pipe()
    said: list[object] = []
    with Session(cast(Launcher, pipe), Start([], {}, "")) as session:
        for at in range(0, len(stream), step):
            pipe.say(stream[at : at + step])
            session.pending()
            hear(session, said)
        pipe.end()
        session.pending()
        hear(session, said)
    assert said == frames(replies)


def hear(session: Session, said: list[object]) -> None:
    """All that has arrived; nothing after an error, as nobody asks any more then."""
    while not said or isinstance(said[-1], tuple):
        try:
            said.append(form(session.receive(time.monotonic() - 1)))
        except WireError:
            said.append("no value")
        except (TimeoutError, EOFError):
            return


def frames(data: bytes) -> list[object]:
    said: list[object] = []
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "big")
        try:
            if size <= MAX_FRAME and len(data) < 4 + size:
                break
            said.append(form(decode(data[4 : 4 + size])) if size <= MAX_FRAME else "no value")
        except WireError:
            said.append("no value")
        if said[-1] == "no value":
            break
        data = data[4 + size :]
    return said


VALUES: list[object] = [
    None,
    [1, -5, 1 << 80, True, False],
    ("text", "\ud800é", b"bytes\0", 1.5, float("inf"), float("nan"), 2 - 3j),
    {"a": [1], (1, 2): {3}, frozenset([4]): {}},
    Items([1, Items()]),
    [Decimal("1.50"), Decimal("sNaN"), Fraction(-1, 3)],
    [datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4), datetime.timedelta(-1, 2, 3)],
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
    Opaque(7, "Node", "<Node>"),
    {"case": 0, "ok": True, "message": "", "expected": None, "actual": "1"},
]
WRITTEN = [encode(value) for value in VALUES]
FRAMED = [len(data).to_bytes(4, "big") + data for data in WRITTEN]
LONG = b"ns8:Fractions4302:1." + b"1" * 4300
"""Its numerator has more digits than Python writes: it was read, and ended the judge when it was sent on."""
COLLIDING = b"S300:" + b"".join(b"i%x;" % (number * ((1 << 61) - 1)) for number in range(300))
"""Keys of one hash: a frame full of such sets took a minute."""
NAMES = ("Decimal", "Fraction", "datetime", "date", "time", "timedelta")
TARGET = Target(
    read,
    seeds=[*WRITTEN, *(b"+0" + b"".join(FRAMED[:count]) for count in (1, 3, 10)), LONG, COLLIDING],
    words=[
        *(b"ns%d:%bs" % (len(name), name.encode()) for name in NAMES),
        *(b"%c%d:" % (letter, count) for letter in b"sbltSZgd" for count in (0, 1, 2)),
        *(b"i0;", b"i-1;", b"i-2;", b"i1fffffffffffffff;", b"rnan;", b"rinf;", b"r-0.0;", b"r1e999;", b"N", b"T", b"F"),
        *(b"s3:NaN", b"s5:1E+99", b"s3:1/3", b"s4:1_00", b"o0;s0:s0:", b"2024-01-01", b"+00:00:00.5", b"1 2 3"),
        *(b"l999999999:", b"s99999999999:", b"\0\0\0\0", b"\0\0\0\1N", b"\xff\xff\xff\xff", b"\xed\xa0\x80"),
    ],
    max_len=8192,
)
