"""Values on the pipe between the judge and a sandbox: counted, exactly typed bytes, never pickle.

Runs on both sides; inside the sandbox its source is put in front of the guest's, and every import there costs each verdict,
so it imports nothing until a value needs it. What arrives is a claim by a hostile program: depth, size and number of parts
are capped, only plain values come out, and equality is decided here on exact types, so that no `__eq__` of the other side
ever runs.

A value is a letter and what it holds. N None, T True, F False; i an integer in hex and ";", r a float as written by repr
and ";", c a complex as two of them; s UTF-8 text and b bytes, each after its length and ":"; l list, t tuple, S set,
Z frozenset, g an iterator's items, d a dict's keys and values in turn, each after its count and ":"; n a Decimal, Fraction,
date or time as its type's name and its text; o an opaque object of the other side: its number and ";", its type's name, its repr.
"""

TYPE_CHECKING = False  # as in typing, whose import would cost the sandbox milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_NODES = 200_000
MAX_DEPTH = 100
MAX_FRAME = 8 << 20
MAX_BITS = 200_000
MAX_PAIRS = 20_000
"""Pairs of keys with one hash in a whole value: Python compares all of them to build its sets."""
TIGHT = b"+"
"""The guest's first byte: the sandbox is tightened, the candidate comes next."""


class WireError(Exception):
    """A value that cannot be sent, or bytes that are no value."""


class Items(tuple):  # type: ignore[type-arg]
    """The items of an iterator, generator or view of the other side; equal to no list."""

    __slots__ = ()


class Opaque:
    """An object that stays on the other side. Equal to itself only."""

    __slots__ = ("kind", "ref", "shown")

    def __init__(self, ref: int, kind: str, shown: str) -> None:
        self.ref, self.kind, self.shown = ref, kind, shown

    def __repr__(self) -> str:
        return self.shown


def encode(value: "Any", keep: "Callable[[Any], int] | None" = None, lazy: bool = False) -> bytes:
    """`value` as bytes. keep: called with an object that has no plain form, returns its reference number; lazy: with
    iterators too, whose items are sent otherwise.

    Raises WireError for what is too big, too deep, or has no form."""
    encoder = Encoder(keep, lazy)
    try:
        encoder.add(value, 0)
    except RecursionError as error:
        raise WireError("the value is nested too deeply") from error
    return b"".join(encoder.parts)


class Encoder:
    def __init__(self, keep: "Callable[[Any], int] | None", lazy: bool) -> None:
        self.keep, self.lazy = keep, lazy
        self.parts, self.left, self.room = [b""], MAX_NODES, MAX_FRAME

    def put(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise WireError("the value is too large")
        self.parts.append(data)

    def text(self, letter: bytes, data: bytes) -> None:
        self.put(b"%b%d:" % (letter, len(data)))
        self.put(data)

    def many(self, letter: bytes, values: "Any", count: int, depth: int) -> None:
        self.put(b"%b%d:" % (letter, count))
        for value in values:
            self.add(value, depth + 1)

    def add(self, value: "Any", depth: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise WireError(f"the value has more than {MAX_NODES} parts")
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested deeper than {MAX_DEPTH}")
        if value is None or value is True or value is False:
            self.put(b"N" if value is None else b"T" if value is True else b"F")
        elif isinstance(value, int):
            number = int.__index__(value)
            if number.bit_length() > MAX_BITS:
                raise WireError("the integer is too large")
            self.put(b"i%x;" % number)
        elif isinstance(value, str):
            self.text(b"s", str.encode(value, "utf-8", "surrogatepass"))
        elif isinstance(value, (list, tuple, set, frozenset)):
            items = tuple(value)
            self.many(_letter(value), items, len(items), depth)
        elif isinstance(value, dict):
            pairs = tuple(value.items())
            self.many(b"d", (part for pair in pairs for part in pair), len(pairs), depth)
        elif isinstance(value, float):
            self.put(b"r%b;" % float.__repr__(value).encode())
        elif isinstance(value, (bytes, bytearray)):
            self.text(b"b", bytes(value))
        elif isinstance(value, complex):
            self.put(b"c%b;%b;" % (repr(value.real).encode(), repr(value.imag).encode()))
        elif type(value) is Opaque:
            self.opaque(value.ref, value.kind, value.shown)
        else:
            self.other(value, depth)

    def other(self, value: "Any", depth: int) -> None:
        kind = _written(value)
        if kind is not None:
            try:
                text = f"{value.days} {value.seconds} {value.microseconds}" if kind == "timedelta" else str(value)
            except ValueError as error:  # a fraction of more digits than Python writes
                raise WireError("the number is too large") from error
            self.put(b"n")
            self.text(b"s", kind.encode())
            self.text(b"s", text.encode())
            return
        iterates = isinstance(value, (range, *_VIEWS)) or (self.keep is not None and hasattr(type(value), "__next__"))
        if iterates and not self.lazy:
            items = []
            for item in value:
                items.append(item)
                if len(items) > MAX_NODES:
                    raise WireError(f"the value has more than {MAX_NODES} parts")
            self.many(b"g", items, len(items), depth)
        elif self.keep is None:
            raise WireError(f"a {type(value).__name__} has no plain form")
        else:
            ref = self.keep(value)
            if ref % 2:  # the other side's, which knows it: showing it would mean asking there
                self.opaque(ref, "", "")
            else:
                self.opaque(ref, type(value).__name__[:80], _shown(value))

    def opaque(self, ref: int, kind: str, shown: str) -> None:
        self.put(b"o%x;" % ref)
        self.text(b"s", kind.encode("utf-8", "surrogatepass"))
        self.text(b"s", shown.encode("utf-8", "surrogatepass"))


_VIEWS: "tuple[type, ...]" = (type({}.keys()), type({}.values()), type({}.items()))


def _letter(value: object) -> bytes:
    if isinstance(value, list):
        return b"l"
    if isinstance(value, tuple):
        return b"g" if type(value) is Items else b"t"
    return b"Z" if isinstance(value, frozenset) else b"S"


_WRITTEN = {"Decimal": "decimal", "Fraction": "fractions"} | dict.fromkeys(
    ("datetime", "date", "time", "timedelta"), "datetime"
)


def _written(value: object) -> "str | None":
    """The type's name, where it is one that is sent as its text. Only what somebody has imported can be."""
    import sys

    name = type(value).__name__
    home = sys.modules.get(_WRITTEN.get(name, ""))
    return name if home is not None and type(value) is getattr(home, name) else None


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def decode(data: bytes) -> "Any":
    """The value in `data`; plain types, Items and Opaque only. Raises WireError."""
    if len(data) > MAX_FRAME:
        raise WireError("the value is too large")
    decoder = Decoder(data)
    try:
        value = decoder.value(0)
    except WireError:
        raise
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise WireError(f"not a value: {type(error).__name__}") from error
    if decoder.at != len(data):
        raise WireError("not a value: bytes after its end")
    return value


class Decoder:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.left, self.pairs = data, 0, MAX_NODES, MAX_PAIRS

    def until(self, end: bytes, limit: int) -> bytes:
        stop = self.data.find(end, self.at, self.at + limit)
        if stop < 0:
            raise WireError("not a value: it ends early")
        part = self.data[self.at : stop]
        self.at = stop + 1
        return part

    def count(self) -> int:
        digits = self.until(b":", 12)
        if not digits.isdigit():
            raise WireError("not a value: a length that is no number")
        return int(digits)

    def take(self) -> bytes:
        size = self.count()
        part = self.data[self.at : self.at + size]
        if len(part) != size:
            raise WireError("not a value: it ends early")
        self.at += size
        return part

    def text(self) -> str:
        if self.letter() != b"s":
            raise WireError("not a text")
        return self.take().decode("utf-8", "surrogatepass")

    def letter(self) -> bytes:
        self.at += 1
        return self.data[self.at - 1 : self.at]

    def integer(self) -> int:
        number = int(self.until(b";", MAX_BITS // 4 + 8), 16)
        if number.bit_length() > MAX_BITS:
            raise WireError("the integer is too large")
        return number

    def real(self) -> float:
        return float(self.until(b";", 40))

    def many(self, depth: int, each: int = 1) -> "list[Any]":
        count = self.count() * each
        if count > self.left:
            raise WireError(f"the value has more than {MAX_NODES} parts")
        return [self.value(depth + 1) for _ in range(count)]

    def spread(self, keys: "list[Any]") -> "list[Any]":
        """The keys, unless too many share one hash: a set of those takes time with the square of their number."""
        counts: dict[int, int] = {}
        for code in map(hash, keys):
            self.pairs -= counts.get(code, 0)
            counts[code] = counts.get(code, 0) + 1
        if self.pairs < 0:
            raise WireError("the keys collide")
        return keys

    def value(self, depth: int) -> "Any":
        self.left -= 1
        if depth > MAX_DEPTH:
            raise WireError("nested too deeply")
        letter = self.letter()
        if letter == b"i":
            return self.integer()
        if letter == b"s":
            return self.take().decode("utf-8", "surrogatepass")
        if letter in _MANY:
            values = self.many(depth)
            return _MANY[letter](self.spread(values) if letter in b"SZ" else values)
        if letter in _CONSTANTS:
            return _CONSTANTS[letter]
        if letter == b"d":
            parts = self.many(depth, 2)
            return dict(zip(self.spread(parts[::2]), parts[1::2]))
        if letter == b"r":
            return self.real()
        if letter == b"b":
            return self.take()
        if letter == b"c":
            return complex(self.real(), self.real())
        if letter == b"n":
            return _number(self.text(), self.text()[:10_000])
        if letter == b"o":
            return Opaque(self.integer(), self.text()[:80], self.text()[:200])
        raise WireError("not a value: unknown letter")


_MANY: "dict[bytes, Callable[[list[Any]], Any]]" = {b"l": list, b"t": tuple, b"g": Items, b"S": set, b"Z": frozenset}
_CONSTANTS: "dict[bytes, bool | None]" = {b"N": None, b"T": True, b"F": False}


def _number(kind: str, text: str) -> "Any":
    if kind == "Decimal":
        from decimal import Decimal

        return Decimal(text)
    if kind == "Fraction" and "e" not in text.lower():  # an exponent is never written, and could mean any size
        from fractions import Fraction

        fraction = Fraction(text)
        if str(fraction) != text:  # as it is never written: sent on, it would be longer, or too long
            raise WireError("a fraction in another form")
        return fraction
    if _WRITTEN.get(kind) == "datetime":
        import datetime

        if kind == "timedelta":
            days, seconds, micros = text.split()
            return datetime.timedelta(int(days), int(seconds), int(micros))
        return getattr(datetime, kind).fromisoformat(text)
    raise WireError("not a number")


def same(one: "Any", other: "Any", loose: bool = False, tolerance: "float | None" = None) -> bool:
    """Equal in type and value. bool is no number; int and float compare by value; NaN equals NaN.

    loose: lists and tuples are one kind (for expected values that came from JSON). tolerance: relative and absolute error
    that makes two numbers equal where at least one is a float."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or (one != one and other != other) or _close(one, other, tolerance)
    if isinstance(one, Opaque) or isinstance(other, Opaque):
        return isinstance(one, Opaque) and isinstance(other, Opaque) and one.ref == other.ref
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if type(one) is not type(other) and not (
            loose and type(one) in (list, tuple, Items) and type(other) in (list, tuple)
        ):
            return False
        return len(one) == len(other) and all(same(a, b, loose, tolerance) for a, b in zip(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        stored = {key: key for key in other}
        return len(one) == len(other) and all(
            key in other and same(key, stored[key]) and same(item, other[key], loose, tolerance)
            for key, item in one.items()
        )
    if isinstance(one, (set, frozenset)) and isinstance(other, (set, frozenset)):
        members = {member: member for member in other}
        return len(one) == len(other) and all(member in members and same(member, members[member]) for member in one)
    return type(one) is type(other) and one == other


def _close(one: float, other: float, tolerance: "float | None") -> bool:
    if tolerance is None or not (isinstance(one, float) or isinstance(other, float)):
        return False
    import math

    try:
        return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:  # an integer beyond every float
        return False
