"""What the arms change, and what they must not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from crucible.bench.arms import ARMS, BenchMemory, Placebo, chosen, overrides
from crucible.errors import InputError
from crucible.types import Attempt, Diagnosis, Episode, Hit
from tests.memory.episodes import episode


class Shelf:
    """An episode store that finds its hits in a fixed order."""

    def __init__(self, *scores: float) -> None:
        self.added: list[Episode] = []
        self.hits = [
            Hit(
                episode_id=f"e{number}",
                score=score,
                kind="episode",
                title="",
                text="",
                code=f"p{number}",
                solved=True,
                created=0,
            )
            for number, score in enumerate(scores)
        ]

    def add(self, episode: Episode) -> None:
        self.added.append(episode)

    def get(self, episode_id: str) -> Episode | None:
        return next((each for each in self.added if each.episode_id == episode_id), None)

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> Sequence[Hit]:
        return self.hits[:k]

    def stats(self):
        from crucible.memory.base import MemoryStats

        return MemoryStats(
            episodes=len(self.hits), solved=0, tasks=0, bytes=0, path="", schema_version=1, encoder="none"
        )

    def close(self) -> None:
        pass


def test_an_unknown_arm_is_named_with_the_known() -> None:
    with pytest.raises(InputError, match="unknown arm 'best'; there are: single, best-of-n"):
        chosen(("single", "best"))


def test_an_arm_counts_once() -> None:
    assert [arm.name for arm in chosen(("loop", "single", "loop"))] == ["loop", "single"]


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_has_the_same_budget_and_no_clock(name: str) -> None:
    settings = overrides(ARMS[name], 777)
    assert settings["cycles"]["max_total_tokens"] == 777
    assert settings["cycles"]["max_wall_s"] >= 3600
    assert settings["cycles"]["approve"] == "auto"


def test_what_is_written_does_not_change_what_is_shown() -> None:
    kept, shown = Shelf(), Shelf(0.9)
    memory = BenchMemory(kept, shown)
    memory.add(episode("new"))
    assert [each.episode_id for each in kept.added] == ["new"] and shown.added == []
    assert [hit.episode_id for hit in memory.fetch_semantic("q", 3)] == ["e0"]
    assert memory.get("new") is not None


def test_without_a_shown_memory_nothing_is_retrieved() -> None:
    assert BenchMemory(Shelf(0.9), None).fetch_semantic("q", 3) == []


def test_episodes_of_the_very_problem_are_never_shown() -> None:
    assert [hit.episode_id for hit in BenchMemory(Shelf(), Shelf(1.0, 0.99, 0.9, 0.8)).fetch_semantic("q", 2)] == [
        "e2",
        "e3",
    ]


def test_shuffled_gives_others_than_the_nearest_with_their_scores() -> None:
    shown = Shelf(1.0, 0.9, 0.8, *(0.3 - number / 100 for number in range(20)))
    memory = BenchMemory(Shelf(), shown, shuffled=True)
    first = memory.fetch_semantic("q", 2)
    assert [hit.score for hit in first] == [0.9, 0.8]
    assert not {hit.episode_id for hit in first} & {"e0", "e1", "e2"}
    assert memory.fetch_semantic("q", 2) == first  # the same question, the same lot
    assert any(memory.fetch_semantic(f"q{number}", 2) != first for number in range(5))


def test_a_placebo_is_as_long_and_costs_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Diagnosis(
        attempt_id="1.1", cause="It adds instead of multiplying.", fix="n * 3", prompt_tokens=9, completion_tokens=7
    )
    monkeypatch.setattr("crucible.nodes.reflect.Reflect._diagnose", lambda *_: drawn)
    attempt: Attempt = None  # type: ignore[assignment] - the patched method looks at nothing
    given = Placebo()._diagnose(attempt, {}, None)  # type: ignore[arg-type]
    assert (len(given.cause), len(given.fix)) == (len(drawn.cause), len(drawn.fix))
    assert (given.prompt_tokens, given.completion_tokens) == (9, 7)
    assert "adds" not in given.cause and "3" not in given.fix
