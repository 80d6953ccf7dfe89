"""What every episode store promises, run over every implementation with the real encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crucible.memory import EpisodeStore, MemoryStore, MiniLM
from crucible.types import Episode
from tests.memory.episodes import episode

Make = Callable[[Path, MiniLM], EpisodeStore]

IMPLEMENTATIONS: dict[str, Make] = {"lancedb": MemoryStore}


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS.keys())
def make(request: pytest.FixtureRequest, encoder: MiniLM, tmp_path: Path) -> Callable[[], EpisodeStore]:
    return lambda: request.param(tmp_path / "deep" / "episodes", encoder)


@pytest.fixture
def store(make: Callable[[], EpisodeStore]) -> Iterator[EpisodeStore]:
    made = make()
    yield made
    made.close()


TASKS = {
    "merge": "Given a list of intervals, merge all that overlap.",
    "prime": "Decide whether a number is prime.",
    "csv": "Read a comma separated file and sum a column.",
    "tree": "Compute the depth of a binary tree.",
}


@pytest.fixture
def filled(store: EpisodeStore) -> EpisodeStore:
    for name, prompt in TASKS.items():
        store.add(episode(name, prompt, code=f"# {name}", solved=name != "csv"))
    return store


def test_is_an_episode_store(store: EpisodeStore):
    assert isinstance(store, EpisodeStore)


def test_an_empty_store_answers(store: EpisodeStore, tmp_path: Path):
    assert store.get("e1") is None
    assert store.fetch_semantic("anything") == []
    stats = store.stats()
    assert (stats.episodes, stats.solved, stats.tasks, stats.bytes) == (0, 0, 0, 0)
    assert not (tmp_path / "deep").exists()


def test_an_episode_comes_back_whole(store: EpisodeStore):
    stored = episode("e1", "Zähle \U0001f600 'quoted' \x00\n", title="T")
    store.add(stored)
    assert store.get("e1") == stored
    assert store.get("e2") is None


def test_the_nearest_in_meaning_come_first(filled: EpisodeStore):
    hits = filled.fetch_semantic("combine ranges which intersect each other", k=3)
    assert hits[0].episode_id == "merge"
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert filled.fetch_semantic("height of a tree with two children per node", k=1)[0].episode_id == "tree"
    assert filled.fetch_semantic("test primality of an integer", k=1)[0].episode_id == "prime"


def test_a_hit_tells_task_and_solution(filled: EpisodeStore):
    hit = filled.fetch_semantic(TASKS["prime"], k=1)[0]
    assert (hit.episode_id, hit.text, hit.code, hit.solved) == ("prime", TASKS["prime"], "# prime", True)
    assert hit.kind == "episode"
    assert hit.score == pytest.approx(1.0, abs=1e-5)


def test_scores_are_cosines(filled: EpisodeStore):
    assert all(-1.0 <= hit.score <= 1.0 for hit in filled.fetch_semantic("an utterly different subject", k=10))


def test_k_bounds_the_answer(filled: EpisodeStore):
    assert [len(filled.fetch_semantic("x", k)) for k in (0, 1, 4, 100)] == [0, 1, 4, 4]


def test_the_solved_filter(filled: EpisodeStore):
    assert {hit.episode_id for hit in filled.fetch_semantic("x", 9, solved=False)} == {"csv"}
    assert {hit.episode_id for hit in filled.fetch_semantic("x", 9, solved=True)} == {
        "merge",
        "prime",
        "tree",
    }


def test_the_same_id_is_replaced(filled: EpisodeStore):
    newer = episode("prime", "Reverse a string.", code="# new")
    filled.add(newer)
    assert filled.get("prime") == newer
    assert filled.stats().episodes == len(TASKS)
    assert filled.fetch_semantic("Reverse a string.", k=1)[0].code == "# new"


def test_the_same_program_for_the_same_task_is_given_once_and_the_newest(store: EpisodeStore):
    def attempt(name: str, created: float, code: str = "# same") -> Episode:
        return episode(name, "Reverse a string.", code=code, created=created)

    for number in range(30):
        store.add(attempt(f"same{number}", created=float(number)))
    store.add(attempt("other", created=100.0, code="# other"))
    store.add(episode("far", "Parse a date."))
    assert [hit.episode_id for hit in store.fetch_semantic("Reverse a string.", k=3)] == [
        "other",
        "same29",
        "far",
    ]


def test_stats_count(filled: EpisodeStore):
    filled.add(episode("again", TASKS["csv"], code="# second try"))
    stats = filled.stats()
    assert (stats.episodes, stats.solved, stats.tasks) == (5, 4, 4)
    assert stats.bytes > 0
    assert stats.schema_version == 1
    assert stats.encoder == "all-MiniLM-L6-v2"


def test_it_outlives_the_object(make: Callable[[], EpisodeStore]):
    first = make()
    first.add(episode("e1"))
    first.close()
    first.close()
    second = make()
    assert second.get("e1") is not None
    second.close()


def test_two_open_stores_see_each_other(make: Callable[[], EpisodeStore]):
    one, two = make(), make()
    one.add(episode("e1", "first"))
    two.add(episode("e2", "second"))
    one.add(episode("e3", "third"))
    for store in (one, two):
        assert {hit.episode_id for hit in store.fetch_semantic("x", 9)} == {"e1", "e2", "e3"}
        store.close()
