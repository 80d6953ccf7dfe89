"""Two rewards over recorded attempts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.bench.reward_ab import ab, spearman, table
from crucible.config import load_settings
from crucible.errors import InputError
from crucible.rewards import COMPONENTS
from crucible.types import Attempt, Episode, ModelIdentity, Task, Verdict

PACKAGED = load_settings().rewards
TESTS = PACKAGED.model_copy(update={**dict.fromkeys(COMPONENTS, 0.0), "tests": 1.0})
SHORT = PACKAGED.model_copy(update={**dict.fromkeys(COMPONENTS, 0.0), "length": 1.0})


def attempt(index: int, passed: int | None, tokens: int, fingerprint: str = "") -> Attempt:
    verdict = None
    if passed is not None:
        verdict = Verdict(verdict="pass" if passed == 4 else "fail", reason="", passed=passed, total=4)
    return Attempt(
        id=f"1.{index}",
        cycle=1,
        index=index,
        code=f"x = {index}",
        completion="",
        fingerprint=fingerprint or str(index),
        prompt_fingerprint="",
        prompt_tokens=1,
        completion_tokens=tokens,
        seed=0,
        temperature=0.0,
        strategy="auto",
        verdict=verdict,
    )


def episode(*attempts: Attempt) -> Episode:
    return Episode(
        episode_id="e",
        run_id="r",
        task=Task(prompt="p"),
        status="unsolved",
        code="",
        attempts=attempts,
        model=ModelIdentity(name="m", engine="scripted"),
        strategy="auto",
        seed=0,
        config_hash="",
    )


RIGHT_AND_LONG = episode(attempt(0, 4, 2048), attempt(1, 2, 1024), attempt(2, 0, 100), attempt(3, None, 1))
RIGHT_AND_SHORT = episode(attempt(0, 4, 100), attempt(1, 2, 2048))


def test_a_reward_agrees_with_itself() -> None:
    found = ab(PACKAGED, PACKAGED, [RIGHT_AND_LONG, RIGHT_AND_SHORT])
    assert (found.episodes, found.attempts, found.chosen_differently) == (2, 5, 0.0)
    assert found.spearman == pytest.approx(1.0) and found.mean_a == found.mean_b


def test_two_rewards_that_want_opposite_things() -> None:
    found = ab(TESTS, SHORT, [RIGHT_AND_LONG])
    assert found.spearman == pytest.approx(-1.0)
    assert found.chosen_differently == 1.0
    assert found.mean_a["total"] == found.mean_a["tests"] == pytest.approx((1 + 0.25 + 0) / 3)
    assert found.mean_b["total"] == pytest.approx((0.25 + 0.5 + 1) / 3)
    assert "speed" not in found.mean_a  # without a reference it is not known
    assert ab(TESTS, SHORT, [RIGHT_AND_LONG, RIGHT_AND_SHORT]).chosen_differently == 0.5


def test_the_same_program_twice_is_one_choice() -> None:
    twins = episode(attempt(0, 4, 2048, "same"), attempt(1, 4, 100, "same"))
    assert ab(TESTS, SHORT, [twins]).chosen_differently == 0.0


def test_without_verdicts_there_is_nothing_to_compare() -> None:
    for episodes in ([], [episode()], [episode(attempt(0, None, 5))]):
        with pytest.raises(InputError, match="no attempt of these episodes has a verdict"):
            ab(TESTS, SHORT, episodes)


def test_the_table_shows_every_known_component_and_the_agreement() -> None:
    lines = table(ab(TESTS, SHORT, [RIGHT_AND_LONG])).splitlines()
    assert lines[0] == "means over 3 attempts of 1 episodes"
    assert lines[2].split() == ["tests", "0.417", "0.417", "+0.000"]
    assert [line.split()[0] for line in lines[2:9]] == [
        "tests", "syntax", "lint", "style", "security", "length", "total",
    ]  # fmt: skip
    assert lines[-2:] == [
        "rank correlation of the totals (Spearman): -1.000",
        "episodes in which they choose another program: 100.0 %",
    ]
    assert "undefined" in table(ab(TESTS, SHORT, [episode(attempt(0, 4, 5))]))


def test_spearman_known_values() -> None:
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8207826817)
    assert spearman([1, 1], [1, 2]) is None
    assert spearman([1], [1]) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20))
def test_spearman_sees_order_alone(pairs: list[tuple[int, int]]) -> None:
    xs, ys = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    plain = spearman(xs, ys)
    if plain is not None:
        assert -1 - 1e-9 <= plain <= 1 + 1e-9
        assert spearman([x**3 for x in xs], [-y for y in ys]) == pytest.approx(-plain)
