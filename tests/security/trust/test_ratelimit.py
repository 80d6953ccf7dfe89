"""The token bucket, on a clock of the test's own."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import RateLimitedError, RefusedError
from crucible.security.trust.ratelimit import TokenBucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_begin_at_once_and_no_more() -> None:
    bucket = TokenBucket(3, clock=Clock())
    assert [bucket.wait_s() for _ in range(4)] == [0.0, 0.0, 0.0, pytest.approx(20.0)]


def test_the_error_says_when_to_try_again_and_then_it_works() -> None:
    clock = Clock()
    bucket = TokenBucket(2, capacity=1, clock=clock)
    bucket.take("the setting")
    with pytest.raises(RateLimitedError, match=r"the setting allows 2 a minute; try again in 30\.0 s") as caught:
        bucket.take("the setting")
    assert isinstance(caught.value, RefusedError) and caught.value.exit_code == 3
    clock.now += caught.value.retry_after_s
    bucket.take("the setting")


def test_being_refused_costs_nothing() -> None:
    clock = Clock()
    bucket = TokenBucket(1, clock=clock)
    bucket.wait_s()
    for _ in range(100):
        assert bucket.wait_s() > 0
    clock.now += 60
    assert bucket.wait_s() == 0.0


@given(rate=st.floats(0.1, 1000), steps=st.lists(st.floats(0, 100), max_size=50))
def test_never_more_than_the_rate_allows(rate: float, steps: list[float]) -> None:
    clock = Clock()
    bucket = TokenBucket(rate, clock=clock)
    begun = 0
    for step in steps:
        clock.now += step
        begun += bucket.wait_s() == 0.0
        assert begun <= max(1.0, rate) + clock.now * rate / 60 + 1e-6


def test_threads_share_one_bucket() -> None:
    bucket = TokenBucket(50, clock=Clock())
    got: list[bool] = []
    threads = [threading.Thread(target=lambda: got.extend(bucket.wait_s() == 0.0 for _ in range(20))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 50
