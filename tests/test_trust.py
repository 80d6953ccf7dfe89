"""A pass that a program could have forged at will (`trust: low`) is a pass for its user and a proof of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from crucible import Crucible, Task, Verdict
from crucible.bench.cells import cell_of
from crucible.experience.train import Planned, _entry
from crucible.finetune.data.contamination import Contamination
from crucible.finetune.data.dataset import Example, build
from crucible.finetune.methods.judged import JudgedReward
from crucible.memory import MemoryStore
from crucible.models.scripted import ScriptedModel
from crucible.nodes.generate import verified
from crucible.prompting.recipe import Recipe
from crucible.rewards import Rewards
from crucible.security.base import Sandbox
from crucible.types import HiddenTests, Hit
from tests.conftest import DOUBLE, RIGHT, settings_at
from tests.memory.episodes import HashEncoder, episode

Trust = Literal["full", "claimed", "low"]


class Passing:
    """A judge that passes everything, at one trust for visible tests and one for hidden ones."""

    languages = ("python",)

    def __init__(self, visible: Trust, hidden: Trust | None = None) -> None:
        self._visible, self._hidden = visible, hidden or visible

    def judge(self, code: str, task: Task) -> Verdict:
        trust = self._hidden if "hidden" in task.tests else self._visible
        return Verdict(verdict="pass", reason="all cases pass", passed=2, total=2, trust=trust)


HIDDEN = HiddenTests(tests="assert double(5) == 10  # hidden")


@pytest.fixture
def memory(tmp_path: Path) -> MemoryStore:
    return MemoryStore(tmp_path / "episodes", HashEncoder())


def app(home: Path, memory: MemoryStore, judge: Passing) -> Crucible:
    return Crucible(settings=settings_at(home), model=ScriptedModel([RIGHT]), memory=memory, judge=judge)


def test_it_is_solved_for_the_user_and_stored_with_its_trust(own_home: Path, memory: MemoryStore) -> None:
    with app(own_home, memory, Passing("low")) as crucible:
        solved = crucible.solve(DOUBLE)
    assert (solved.status, solved.trust) == ("solved", "low")
    stored = memory.get(solved.episode_id)
    assert stored is not None and stored.verdict is not None and stored.verdict.trust == "low"
    (hit,) = memory.fetch_semantic(DOUBLE.text, 3)
    assert (hit.solved, hit.trust) == (True, "low")


@pytest.mark.parametrize(("trust", "paid"), [("full", 1.0), ("claimed", 0.0), ("low", 0.0)])
def test_the_tests_are_paid_for_in_full_trust_alone(
    own_home: Path, memory: MemoryStore, trust: Trust, paid: float
) -> None:
    with app(own_home, memory, Passing(trust)) as crucible:
        solved = crucible.solve(DOUBLE, hidden=HIDDEN)
        rewards = crucible.settings.rewards
    assert (solved.rewards["tests"], solved.rewards["hidden_tests"]) == (paid, paid)
    judged = JudgedReward(Passing(trust), lambda _: (), Rewards(rewards), Recipe())
    (worth,) = judged([Example(task=DOUBLE, prompt=(), episodes=())], [RIGHT])
    assert worth["tests"] == paid


@pytest.mark.parametrize(("trust", "retrieved"), [("full", 1), ("low", 0)])
def test_it_is_no_example_for_the_next_task(own_home: Path, memory: MemoryStore, trust: Trust, retrieved: int) -> None:
    with app(own_home, memory, Passing(trust)) as crucible:
        crucible.solve(DOUBLE)
        again = crucible.solve(DOUBLE)
    assert len(again.retrieved) == retrieved


def low(name: str, **more: object):
    return episode(name, verdict=Verdict(verdict="pass", reason="", passed=1, total=1, trust="low"), **more)


def test_many_low_ones_do_not_hide_a_verified_one(memory: MemoryStore) -> None:
    for number in range(6):
        memory.add(low(f"low{number}", code=f"# {number}"))
    memory.add(episode("full", code="# full", verdict=Verdict(verdict="pass", reason="", passed=1, total=1)))
    assert [hit.episode_id for hit in verified(memory, "Add two numbers.", 2)] == ["full"]


def test_a_store_that_does_not_say_is_asked_for_the_episode() -> None:
    class Silent:
        """Hits as they were before they had a trust."""

        def __init__(self) -> None:
            self.kept = {"low": low("low"), "full": episode("full")}

        def get(self, name: str):
            return self.kept.get(name)

        def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
            facts = {
                "score": 1.0,
                "kind": "episode",
                "title": "",
                "text": "",
                "code": "x",
                "solved": True,
                "created": 0.0,
            }
            return [Hit(episode_id=name, **facts) for name in self.kept][:k]

    assert [hit.episode_id for hit in verified(Silent(), "x", 2)] == ["full"]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["sft", "dpo"])
@pytest.mark.parametrize("hidden", [None, HIDDEN])
def test_nothing_of_it_is_trained_on(
    own_home: Path, memory: MemoryStore, kind: Literal["sft", "dpo"], hidden: HiddenTests | None
) -> None:
    with app(own_home, memory, Passing("full" if hidden else "low", "low")) as crucible:
        crucible.solve(DOUBLE, hidden=hidden)
    dataset = build(kind, memory.episodes(), Recipe(), Contamination([]))
    assert dataset.examples == () and dataset.left_out == {"not proved right or wrong": 1}


@pytest.mark.parametrize(("trust", "counts"), [("full", True), ("low", False)])
def test_it_counts_neither_in_a_benchmark_nor_for_the_curriculum(
    own_home: Path, memory: MemoryStore, trust: Trust, counts: bool
) -> None:
    with app(own_home, memory, Passing(trust)) as crucible:
        solved = crucible.solve(DOUBLE)
    cell = cell_of("loop", 0, "p", solved)
    assert (cell.passed, cell.failure, cell.status) == (counts, "" if counts else "low-trust", "solved")
    entry = _entry(1, 1, Planned(problem="p", difficulty="easy"), solved, {})
    assert entry.success is counts


def test_a_hidden_verdict_in_full_trust_is_one(own_home: Path, memory: MemoryStore) -> None:
    with app(own_home, memory, Passing("low", "full")) as crucible:
        solved = crucible.solve(DOUBLE, hidden=HIDDEN)
    assert solved.trust == "full" and cell_of("loop", 0, "p", solved).passed


@pytest.mark.parametrize("low_trust", [True, False])
def test_the_setting_reaches_the_judge(own_home: Path, sandbox: Sandbox, low_trust: bool) -> None:
    settings = settings_at(own_home, sandbox={"low_trust": low_trust})
    with Crucible(settings=settings, model=ScriptedModel([RIGHT]), sandbox=sandbox) as crucible:
        assert crucible.judge._low_trust is low_trust  # type: ignore[attr-defined]
    assert (settings.hash() == settings_at(own_home).hash()) is low_trust
