"""Values on the pipe between the judge and a sandbox: JSON with exact type tags, never pickle.

Runs on both sides; inside the sandbox its source is put in front of the guest's, so it imports the standard library only.
What arrives is a claim by a hostile program: depth and size are capped, only plain values come out, and equality is
decided here on exact types, so that no `__eq__` of the other side ever runs.

Plain JSON: None, bool, int, float, str. Tagged lists: l list, t tuple, s set, f frozenset, d dict, b bytes, i a big int,
x a non-finite float, c complex, n Decimal or Fraction, g an iterator's items, o an opaque object of the other side.
"""

import json
import math
from decimal import Decimal
from fractions import Fraction

TYPE_CHECKING = False  # as in typing, whose import would cost the sandbox milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_NODES = 200_000
MAX_DEPTH = 100
MAX_FRAME = 8 << 20
BIG = 1 << 60


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


def encode(value: "Any", keep: "Callable[[Any], int] | None" = None) -> bytes:
    """`value` as bytes. keep: called with an object that has no plain form, returns its reference number.

    Raises WireError for what is too big, too deep, or has no form."""
    budget = [MAX_NODES]
    try:
        data = json.dumps(
            _pack(value, keep, budget, 0), ensure_ascii=True, allow_nan=False, check_circular=False
        ).encode()
    except (RecursionError, ValueError, TypeError) as error:
        raise WireError(f"a value that cannot be sent: {error}") from error
    if len(data) > MAX_FRAME:
        raise WireError("the value is too large")
    return data


def decode(data: bytes) -> "Any":
    """The value in `data`; plain types, Items and Opaque only. Raises WireError."""
    if len(data) > MAX_FRAME:
        raise WireError("the value is too large")
    try:
        return _unpack(json.loads(data), 0)
    except (
        ValueError,
        RecursionError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
        ZeroDivisionError,
        ArithmeticError,
    ) as error:
        raise WireError(f"not a value: {type(error).__name__}") from error


def _pack(value: "Any", keep: "Callable[[Any], int] | None", budget: list[int], depth: int) -> "Any":
    budget[0] -= 1
    if budget[0] < 0:
        raise WireError(f"the value has more than {MAX_NODES} parts")
    if depth > MAX_DEPTH:
        raise WireError(f"the value is nested deeper than {MAX_DEPTH}")
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        budget[0] -= len(value) // 64
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__index__(value)
        if -BIG < number < BIG:
            return number
        if number.bit_length() > MAX_NODES:
            raise WireError("the integer is too large")
        return ["i", hex(number)]
    if isinstance(value, float):
        real = float.__float__(value)
        return real if math.isfinite(real) else ["x", repr(real)]
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = (
            "l"
            if isinstance(value, list)
            else "f"
            if isinstance(value, frozenset)
            else "s"
            if isinstance(value, set)
            else "t"
        )
        if type(value) is Items:
            kind = "g"
        return [kind, *(_pack(item, keep, budget, depth + 1) for item in tuple(value))]
    if isinstance(value, dict):
        pairs = tuple(value.items())
        return [
            "d",
            *([_pack(key, keep, budget, depth + 1), _pack(item, keep, budget, depth + 1)] for key, item in pairs),
        ]
    if isinstance(value, (bytes, bytearray)):
        budget[0] -= len(value) // 64
        return ["b", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", repr(value.real), repr(value.imag)]
    if isinstance(value, (Decimal, Fraction)):
        return ["n", type(value).__name__, str(value)]
    if isinstance(value, range) or (hasattr(type(value), "__next__") and keep is not None) or _is_view(value):
        items = []
        for item in value:
            items.append(_pack(item, keep, budget, depth + 1))
        return ["g", *items]
    if type(value) is Opaque:
        return ["o", value.ref, value.kind, value.shown]
    if keep is None:
        raise WireError(f"a {type(value).__name__} has no plain form")
    return ["o", keep(value), type(value).__name__[:80], _shown(value)]


def _is_view(value: object) -> bool:
    return isinstance(value, (type({}.keys()), type({}.values()), type({}.items())))


def _shown(value: object) -> str:
    try:
        return repr(value)[:200]
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _unpack(data: "Any", depth: int) -> "Any":
    if depth > MAX_DEPTH + 1:
        raise WireError("nested too deeply")
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise WireError("not a value: an untagged object")
        return data
    tag, rest = data[0], data[1:]
    if tag in ("l", "t", "s", "f", "g"):
        items = [_unpack(item, depth + 1) for item in rest]
        return {"l": list, "t": tuple, "s": set, "f": frozenset, "g": Items}[tag](items)
    if tag == "d":
        return {_unpack(key, depth + 1): _unpack(item, depth + 1) for key, item in rest}
    if tag == "i":
        return int(_text(rest[0]), 16)
    if tag == "x":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[rest[0]]
    if tag == "b":
        return bytes.fromhex(_text(rest[0]))
    if tag == "c":
        return complex(float(rest[0]), float(rest[1]))
    if tag == "n":
        return {"Decimal": Decimal, "Fraction": Fraction}[rest[0]](_text(rest[1])[:10_000])
    if tag == "o":
        if type(rest[0]) is not int:
            raise WireError("not a reference")
        return Opaque(rest[0], _text(rest[1])[:80], _text(rest[2])[:200])
    raise WireError("not a value: unknown tag")


def _text(value: object) -> str:
    if type(value) is not str:
        raise WireError("not a text")
    return value


def same(one: "Any", other: "Any", loose: bool = False) -> bool:
    """Equal in type and value. bool is no number; int and float compare by value; NaN equals NaN.

    loose: lists and tuples are one kind (for expected values that came from JSON)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or (one != one and other != other)
    if isinstance(one, Opaque) or isinstance(other, Opaque):
        return isinstance(one, Opaque) and isinstance(other, Opaque) and one.ref == other.ref
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if type(one) is not type(other) and not (
            loose and type(one) in (list, tuple, Items) and type(other) in (list, tuple)
        ):
            return False
        return len(one) == len(other) and all(same(a, b, loose) for a, b in zip(one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return len(one) == len(other) and all(
            key in other and same(item, other[key], loose) for key, item in one.items()
        )
    if isinstance(one, (set, frozenset)) and isinstance(other, (set, frozenset)):
        return one == other and sorted(map(_type_name, one)) == sorted(map(_type_name, other))
    return type(one) is type(other) and one == other


def _type_name(value: object) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__
