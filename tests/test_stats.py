"""The statistics against their definitions."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.stats import bootstrap, mcnemar, pass_at_k, sign_test, wilson


@given(st.data())
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_sample(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(combinations([index < c for index in range(n)], k))
    assert math.isclose(pass_at_k(n, c, k), sum(map(any, draws)) / len(draws), abs_tol=1e-12)


def test_pass_at_k_is_stable_where_binomials_are_huge() -> None:
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)
    assert pass_at_k(200, 0, 100) == 0.0


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4), (0, 0, 1)])
def test_pass_at_k_of_nothing_there_is(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"no pass@{k}"):
        pass_at_k(n, c, k)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sum_of_what_is_as_unlikely(b: int, c: int) -> None:
    n = b + c
    chances = [math.comb(n, i) / 2**n for i in range(n + 1)]
    direct = math.fsum(chance for i, chance in enumerate(chances) if abs(2 * i - n) >= abs(b - c))
    assert mcnemar(b, c) == pytest.approx(direct) == pytest.approx(mcnemar(c, b))


def test_mcnemar_known_values() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == 0.0625
    assert mcnemar(1, 9) == pytest.approx(0.021484375)
    assert 0 < mcnemar(900, 1100) < 1e-4


@given(st.integers(0, 500), st.floats(0, 1))
def test_wilson_is_within_bounds_and_holds_the_share(total: int, share: float) -> None:
    successes = min(share * total, total)
    low, high = wilson(successes, total)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= successes / total <= high


@given(st.integers(1, 200), st.data())
def test_wilson_ends_are_where_the_score_test_turns(total: int, data: st.DataObject) -> None:
    share = data.draw(st.integers(0, total)) / total
    for end in wilson(share * total, total):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / total), abs=1e-9)


def test_wilson_known_values() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="11 successes of 10"):
        wilson(11, 10)


def test_the_sign_test_drops_ties() -> None:
    assert sign_test([0.5, 1, 0.1, 1, 1, 0, 0, 0]) == sign_test([1] * 5) == 0.0625
    assert sign_test([]) == sign_test([0, 0]) == 1.0
    assert sign_test([1, -1]) == 1.0


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 5))
def test_the_bootstrap_stays_among_the_values_and_is_reproducible(values: list[float], seed: int) -> None:
    low, high = bootstrap(values, seed, 50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert bootstrap(values, seed, 50) == (low, high)


def test_the_bootstrap_comes_near_the_normal_interval() -> None:
    values = [0.0, 1.0] * 100
    half = 1.96 * 0.5 / math.sqrt(200)
    assert bootstrap(values) == pytest.approx((0.5 - half, 0.5 + half), abs=0.01)
    with pytest.raises(ValueError, match="nothing to draw from"):
        bootstrap([])
