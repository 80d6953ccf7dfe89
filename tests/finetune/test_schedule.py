"""When a proposal is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crucible.errors import InputError
from crucible.finetune.data.schedule import When

NOW = datetime(2026, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("50", When(episodes=50)),
        ("7d", When(after=7 * DAY)),
        ("50, 12h", When(episodes=50, after=DAY / 2)),
        ("2w,1", When(episodes=1, after=14 * DAY)),
    ],
)
def test_what_is_understood(text: str, meant: When) -> None:
    assert When.parse(text) == meant


@pytest.mark.parametrize("text", ["", "0", "soon", "5m", "1,2", "7d,1h", "-3", "1.5d", "9999999", "٣"])
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(InputError, match="is not understood; say for instance"):
        When.parse(text)


def test_it_is_due_as_soon_as_one_is_reached() -> None:
    both = When(episodes=50, after=7 * DAY)
    assert not both.not_yet(50, NOW, NOW)
    assert not both.not_yet(1, NOW - 7 * DAY, NOW)
    assert not both.not_yet(1, None, NOW)
    said = both.not_yet(12, NOW - 3 * DAY, NOW)
    assert said == "12 of 50 new verified episodes, and the last proposal was made 3 days ago, not 7 days"


def test_without_anything_new_it_is_never_due() -> None:
    assert When(after=DAY).not_yet(0, NOW - 9 * DAY, NOW) == "there is no new verified episode"
    assert When(episodes=3).not_yet(2, None, NOW) == "2 of 3 new verified episodes"
