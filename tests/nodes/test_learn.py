"""What learn says that a run was worth."""

from __future__ import annotations

import pytest

from crucible.types import Episode
from tests.conftest import DOUBLE, RIGHT, WRONG, Solver

pytestmark = pytest.mark.sandbox

FORGETFUL = {"memory": False, "dataset_logging": False}


def solve(solver: Solver, reply: str, **sections: dict[str, object]) -> Episode:
    sections["cycles"] = {"max_cycles": 1, **sections.get("cycles", {})}
    return solver(reply, tools=FORGETFUL, **sections).solve(DOUBLE)


def test_the_best_attempts_components_are_in_the_episode_by_name(solver: Solver) -> None:
    episode = solve(solver, RIGHT)
    assert set(episode.rewards) == {"tests", "syntax", "lint", "style", "security", "length", "total"}
    assert episode.rewards["tests"] == episode.rewards["total"] == 1.0


def test_the_weights_are_those_of_the_settings(solver: Solver) -> None:
    assert solve(solver, WRONG).rewards["tests"] == 0.25  # one test of two, half of it the bonus
    assert solve(solver, WRONG, rewards={"all_tests_bonus": 0}).rewards["tests"] == 0.5
    weights = {"syntax": 0, "lint": 0, "style": 0, "security": 0, "length": 0}
    assert solve(solver, WRONG, rewards=weights).rewards["total"] == 0.25


def test_what_does_not_parse_is_worth_nothing(solver: Solver) -> None:
    rewards = solve(solver, "```python\ndef double(n:\n```").rewards
    assert set(rewards.values()) == {0.0} and "tests" in rewards


def test_what_nobody_let_run_is_not_said_to_have_failed(solver: Solver) -> None:
    assert solve(solver, RIGHT, cycles={"approve": "never"}).rewards == {}
