"""The curriculum and the hints: pure, so every property can be asked of any history."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from crucible.config import CurriculumSettings, HintSettings, packaged
from crucible.experience.curriculum import Past, levels, next_round
from crucible.experience.hints import Decided, draw, effect

LEVELS = {f"p{number}": str(1 + number // 10) for number in range(30)}
"""Three levels of ten problems."""
STEADY = packaged(CurriculumSettings, revisit=0.0)


def worked(first: int, last: int, *, success: bool) -> list[Past]:
    return [Past(f"p{number}", success) for number in range(first, last)]


histories = st.lists(st.builds(Past, st.sampled_from(sorted(LEVELS)), st.booleans()), max_size=60)


@given(histories, st.integers(1, 12), st.integers(0, 99), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_round_is_a_function_of_its_arguments_and_repeats_nothing(
    history: list[Past], size: int, seed: int, again: bool
) -> None:
    one = next_round(LEVELS, history, size=size, seed=seed, again=again)
    assert one == next_round(dict(LEVELS), list(history), size=size, seed=seed, again=again)
    chosen = [pick.problem for pick in one.picks]
    solved = {past.problem for past in history if past.success}
    assert len(set(chosen)) == len(chosen) <= size
    assert again or not solved & set(chosen)
    open_ = len(LEVELS) if again else len(LEVELS) - len(solved)
    assert bool(chosen) == bool(open_)
    for pick in one.picks:
        assert levels(LEVELS.values())[pick.level] == LEVELS[pick.problem]
        assert not pick.revisit or pick.level < one.level


@given(histories, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_within_a_level_the_problem_tried_least_comes_first(history: list[Past], seed: int) -> None:
    (pick,) = next_round(LEVELS, history, size=1, seed=seed, settings=STEADY).picks or [None]
    if pick is None:
        return
    tries = Counter(past.problem for past in history)
    failures = Counter(past.problem for past in history if not past.success)
    solved = {past.problem for past in history if past.success}
    rivals = [
        name
        for name, level in LEVELS.items()
        if level == LEVELS[pick.problem] and name not in solved and failures[name] < STEADY.rest_after
    ]
    assert tries[pick.problem] == min(tries[name] for name in rivals or [pick.problem])


def test_levels_are_ordered_by_what_they_mean() -> None:
    assert levels(["10", "2", "1"]) == ("1", "2", "10")
    assert levels(["Hard", "easy", "medium", "easy"]) == ("easy", "medium", "hard")
    assert levels(["", ""]) == ("",)
    assert levels([]) == ()


def at(history: list[Past], **more: object) -> int:
    return next_round(LEVELS, history, size=4, seed=0, settings=STEADY).level


def test_it_begins_at_the_easiest_level_and_climbs_with_success() -> None:
    assert at([]) == 0
    assert at(worked(0, 7, success=True)) == 0, "too few episodes to decide"
    assert at(worked(0, 8, success=True)) == 1
    assert at(worked(0, 8, success=True) + worked(10, 18, success=True)) == 2


def test_it_stays_in_between_and_steps_back_where_little_succeeds() -> None:
    half = worked(0, 4, success=True) + worked(4, 9, success=False)
    assert at(half) == 0
    climbed = worked(0, 8, success=True)
    assert at(climbed + worked(10, 18, success=False)) == 0
    assert at(worked(0, 8, success=False)) == 0, "nothing is easier"


def test_a_level_that_is_all_solved_or_at_rest_is_left() -> None:
    tiny = {"a": "easy", "b": "hard", "c": "hard"}
    assert next_round(tiny, [Past("a", True)], size=1, seed=0).level == 1
    rested = [Past("a", False)] * STEADY.rest_after
    after = next_round(tiny, rested, size=3, seed=0, settings=STEADY)
    assert after.level == 1 and {pick.problem for pick in after.picks} == {"b", "c"}
    everything = [*rested, Past("b", True), Past("c", True)]
    assert [pick.problem for pick in next_round(tiny, everything, size=3, seed=0).picks] == ["a"]


def test_nothing_is_left_once_all_is_solved_unless_again() -> None:
    done = worked(0, 30, success=True)
    assert next_round(LEVELS, done, size=4, seed=0).picks == ()
    assert len(next_round(LEVELS, done, size=4, seed=0, again=True).picks) == 4


def test_easier_levels_are_revisited_now_and_then() -> None:
    climbed = worked(0, 8, success=True)
    picks = [pick for seed in range(100) for pick in next_round(LEVELS, climbed, size=1, seed=seed).picks]
    revisits = [pick for pick in picks if pick.revisit]
    assert 2 <= len(revisits) <= 25 and {pick.problem for pick in revisits} <= {"p8", "p9"}


def test_thresholds_that_contradict_are_refused() -> None:
    with pytest.raises(ValidationError, match="less than climb_at"):
        packaged(CurriculumSettings, climb_at=0.3, back_under=0.5)


# ---------------------------------------------------------------- hints


def test_no_hint_before_a_problem_is_stuck_or_where_there_is_none() -> None:
    sure = packaged(HintSettings, chance=1.0)
    assert not draw("p", 3, failed=2, before=[], seed=0, settings=sure).stuck
    assert not draw("p", 0, failed=9, before=[], seed=0, settings=sure).stuck
    assert draw("p", 3, failed=3, before=[], seed=0, settings=sure) == (True, 0)


def test_the_chance_halves_with_each_decision() -> None:
    for decisions, share in ((0, 0.5), (1, 0.25), (2, 0.125)):
        before = [Decided("p", None, False)] * decisions
        given_ = sum(draw("p", 1, failed=5, before=before, seed=seed).hint is not None for seed in range(2000))
        assert abs(given_ / 2000 - share) < 0.04


def test_the_weakest_hint_comes_first() -> None:
    always = packaged(HintSettings, chance=1.0, backoff=1.0)
    before: list[Decided] = []
    for wanted in (0, 1, 2, 2):
        drawn = draw("p", 3, failed=4, before=before, seed=0, settings=always)
        assert drawn.hint == wanted
        before.append(Decided("p", drawn.hint, False))


def test_the_effect_compares_first_decisions_alone() -> None:
    decisions = [Decided(f"h{n}", 0, n < 30) for n in range(40)] + [Decided(f"u{n}", None, n < 10) for n in range(40)]
    found = effect([*decisions, *(Decided(f"u{n}", 0, True) for n in range(40))])
    assert found.hinted.problems == found.unhinted.problems == 40 and found.given == 80
    assert found.difference == pytest.approx(0.5)
    assert found.ci95 is not None and 0.28 < found.ci95.low < 0.32 and 0.65 < found.ci95.high < 0.68
    assert found.says.startswith("hints help") and "few" not in found.says


def test_few_problems_are_said_to_be_few() -> None:
    assert "few problems (1 and 1)" in effect([Decided("a", 0, True), Decided("b", None, False)]).says
    assert effect([Decided("a", 0, True)]).difference is None
    assert "nothing can be said" in effect([]).says
