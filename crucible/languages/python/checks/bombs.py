"""Constants that would grow to enormous values (`"a" * 10**9`, `2 ** 10**8`), measured without making any of them."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

MAX_NUMBER = 1 << 14
"""Bytes of an integer. The time of arithmetic grows faster than its size."""
MAX_SEQUENCE = 256 << 20
"""Bytes of a text, list or tuple."""
EXACT = 512
"""Bytes up to which an integer is worked out; beyond, only its size is."""
ENDLESS = float("inf")
COUNTED = 1 << 64
"""Bytes beyond which nobody wants to know how many."""

_ARITHMETIC: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_PADDING = frozenset(["ljust", "rjust", "center", "zfill"])
_WIDTH = re.compile(r"%[-+ #0]*\d{9,}[a-zA-Z]")


class Size(NamedTuple):
    """Bytes of a value; for an integer small enough, the integer itself."""

    bytes: float
    number: int | None = None
    integer: bool = True


def huge(nodes: Sequence[ast.AST]) -> Iterator[tuple[ast.expr, float]]:
    """The innermost expressions that are too large, with their bytes. nodes: parents before their children."""
    sizes: dict[ast.AST, Size] = {}
    for node in reversed(nodes):
        try:
            size = _size(node, sizes)
        except OverflowError:
            size = Size(ENDLESS)
        except (ValueError, ZeroDivisionError):
            size = None
        if size is None or not isinstance(node, ast.expr):
            continue
        if size.bytes > (MAX_NUMBER if size.integer else MAX_SEQUENCE):
            yield node, size.bytes if size.bytes < COUNTED else ENDLESS
        else:
            sizes[node] = size


def _size(node: ast.AST, sizes: dict[ast.AST, Size]) -> Size | None:
    if isinstance(node, ast.Constant):
        if type(node.value) is int:
            return _number(node.value)
        if isinstance(node.value, str) and _WIDTH.search(node.value):
            return Size(ENDLESS, integer=False)
        return Size(len(node.value), integer=False) if isinstance(node.value, str | bytes) else None
    if isinstance(node, ast.List | ast.Tuple):
        return Size(8 * len(node.elts), integer=False)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
        inner = sizes.get(node.operand)
        negative = inner is not None and inner.number is not None and not isinstance(node.op, ast.UAdd)
        return Size(inner.bytes, -inner.number) if negative and inner and inner.number is not None else inner
    if isinstance(node, ast.BinOp) and node.left in sizes and node.right in sizes:
        return _combined(sizes[node.left], node.op, sizes[node.right])
    if isinstance(node, ast.Call) and node.args and node.args[0] in sizes:
        return _called(node, sizes)
    if isinstance(node, ast.FormattedValue) and isinstance(node.format_spec, ast.JoinedStr):
        spec = "".join(str(part.value) for part in node.format_spec.values if isinstance(part, ast.Constant))
        return Size(ENDLESS, integer=False) if re.search(r"\d{9,}", spec) else None
    return None


def _number(value: int) -> Size:
    size = (value.bit_length() + 7) // 8
    return Size(size, value if size <= EXACT else None)


def _combined(left: Size, joint: ast.operator, right: Size) -> Size | None:
    if not (left.integer and right.integer):
        return _sequence(left, joint, right)
    if isinstance(joint, ast.Pow | ast.LShift):
        return _raised(left, right, shift=isinstance(joint, ast.LShift))
    if left.number is None or right.number is None:
        return Size(left.bytes + right.bytes if isinstance(joint, ast.Mult) else max(left.bytes, right.bytes))
    work_out = _ARITHMETIC.get(type(joint))
    return _number(work_out(left.number, right.number)) if work_out is not None else None


def _raised(base: Size, exponent: Size, *, shift: bool) -> Size | None:
    """The size of `base ** exponent` or `base << exponent`."""
    if exponent.number is not None and exponent.number < 0:
        return None
    if base.number in ((0,) if shift else (0, 1, -1)):
        return Size(1, base.number if shift or base.number != -1 else None)
    if exponent.number is None:
        return Size(ENDLESS)
    bits = base.number.bit_length() if base.number is not None else base.bytes * 8
    size = (bits + exponent.number if shift else bits * exponent.number) / 8
    if base.number is None or size > EXACT:
        return Size(size)
    return _number(base.number << exponent.number if shift else base.number**exponent.number)


def _sequence(left: Size, joint: ast.operator, right: Size) -> Size | None:
    if isinstance(joint, ast.Add) and not left.integer and not right.integer:
        return Size(left.bytes + right.bytes, integer=False)
    if not isinstance(joint, ast.Mult) or left.integer == right.integer:
        return None
    items, times = (right, left) if left.integer else (left, right)
    if times.number is None:
        return Size(ENDLESS if items.bytes else 0, integer=False)
    return Size(items.bytes * max(times.number, 0), integer=False)


def _called(node: ast.Call, sizes: dict[ast.AST, Size]) -> Size | None:
    first = sizes[node.args[0]]
    if isinstance(node.func, ast.Name) and node.func.id == "pow" and len(node.args) == 2:
        second = sizes.get(node.args[1])
        return _raised(first, second, shift=False) if second and first.integer and second.integer else None
    fills = isinstance(node.func, ast.Name) and node.func.id in ("bytes", "bytearray")
    fills = fills or (isinstance(node.func, ast.Attribute) and node.func.attr in _PADDING)
    if fills and first.integer:
        return Size(ENDLESS if first.number is None else max(first.number, 0), integer=False)
    return None
