"""What is left of a count is said by the pace of this call, and nothing is said where there is none."""

from __future__ import annotations

import pytest

from crucible.cli.output import Left, clock


def test_what_was_done_before_this_call_is_no_pace() -> None:
    left = Left()
    assert left(50, 100, 1.0) == ""
    assert left(60, 100, 601.0) == "40 min left"
    assert left(100, 100, 3000.0) == ""


def test_from_the_beginning() -> None:
    left = Left()
    assert left(0, 4, 0.0) == "" and left(0, 4, 30.0) == ""
    assert left(1, 4, 60.0) == "3 min left"


@pytest.mark.parametrize(("seconds", "said"), [(3, "under a minute"), (90, "2 min"), (3720, "1 h 02 min")])
def test_a_duration_in_words(seconds: float, said: str) -> None:
    assert clock(seconds) == said
