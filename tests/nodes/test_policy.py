"""The loop's decisions: when it stops, what it tries next, and that its budgets bind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.config import CyclesSettings, load_settings
from crucible.nodes.policy import MIN_SAMPLE_TOKENS, batch, best_attempt, next_decision, temperatures, why_stop
from crucible.types import Approval, Attempt, CaseResult, Diagnosis, Feedback, FindingKind, State, Task, Tokens, Verdict


def cycles(**changes: object) -> CyclesSettings:
    return load_settings().cycles.model_copy(update=changes)


def verdict(passed: int, total: int) -> Verdict:
    return Verdict(verdict="pass" if 0 < passed == total else "fail", reason="", passed=passed, total=total)


def attempt(name: str, passed: int = 0, total: int = 3, **changes: object) -> Attempt:
    base = Attempt(
        id=name,
        cycle=1,
        index=0,
        code="x = 1\n",
        completion="",
        fingerprint=name,
        prompt_fingerprint="",
        prompt_tokens=1,
        completion_tokens=1,
        seed=0,
        temperature=0.0,
        strategy="sample",
        verdict=verdict(passed, total),
    )
    return base.model_copy(update=changes)


def state(*attempts: Attempt, **changes: object) -> State:
    base: State = {"task": Task(prompt="p"), "strategy": "auto", "cycle": 1, "attempts": list(attempts)}
    return {**base, **changes}  # type: ignore[typeddict-item]


def test_the_best_attempt_passes_most_tests_and_the_earliest_wins_a_tie() -> None:
    best = best_attempt([attempt("a", 1), attempt("b", 2), attempt("c", 2)])
    assert best is not None and best.id == "b"


def answered(name: str, *actual: str, **changes: object) -> Attempt:
    cases = tuple(CaseResult(status="wrong", call="f()", actual=each) for each in actual)
    return attempt(name, verdict=verdict(0, len(cases)).model_copy(update={"cases": cases}), **changes)


def test_of_equally_good_attempts_the_one_that_most_agree_with_is_best() -> None:
    attempts = [answered("a", "1"), answered("b", "2"), answered("c", "2"), answered("d", "3", "4")]
    found = best_attempt(attempts)
    assert found is not None and found.id == "b"


def test_passing_counts_more_than_agreement() -> None:
    found = best_attempt([answered("a", "1"), answered("b", "1"), attempt("c", 1)])
    assert found is not None and found.id == "c"


def test_the_program_written_most_often_wins_among_equals() -> None:
    solved = [attempt(name, 3, fingerprint=mark) for name, mark in (("a", "x"), ("b", "y"), ("c", "y"))]
    found = best_attempt(solved)
    assert found is not None and found.id == "b"


@given(
    st.lists(st.tuples(st.integers(1, 500), st.sampled_from(("stop", "length"))), max_size=6),
    st.integers(1, 4000),
    st.integers(1, 16),
)
def test_a_batch_spends_what_is_left_at_most_and_leaves_room_for_an_answer(
    drawn: list[tuple[int, str]], left: int, samples: int
) -> None:
    before = [attempt(str(n), completion_tokens=tokens, finish_reason=why) for n, (tokens, why) in enumerate(drawn)]
    count, each = batch(before, left, samples)
    assert 1 <= count <= samples and each >= 1
    assert count * each <= left
    whole = [tokens for tokens, why in drawn if why == "stop"]
    if count > 1:
        assert each >= max(MIN_SAMPLE_TOKENS, max(whole, default=0) * 3 // 2)


def test_no_attempts_have_no_best() -> None:
    assert best_attempt([]) is None


@pytest.mark.parametrize(
    ("given_state", "reason"),
    [
        (state(attempt("a", 3)), "solved"),
        (state(attempt("a", 0, 0)), "no tests to check against"),
        (state(attempt("a"), strategy="direct"), "one direct sample"),
        (state(attempt("a"), cycle=2), "budget: 2 cycles used"),
        (state(attempt("a"), tokens=Tokens(completion=990)), "budget: 1000 generated tokens used"),
        (state(approval=Approval(granted=False, mode="never", reason="policy")), "refused: policy"),
        (state(attempt("a")), None),
    ],
)
def test_why_the_loop_stops(given_state: State, reason: str | None) -> None:
    assert why_stop(given_state, cycles(max_cycles=2, max_total_tokens=1000), 0.0) == reason


def test_wall_time_binds() -> None:
    assert why_stop(state(attempt("a")), cycles(max_wall_s=5.0), 5.0) == "budget: 5 s used"


def test_auto_repairs_a_near_miss_and_resamples_a_total_failure() -> None:
    assert next_decision(state(attempt("a", 2)), cycles())[0] == "repair"
    assert next_decision(state(attempt("a", 0)), cycles())[0] == "resample"


def test_auto_repairs_a_crash() -> None:
    crash = Feedback(kind=FindingKind.RUNTIME, severity="error", message="NameError")
    assert next_decision(state(attempt("a", findings=(crash,))), cycles())[0] == "repair"


def test_an_attempt_is_repaired_once() -> None:
    again = state(attempt("a", 2), diagnoses=[Diagnosis(attempt_id="a", cause="", fix="")])
    assert next_decision(again, cycles()) == ("resample", None)


def test_repairs_are_bounded() -> None:
    done = [Diagnosis(attempt_id=name, cause="", fix="") for name in "xyz"]
    assert next_decision(state(attempt("a", 2), diagnoses=done), cycles(max_reflect=3))[0] == "resample"


def test_resample_never_repairs_and_repair_always_does() -> None:
    assert next_decision(state(attempt("a", 2), strategy="resample"), cycles())[0] == "resample"
    assert next_decision(state(attempt("a", 0), strategy="repair"), cycles())[0] == "repair"


@given(st.lists(st.sampled_from([0.0, 0.5, 0.8, 1.0]), min_size=1, max_size=6), st.integers(1, 20), st.booleans())
def test_no_prompt_is_ever_drawn_greedily_twice(schedule: list[float], samples: int, already: bool) -> None:
    drawn = temperatures(schedule, samples, already_greedy=already)
    assert len(drawn) == samples
    assert drawn.count(0.0) <= (0 if already else 1)
