"""What is said of cells whose result is known by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.bench.record import Cell, Plan, ProblemRecord, Results
from crucible.bench.stats import (
    Point,
    compare,
    compare_folders,
    curve,
    summarise,
    verdict_sentence,
)
from crucible.errors import InputError
from crucible.stats import mcnemar, wilson
from crucible.types import ModelIdentity, Tokens

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
