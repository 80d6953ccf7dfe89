"""The store's format: migrations, versions of the future, foreign vectors, and damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pytest

from crucible.errors import StoreError
from crucible.memory import MemoryStore
from crucible.memory.migrations import HEADER, STEPS, TABLE, Header, migrate, read_header, write_header
from tests.memory.episodes import HashEncoder, episode


@pytest.fixture
def folder(store: MemoryStore) -> Path:
    for number in range(3):
        store.add(episode(f"e{number}", f"task {number}"))
    store.close()
    return store.path


def reopened(folder: Path) -> MemoryStore:
    return MemoryStore(folder, HashEncoder())


def header_of(folder: Path) -> Header:
    header = read_header(folder)
    assert header is not None
    return header


def test_a_new_store_has_the_present_version(folder: Path):
    assert header_of(folder) == Header(schema_version=1, encoder="hash", dimension=384)
    assert len(STEPS) == 1


def add_language(db: Any, header: Header) -> None:
    table = db.open_table(TABLE)
    if "language" not in table.schema.names:
        table.add_columns({"language": "'python'"})


def upper_titles(db: Any, header: Header) -> None:
    db.open_table(TABLE).update(values={"title": "MIGRATED"})


def test_steps_run_in_order_and_keep_every_episode(folder: Path):
    db = lancedb.connect(folder, read_consistency_interval=timedelta(0))
    reached = migrate(folder, db, header_of(folder), (*STEPS, add_language, upper_titles))
    assert reached.schema_version == header_of(folder).schema_version == 3
    rows = db.open_table(TABLE).search().to_list()
    assert {(row["language"], row["title"]) for row in rows} == {("python", "MIGRATED")}
    assert {json.loads(row["record"])["episode_id"] for row in rows} == {"e0", "e1", "e2"}


def test_a_migration_that_fails_halfway_is_taken_up_again(folder: Path):
    def fails(db: Any, header: Header) -> None:
        raise RuntimeError("the power went")

    db = lancedb.connect(folder, read_consistency_interval=timedelta(0))
    with pytest.raises(RuntimeError):
        migrate(folder, db, header_of(folder), (*STEPS, add_language, fails))
    assert header_of(folder).schema_version == 2
    assert migrate(folder, db, header_of(folder), (*STEPS, add_language, upper_titles)).schema_version == 3


def test_a_store_of_the_future_is_refused_untouched(folder: Path):
    write_header(folder, header_of(folder).model_copy(update={"schema_version": 2}))
    store = reopened(folder)
    for act in actions(store):
        with pytest.raises(StoreError, match="written by a newer Crucible"):
            act()
    assert header_of(folder).schema_version == 2


def test_vectors_of_another_encoder_are_refused(folder: Path):
    write_header(folder, header_of(folder).model_copy(update={"encoder": "other"}))
    with pytest.raises(StoreError, match="holds vectors of other"):
        reopened(folder).fetch_semantic("x")


def test_a_store_whose_making_was_interrupted_is_finished(tmp_path: Path):
    folder = tmp_path / "episodes"
    folder.mkdir()
    write_header(folder, Header(schema_version=0, encoder="hash", dimension=384))
    assert reopened(folder).fetch_semantic("x") == []
    reopened(folder).add(episode())
    assert reopened(folder).stats().episodes == 1


def newest(folder: Path, pattern: str) -> Path:
    return sorted((folder / f"{TABLE}.lance").glob(pattern))[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "manifest cut": lambda folder: cut(newest(folder, "_versions/*.manifest")),
    "manifest empty": lambda folder: newest(folder, "_versions/*.manifest").write_bytes(b""),
    "versions gone": lambda folder: shutil.rmtree(folder / f"{TABLE}.lance" / "_versions"),
    "table gone": lambda folder: shutil.rmtree(folder / f"{TABLE}.lance"),
    "data gone": lambda folder: newest(folder, "data/*.lance").unlink(),
    "data cut": lambda folder: cut(newest(folder, "data/*.lance")),
    "data overwritten": lambda folder: newest(folder, "data/*.lance").write_bytes(b"\xff" * 9000),
    "header gone": lambda folder: (folder / HEADER).unlink(),
    "header cut": lambda folder: cut(folder / HEADER),
    "header not text": lambda folder: (folder / HEADER).write_bytes(b"\xff\xfe"),
}


def actions(store: MemoryStore) -> tuple[Callable[[], object], ...]:
    return (
        lambda: store.fetch_semantic("x"),
        lambda: [store.get(f"e{number}") for number in range(3)],
        lambda: store.add(episode("new")),
    )


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_told_and_nothing_deleted(folder: Path, damage: Callable[[Path], object]):
    damage(folder)
    before = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    for act in actions(reopened(folder))[:2]:
        with pytest.raises(StoreError) as caught:
            act()
        message = str(caught.value)
        assert "is damaged (" in message
        assert "Nothing was deleted" in message
        assert "\n" not in message
        assert ".rs:" not in message
    after = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert {path: after.get(path) for path in before} == before


def test_an_episode_that_cannot_be_read(folder: Path):
    lancedb.connect(folder).open_table(TABLE).update(where="episode_id = 'e1'", values={"record": "{}"})
    with pytest.raises(StoreError, match=r"episode 'e1' cannot be read"):
        reopened(folder).get("e1")
    assert reopened(folder).get("e2") is not None


def test_something_else_in_the_folders_place(tmp_path: Path):
    place = tmp_path / "episodes"
    place.write_text("a note")
    for path in (place, place / "below"):
        for act in (*actions(reopened(path)), reopened(path).stats):
            with pytest.raises(StoreError, match="something that is not a folder is in its place"):
                act()
    assert place.read_text() == "a note"
