"""The wire: what goes in comes out with its type, and no bytes do harm."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.security.sandbox.wire import MAX_DEPTH, Items, Opaque, WireError, decode, encode, same

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.fractions()
)
HASHABLE = st.recursive(SCALARS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4) | st.sets(HASHABLE, max_size=4) | st.dictionaries(HASHABLE, inner, max_size=4)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_values_come_back_the_same(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(st.integers(min_value=-(1 << 5000), max_value=1 << 5000))
def test_big_integers_come_back(value: int) -> None:
    assert decode(encode(value)) == value


@given(st.binary(max_size=200) | st.text(alphabet='[]"ltsfgdixbcno0123,:{}', max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        decode(data)
    except WireError as error:
        assert str(error)


@pytest.mark.parametrize("value", [math.inf, -math.inf, Decimal("1.5"), Fraction(1, 3), range(3)])
def test_numbers_of_every_kind(value: object) -> None:
    back = decode(encode(value))
    assert back == value or isinstance(back, Items)


def test_nan_equals_nan_here_only() -> None:
    assert same(decode(encode(math.nan)), math.nan)


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, 1 << 10**7, [0] * 10**6], ids=["object", "function", "digits", "items"]
)
def test_what_has_no_form_or_is_too_big_is_refused(value: object) -> None:
    with pytest.raises(WireError):
        encode(value)


def test_depth_is_bounded_both_ways() -> None:
    deep: list[object] = []
    for _ in range(MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(WireError, match="nested"):
        encode(deep)
    with pytest.raises(WireError):
        decode(b'["l",' * 500 + b"1" + b"]" * 500)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (True, 1),
        (1, True),
        ([1], (1,)),
        ("1", 1),
        (b"1", "1"),
        ({1}, {True}),
        (None, False),
        ([1, 2], [1]),
        ({1: 2}, {1: 3}),
    ],
)
def test_unlike_values_differ(one: object, other: object) -> None:
    assert not same(one, other)


def test_loose_makes_lists_and_tuples_one_kind() -> None:
    assert same((1, [2]), [1, (2,)], True) and not same((1,), [2], True)


def test_an_opaque_object_equals_itself_only() -> None:
    assert same(Opaque(1, "A", "a"), Opaque(1, "A", "b")) and not same(Opaque(1, "A", "a"), Opaque(2, "A", "a"))
    assert not same(Opaque(1, "A", "a"), 1)
