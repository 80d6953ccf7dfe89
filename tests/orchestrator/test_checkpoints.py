"""Runs on disk: they survive kill -9 and full or read-only disks, and no two processes share one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from crucible.errors import CancelledError, InputError, StoreError
from crucible.orchestrator.checkpoints import RunRequest, RunStore
from crucible.types import Event, Task
from tests.conftest import DOUBLE, RIGHT, WRONG, Solver

REQUEST = RunRequest(task=Task(prompt="p"), seed=0, strategy="auto")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "home" / "runs.sqlite")


def test_a_run_without_a_process_shows_as_interrupted(store: RunStore) -> None:
    store.start("abc", REQUEST, "m")
    assert store.find("a").state == "interrupted"
    with store.lock("abc"):
        assert store.find("a").state == "running"


def test_threads_that_share_a_store_do_not_disturb_each_other(store: RunStore) -> None:
    def use(number: int) -> None:
        store.start(f"run-{number}", REQUEST, "m")
        for _ in range(40):
            assert store.has(f"run-{number}") and store.request(f"run-{number}") == REQUEST
            store.update(f"run-{number}", "running")
            store.list(5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(store.list()) == 8


def test_a_run_is_worked_by_one_process_at_a_time(store: RunStore) -> None:
    store.start("abc", REQUEST, "m")
    with store.lock("abc"), pytest.raises(InputError, match="another process"), RunStore(store.path).lock("abc"):
        raise AssertionError("two holders")


def test_what_was_asked_comes_back(store: RunStore) -> None:
    store.start("abc", REQUEST, "m")
    assert RunStore(store.path).request("abc") == REQUEST


@pytest.mark.parametrize("name", ["zzz", ""])
def test_unknown_and_ambiguous_ids_are_refused(store: RunStore, name: str) -> None:
    store.start("abc", REQUEST, "m")
    store.start("abd", REQUEST, "m")
    with pytest.raises(InputError, match=r"crucible runs list"):
        store.find(name)


def test_a_file_in_the_way_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="CRUCIBLE_HOME"):
        RunStore(tmp_path / "home" / "runs.sqlite")


def test_a_damaged_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "runs.sqlite").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"runs\.sqlite: file is not a database"):
        RunStore(tmp_path / "runs.sqlite")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        store = RunStore(small / "runs.sqlite")
        huge = REQUEST.model_copy(update={"task": Task(prompt="x" * 200_000)})
        with pytest.raises(StoreError, match="free some space"):
            store.start("abc", huge, "m")
        store.close()
    finally:
        subprocess.run(["umount", small], check=True)


# ------------------------------------------------------------- interrupted runs


@pytest.mark.sandbox
def test_leaving_the_stream_early_leaves_a_run_that_resumes(solver: Solver) -> None:
    app = solver(WRONG, RIGHT, RIGHT, RIGHT, RIGHT, cycles={"strategy": "resample"})
    for event in app.stream(DOUBLE):
        if event.kind == "verdict":
            break
    assert app.runs.list()[0].state == "interrupted"
    episode = app.resume()
    assert episode.status == "solved"
    assert app.runs.list()[0].state == "finished"


@pytest.mark.sandbox
def test_an_interrupt_while_the_model_writes_cancels_it(solver: Solver) -> None:
    app = solver(RIGHT)

    def interrupt(event: Event) -> None:
        if event.kind == "token":
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, CancelledError)):
        app.solve(DOUBLE, watch=interrupt)
    assert app.resume().status == "solved"


@pytest.mark.sandbox
def test_a_finished_run_cannot_be_resumed(solver: Solver) -> None:
    app = solver(RIGHT)
    run_id = app.solve(DOUBLE).run_id
    with pytest.raises(InputError, match="is finished"):
        app.resume(run_id)


@pytest.mark.sandbox
def test_kill_9_leaves_no_process_and_a_run_that_resumes(own_home: Path, tmp_path: Path) -> None:
    """The candidate sleeps; its solver is killed meanwhile."""
    script = tmp_path / "script.json"
    slow = "```python\nimport time\ndef double(n):\n    time.sleep(30)\n    return n + n\n```"
    script.write_text(json.dumps([slow]))
    environment = {
        **os.environ,
        "CRUCIBLE_HOME": str(own_home),
        "CRUCIBLE_MODEL__SCRIPT": str(script),
    }
    command = [
        sys.executable,
        "-m",
        "crucible",
        "solve",
        "Write double(n). assert double(2) == 4",
        "--engine",
        "scripted",
    ]
    process = subprocess.Popen([*command, "--approve", "auto"], env=environment, stderr=subprocess.DEVNULL)
    store = wait_for(lambda: RunStore(own_home / "runs.sqlite") if (own_home / "runs.sqlite").exists() else None)
    wait_for(lambda: store.list() and store.list()[0].state == "running")
    family = wait_for(lambda: in_the_sandbox(process.pid))
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    (run,) = store.list()
    assert run.state == "interrupted"
    script.write_text(json.dumps([RIGHT]))
    again = [sys.executable, "-m", "crucible", "resume", run.run_id, "--approve", "auto", "--json"]
    settings = {**environment, "CRUCIBLE_MODEL__ENGINE": "scripted", "CRUCIBLE_SANDBOX__WALL_S": "1"}
    done = subprocess.run(again, env=settings, capture_output=True, text=True, check=False, timeout=120)
    assert json.loads(done.stdout)["run_id"] == run.run_id, done.stderr
    assert store.list()[0].state == "finished"


def in_the_sandbox(pid: int) -> list[psutil.Process]:
    """All descendants, once a candidate runs among them."""
    family = psutil.Process(pid).children(recursive=True)
    return family if any(process.name() == "bwrap" for process in family) else []


def wait_for(condition, seconds: float = 60.0):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("waited in vain")
