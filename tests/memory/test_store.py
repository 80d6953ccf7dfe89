"""What LanceDB in particular could get wrong: quoting, many small files, threads, repeated opening."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.config import find_paths
from crucible.errors import StoreError
from crucible.memory import MemoryStore
from crucible.memory.store import COMPACT_EVERY, MAX_TEXT
from tests.memory.episodes import HashEncoder, episode

NASTY = [
    "' OR 1=1 --",
    "it's",
    "''",
    "a\\'b",
    '"q"',
    "`t`",
    "x\ny",
    "nul\x00",
    "%",
    "_",
    ";DROP TABLE episodes",
    "é😀",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    return MemoryStore(tmp_path_factory.mktemp("shared") / "episodes", HashEncoder())


def test_ids_that_look_like_sql_name_only_themselves(store: MemoryStore):
    for name in NASTY:
        store.add(episode(name, f"task {name}"))
    for name in NASTY:
        found = store.get(name)
        assert found is not None
        assert found.episode_id == name
    assert store.get("absent' OR 'a'='a") is None
    assert store.get("\udcff") is None
    assert store.stats().episodes == len(NASTY)


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=30), prompt=st.text(min_size=1, max_size=200), code=st.text(max_size=100))
def test_any_text_comes_back(shared: MemoryStore, name: str, prompt: str, code: str):
    stored = episode(name, prompt, title=code[:9], task_id=name, code=code)
    shared.add(stored)
    assert shared.get(name) == stored
    query = f"{code[:9]}\n{prompt}".strip()
    best = shared.fetch_semantic(query, k=1)[0]
    assert best.score == pytest.approx(1.0, abs=1e-5)


def test_many_adds_stay_searchable_and_are_compacted(store: MemoryStore):
    for number in range(COMPACT_EVERY + 5):
        store.add(episode(f"e{number}", f"task {number}"))
    table = store.path / "episodes.lance"
    assert max(file.stat().st_size for file in (table / "data").iterdir()) > 10_000  # the merged one
    assert store.stats().episodes == COMPACT_EVERY + 5
    assert store.fetch_semantic("task 7", k=1)[0].episode_id == "e7"
    store.compact()
    assert store.stats().episodes == COMPACT_EVERY + 5
    assert store.get("e54") is not None


def test_compacting_nothing(store: MemoryStore):
    store.compact()
    assert not store.path.exists()


def test_a_long_prompt_is_cut_in_a_hit_and_whole_in_the_episode(store: MemoryStore):
    long = "word " * 10_000
    store.add(episode("e1", long))
    assert len(store.fetch_semantic(long, 1)[0].text) == MAX_TEXT
    found = store.get("e1")
    assert found is not None
    assert found.task.prompt == long


def test_threads_share_a_store(store: MemoryStore):
    errors: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 8):
                store.add(episode(f"e{number}", f"task {number}"))
                assert store.fetch_semantic(f"task {number}", 1)[0].episode_id == f"e{number}"
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(100 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.stats().episodes == 32


def test_a_closed_store_opens_again_on_use(store: MemoryStore):
    store.add(episode("e1"))
    store.close()
    assert store.get("e1") is not None


def test_a_folder_that_was_moved_away_is_begun_anew(store: MemoryStore):
    store.add(episode("e1"))
    store.path.rename(store.path.with_name("moved"))
    assert store.fetch_semantic("x") == []
    assert store.get("e1") is None
    store.add(episode("e2"))
    assert store.stats().episodes == 1
    assert MemoryStore(store.path.with_name("moved"), HashEncoder()).get("e1") is not None


@pytest.mark.parametrize("change", [{"rewards": {"r": float("nan")}}, {"code": "\ud800"}])
def test_what_would_not_come_back_is_not_stored(store: MemoryStore, change: dict):
    with pytest.raises(StoreError, match="episode 'e1' cannot be stored: it holds what JSON cannot"):
        store.add(episode("e1").model_copy(update=change))
    assert store.fetch_semantic("x") == []


def test_without_arguments_it_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "mine"))
    assert MemoryStore().path == find_paths().episodes == tmp_path / "mine" / "episodes"
