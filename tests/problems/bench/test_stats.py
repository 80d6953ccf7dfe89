"""The statistics against their definitions, and what is said of cells whose result is known by hand."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import InputError
from crucible.problems.bench.record import Cell, Plan, ProblemRecord, Results
from crucible.problems.bench.stats import (
    Point,
    bootstrap,
    compare,
    compare_folders,
    curve,
    mcnemar,
    pass_at_k,
    sign_test,
    summarise,
    verdict_sentence,
    wilson,
)
from crucible.types import ModelIdentity, Tokens

# ---------------------------------------------------------------- statistics


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


# ---------------------------------------------------------------- over cells


def cell(arm: str, seed: int, problem: str, passed: bool, tokens: int = 100, **changes: Any) -> Cell:
    given = {"passed_visible": passed, "status": "solved" if passed else "unsolved", "wall_s": 2.0}
    given["failure"] = "" if passed else "wrong-answer"
    tokens_used = Tokens(prompt=1000, completion=tokens)
    return Cell(arm=arm, seed=seed, problem=problem, passed=passed, tokens=tokens_used, **{**given, **changes})


def results(*cells: Cell, folder: str = "runs/x", fingerprints: str = "") -> Results:
    problems = sorted({one.problem for one in cells})
    plan = Plan(
        sets=(),
        problems=tuple(
            ProblemRecord(id=name, fingerprint=name + fingerprints, difficulty="easy" if name < "c" else "hard")
            for name in problems
        ),
        arms=dict.fromkeys((one.arm for one in cells), ""),
        seeds=tuple(sorted({one.seed for one in cells})),
        budget=4096,
        model=ModelIdentity(name="m", engine="scripted"),
        settings="",
    )
    return Results(folder=folder, plan=plan, cells=cells)


BENCH = results(
    cell("single", 0, "a", True, 50),
    cell("single", 0, "b", False, 60, failure="timeout"),
    cell("single", 0, "c", False, 70, failure="hidden-only", passed_visible=True),
    *(cell("loop", seed, "a", True, 100) for seed in (0, 1)),
    cell("loop", 0, "b", True, 300),
    cell("loop", 1, "b", False, 400),
    *(cell("loop", seed, "c", False, 500) for seed in (0, 1)),
)


def test_a_summary_by_hand() -> None:
    single, loop = summarise(BENCH)
    assert (single.arm, single.problems, single.cells, single.pass_at_1) == ("single", 3, 3, pytest.approx(1 / 3))
    assert single.pass_at_k == {1: pytest.approx(1 / 3)}
    assert (single.failures, single.visible_only) == ({"timeout": 1, "hidden-only": 1}, 1)
    assert (loop.problems, loop.cells, loop.pass_at_1) == (3, 6, 0.5)
    assert loop.pass_at_k == {1: 0.5, 2: pytest.approx(2 / 3)}
    assert loop.ci95 == wilson(1.5, 3)
    assert (loop.tokens, loop.tokens_per_problem, loop.tokens_per_solved) == (1900, 1900 / 6, 1900 / 3)
    assert (loop.wall_s, loop.seconds_per_solved, loop.tokens_per_s) == (12.0, 4.0, 1900 / 12)
    assert {name: (part.problems, part.pass_at_1) for name, part in loop.by_difficulty.items()} == {
        "easy": (2, 0.75),
        "hard": (1, 0.0),
    }


def test_what_was_not_solved_has_no_price() -> None:
    (summary,) = summarise(results(cell("loop", 0, "a", False, wall_s=0.0)))
    assert (summary.tokens_per_solved, summary.seconds_per_solved, summary.tokens_per_s) == (None, None, None)


def test_an_unfinished_benchmark_has_pass_at_k_as_far_as_every_problem_goes() -> None:
    (summary,) = summarise(results(cell("loop", 0, "a", True), cell("loop", 1, "a", False), cell("loop", 0, "b", True)))
    assert summary.pass_at_k == {1: 0.75}


def test_the_greedy_arm_pairs_with_every_seed() -> None:
    found = compare(BENCH, "loop", "single")
    assert (found.problems, found.pairs) == (3, 6)
    assert (found.both, found.only_a, found.only_b, found.neither) == (2, 1, 0, 3)
    assert found.difference == pytest.approx(found.pass_at_1_a - found.pass_at_1_b) == pytest.approx(1 / 6)
    assert (found.mcnemar_p, found.sign_p) == (1.0, 1.0)
    assert (found.tokens_a, found.tokens_b) == (1900, 360)
    other = compare(BENCH, "single", "loop")
    assert (other.only_a, other.only_b, other.tokens_a) == (0, 1, 360)


def test_only_the_same_seed_of_the_same_problem_is_a_pair() -> None:
    some = results(
        cell("x", 0, "a", True), cell("x", 1, "a", True), cell("x", 0, "b", True), cell("y", 1, "a", False),
        cell("y", 2, "a", False),
    )  # fmt: skip
    found = compare(some, "x", "y")
    assert (found.pairs, found.only_a) == (1, 1)


def test_seeds_of_one_problem_do_not_make_a_difference_certain() -> None:
    cells = [cell(arm, seed, "a", arm == "x") for arm in "xy" for seed in range(20)]
    found = compare(results(*cells), "x", "y")
    assert found.mcnemar_p < 1e-5 and found.sign_p == 1.0
    assert verdict_sentence(found).startswith("a difference is not certain")


def test_arms_that_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="no results of arm 'tree'; there are: single, loop"):
        compare(BENCH, "loop", "tree")
    apart = results(cell("x", 0, "a", True), cell("y", 1, "a", True))
    with pytest.raises(InputError, match="no problem with the same seed"):
        compare(apart, "x", "y")


def test_two_folders_share_the_problems_of_equal_content() -> None:
    before = results(cell("loop", 0, "a", False), cell("loop", 0, "b", False), folder="before")
    after = results(cell("loop", 0, "a", True), cell("loop", 0, "c", True), folder="after")
    found = compare_folders(after, before, "loop")
    assert (found.arm_a, found.arm_b, found.pairs, found.only_a) == ("loop (after)", "loop (before)", 1, 1)
    changed = results(cell("loop", 0, "a", True), folder="after", fingerprints="'")
    with pytest.raises(InputError, match="in common"):
        compare_folders(changed, before, "loop")


def test_greedy_cells_of_two_folders_pair_whatever_their_seed() -> None:
    a, b = results(cell("single", 0, "a", True)), results(cell("single", 7, "a", False))
    assert compare_folders(a, b, "single").pairs == 1


def against(wins: int, losses: int, ties: int) -> str:
    """What is said of x and y, which differ on so many problems."""
    passed = [(True, False)] * wins + [(False, True)] * losses + [(True, True)] * ties
    cells = [cell(arm, 0, f"p{i}", own) for i, both in enumerate(passed) for arm, own in zip("xy", both, strict=True)]
    return verdict_sentence(compare(results(*cells), "x", "y"))


def test_the_sentence_claims_what_the_interval_allows() -> None:
    assert against(30, 2, 68).startswith("x solves more than y: x 98.0 %, y 70.0 % of 100 problems; difference +28.0")
    assert against(2, 30, 68).startswith("x solves less than y")
    nothing = against(6, 4, 40)
    assert nothing.startswith("no difference was found: ") and "95 % interval -" in nothing
    assert "p = 0.754" in nothing
    assert against(5, 0, 95).startswith("a difference is not certain, the sign test")


def test_no_interval_is_given_where_every_problem_says_the_same() -> None:
    assert "no difference was found" in against(0, 0, 5) and "an interval cannot be given" in against(0, 0, 5)


@given(st.integers(0, 25), st.integers(0, 25), st.integers(0, 25))
def test_no_difference_is_claimed_with_zero_inside_the_interval(wins: int, losses: int, ties: int) -> None:
    if wins + losses + ties:
        said = against(wins, losses, ties)
        if "solves" in said:
            assert (wins > losses) == ("more" in said) and mcnemar(wins, losses) < 0.05
            assert "interval +" in said or "to -" in said or "every problem" in said


def test_the_curve_rises_with_tokens_to_the_share_solved() -> None:
    assert curve(BENCH, "loop") == [Point(0, 0.0), Point(100, 2 / 6), Point(300, 0.5)]
    assert curve(BENCH, "single")[-1] == Point(50, 1 / 3)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=20))
def test_the_curve_is_the_share_at_every_number(outcomes: list[tuple[bool, int]]) -> None:
    cells = [cell("x", 0, f"p{i}", passed, tokens) for i, (passed, tokens) in enumerate(outcomes)]
    points = dict(curve(results(*cells), "x"))
    for tokens, share in points.items():
        assert share == sum(passed and used <= tokens for passed, used in outcomes) / len(outcomes)
    assert max(points.values()) == sum(passed for passed, _ in outcomes) / len(outcomes)
