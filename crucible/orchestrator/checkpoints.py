"""Runs on disk: LangGraph's checkpoints in SQLite, and a table that says which runs there are.

Write-ahead logging keeps the file whole through a SIGKILL. A lock file per run keeps two processes from taking
up the same one; the kernel frees it however its holder dies, which is how an interrupted run is recognised.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crucible.errors import InputError, StoreError
from crucible.types import Frozen, HiddenTests, Task

if TYPE_CHECKING:
    from langgraph.checkpoint.sqlite import SqliteSaver

RunState = Literal["running", "interrupted", "failed", "finished"]

PROBED_S = 1.0
"""How long a lock that somebody holds is waited for: whoever lists the runs holds each for an instant, to see if it is
free, and that must not pass for a process that works on it."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, title TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL,
    status TEXT, model TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL
)
"""


class RunRequest(Frozen):
    """What a run was asked to do; enough to begin it again if it died before its first checkpoint."""

    task: Task
    seed: int
    strategy: str
    hidden: HiddenTests = HiddenTests()


class RunRecord(Frozen):
    """One line of `crucible runs list`."""

    run_id: str
    title: str
    state: RunState
    status: str | None
    model: str
    created: float
    updated: float


class RunStore:
    """`runs.sqlite` in Crucible's home. Thread-safe; one per process is enough."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _connect(path)
            self._connection.execute(_SCHEMA)
            self._connection.commit()
        self._saver: SqliteSaver | None = None
        self._lock = threading.Lock()

    @property
    def saver(self) -> SqliteSaver:
        """LangGraph's checkpointer over the same file; it unpacks Crucible's own types and no others."""
        if self._saver is None:
            from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
            from langgraph.checkpoint.sqlite import SqliteSaver

            names = (
                "Task Limits Example Attempt Feedback FindingKind Diagnosis Approval Tokens Message Hit Verdict "
                "CaseResult Episode ModelIdentity"
            )
            allowed = [("crucible.types", name) for name in names.split()]
            # A connection of its own: sharing one would commit the other's half-written transactions.
            connection = _connect(self.path)
            self._saver = SqliteSaver(connection, serde=JsonPlusSerializer(allowed_msgpack_modules=allowed))
            with _translated(self.path):
                self._saver.setup()
        return self._saver

    def start(self, run_id: str, request: RunRequest, model: str) -> None:
        now = time.time()
        task = request.task
        title = task.title or task.id or task.prompt.strip().split("\n")[0]
        row = (run_id, title[:120], request.model_dump_json(), "running", None, model, now, now)
        with self._alone(), self._connection:
            self._connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def update(self, run_id: str, state: RunState, status: str | None = None) -> None:
        with self._alone(), self._connection:
            self._connection.execute(
                "UPDATE runs SET state = ?, status = ?, updated = ? WHERE run_id = ?",
                (state, status, time.time(), run_id),
            )

    def list(self, limit: int = 50) -> list[RunRecord]:
        """The latest runs first. A run whose process is gone without a word shows as interrupted."""
        with self._alone():
            rows = self._connection.execute(
                "SELECT run_id, title, state, status, model, created, updated FROM runs ORDER BY created DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [self._record(row) for row in rows]

    def find(self, run_id: str | None) -> RunRecord:
        """The run with this id or unambiguous id prefix; None: the latest that is not finished.

        Raises InputError where there is none or more than one."""
        runs = self.list(limit=1000)
        if run_id is None:
            found = [run for run in runs if run.state in ("interrupted", "failed")][:1]
            if not found:
                raise InputError("no interrupted run to resume; `crucible runs list` shows all runs")
        else:
            found = [run for run in runs if run.run_id.startswith(run_id)]
            if len(found) != 1:
                what = "no run" if not found else f"{len(found)} runs"
                raise InputError(f"{what} with the id {run_id!r}; `crucible runs list` shows all runs")
        return found[0]

    def has(self, run_id: str) -> bool:
        """Whether a run was begun under exactly this id."""
        with self._alone():
            return self._connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is not None

    def forget(self, run_id: str) -> None:
        """Remove a run and its checkpoints. Its episode stays in memory."""
        with self._alone(), self._connection:
            self._connection.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))
        with _translated(self.path):
            self.saver.delete_thread(run_id)

    def request(self, run_id: str) -> RunRequest:
        with self._alone():
            (text,) = self._connection.execute("SELECT request FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        return RunRequest.model_validate_json(text)

    @contextmanager
    def lock(self, run_id: str) -> Iterator[None]:
        """Hold the run; raises InputError if another live process does."""
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock_path(run_id), thread_local=False)
        try:
            with _translated(self.path):
                self._lock_path(run_id).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=PROBED_S)
        except Timeout as error:
            raise InputError(f"run {run_id} is being worked on by another process") from error
        try:
            yield
        finally:
            lock.release()
            self._lock_path(run_id).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread at a time. A transaction belongs to the connection: a thread that reads while another writes would
        make that write fail at once ("database is locked"), whatever the timeout, where the saver wrote in between."""
        with self._lock, _translated(self.path):
            yield

    def close(self) -> None:
        self._connection.close()
        if self._saver is not None:
            self._saver.conn.close()

    def _lock_path(self, run_id: str) -> Path:
        return self.path.parent / "locks" / f"{run_id}.lock"

    def _record(self, row: tuple[str, str, RunState, str | None, str, float, float]) -> RunRecord:
        run_id, title, state, status, model, created, updated = row
        if state == "running" and not self._held(run_id):
            state = "interrupted"
        return RunRecord(
            run_id=run_id, title=title, state=state, status=status, model=model, created=created, updated=updated
        )

    def _held(self, run_id: str) -> bool:
        from filelock import FileLock, Timeout

        if not self._lock_path(run_id).exists():
            return False
        try:
            with FileLock(self._lock_path(run_id), timeout=0):
                return False
        except Timeout:
            return True


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode=WAL")
    # In WAL mode NORMAL loses nothing to a killed process, only the last writes to a power cut.
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's and the file system's errors as StoreError, with the place and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        advice = "free some space or set CRUCIBLE_HOME" if "full" in str(error) else "check it or set CRUCIBLE_HOME"
        raise StoreError(f"run store {path}: {error}; {advice}") from error
    except OSError as error:
        raise StoreError(
            f"run store {path}: {error.strerror or error}; set CRUCIBLE_HOME to a writable folder"
        ) from error
