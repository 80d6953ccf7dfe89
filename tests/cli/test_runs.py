"""Runs are found, named, and go on as they began; doctor reads every store."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import pytest

from crucible.orchestrator.checkpoints import RunRequest, RunStore
from crucible.orchestrator.kept import kept, restored
from crucible.types import Task
from tests.cli.test_commands import TASK, Crucible, crucible, script  # noqa: F401 - fixtures
from tests.conftest import settings_at


def begun(home: Path, **settings: dict[str, object]) -> tuple[RunStore, str]:
    """A store with one interrupted run."""
    store = RunStore(home / "runs.sqlite")
    request = RunRequest(task=Task(prompt=TASK, entry_point="double"), seed=0, strategy="auto", settings=settings)
    run_id = uuid.uuid4().hex[:12]
    store.start(run_id, request, "scripted")
    store.update(run_id, "interrupted")
    return store, run_id


def test_a_run_behind_thousands_of_others_is_found(own_home: Path) -> None:
    store, run_id = begun(own_home)
    text = store.request(run_id).model_dump_json()
    rows = [
        (uuid.uuid4().hex[:12], "t", text, "finished", "solved", "m", time.time() + n, time.time()) for n in range(3000)
    ]
    with store._connection as connection:
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    assert store.find(run_id).run_id == store.find(run_id[:9]).run_id == store.find(None).run_id == run_id
    store.close()


@pytest.mark.parametrize(
    ("task", "title"),
    [
        (Task(prompt="\n Write it.\nMore"), "Write it."),
        (Task(prompt="Write it.", id="two_sum"), "two_sum"),
        (Task(prompt="Write it.", id="two_sum", title="Two sum"), "Two sum"),
    ],
)
def test_a_run_is_listed_by_its_title_name_or_first_line(own_home: Path, task: Task, title: str) -> None:
    from crucible.app import prepare

    store = RunStore(own_home / "runs.sqlite")
    store.start("abc", RunRequest(task=prepare(task), seed=0, strategy="auto"), "m")
    assert store.list()[0].title == title
    store.close()


def test_what_a_run_began_with_is_restored_and_an_option_wins(own_home: Path) -> None:
    before = kept(settings_at(own_home, model={"name": "mine"}, cycles={"max_cycles": 9}))
    now = settings_at(own_home)
    settings, notes = restored(now, before, lambda key: False)
    assert (settings.model.name, settings.cycles.max_cycles) == ("mine", 9) and "mine" in " ".join(notes)
    settings, notes = restored(now, before, lambda key: key == "model.name")
    assert settings.model.name == "scripted" and "began with mine" in " ".join(notes)


def test_no_password_and_no_approval_is_kept(own_home: Path) -> None:
    model = {"base_url": "http://me:secret@host/v1", "api_key": "sk-123456"}
    text = json.dumps(kept(settings_at(own_home, model=model)))
    assert "secret" not in text and "sk-123456" not in text and "approve" not in text


@pytest.mark.sandbox
def test_a_run_resumed_where_nobody_can_be_asked_stays_resumable(crucible: Crucible, own_home: Path) -> None:  # noqa: F811
    store, run_id = begun(own_home)
    done = crucible("resume")
    assert done.returncode == 3 and "--approve auto" in done.stderr and store.find(None).run_id == run_id
    assert crucible("resume", "--approve", "auto").returncode == 0
    store.close()


@pytest.mark.parametrize("part", ["runs", "audit", "adapters", "finetune", "memory"])
def test_doctor_finds_a_damaged_store(crucible: Crucible, own_home: Path, part: str) -> None:  # noqa: F811
    places = {
        "runs": "runs.sqlite",
        "audit": "audit.jsonl",
        "adapters": "adapters/a/0001/card.json",
        "finetune": "finetune/sft-0001/proposal.json",
    }
    if part == "memory":
        own_home.mkdir()
        (own_home / "episodes").symlink_to("/nonexistent/place")
    else:
        path = own_home / places[part]
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(5000))
    done = crucible("doctor", "--json")
    row = {row["part"]: row for row in json.loads(done.stdout)}[part]
    assert done.returncode == 3 and not row["ok"] and "\n" not in row["detail"]
