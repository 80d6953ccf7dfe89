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
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from crucible.errors import InputError, StoreError
from crucible.languages.python.fingerprint import prompt_id
from crucible.text import whole
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
    """The request a run was begun with; enough to begin it again if it died before its first checkpoint."""

    task: Task
    seed: int
    strategy: str
    hidden: HiddenTests = HiddenTests()
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By section and key, the settings that the run goes on with when it is resumed."""


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
        self._lost: dict[str, str] = {}

    @property
    def saver(self) -> SqliteSaver:
        """LangGraph's checkpointer over the same file; it unpacks Crucible's own types and no others."""
        if self._saver is None:
            from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

            from crucible.orchestrator.saver import LenientSaver

            names = (
                "Task Limits Example Attempt Feedback FindingKind Diagnosis Approval Tokens Message Hit Verdict "
                "CaseResult Episode ModelIdentity"
            )
            allowed = [("crucible.types", name) for name in names.split()]
            # A connection of its own: sharing one would commit the other's half-written transactions.
            connection = _connect(self.path)
            serde = JsonPlusSerializer(allowed_msgpack_modules=allowed)
            self._saver = LenientSaver(connection, serde=serde, on_failure=self._lose)
            with _translated(self.path):
                self._saver.setup()
        return self._saver

    def _lose(self, run_id: str, error: Exception) -> None:
        self._lost.setdefault(run_id, str(error))

    def lost(self, run_id: str) -> str | None:
        """Return why checkpoints of the run could not be written since this was last asked; None where all were."""
        return self._lost.pop(run_id, None)

    def start(self, run_id: str, request: RunRequest, model: str) -> None:
        now = time.time()
        task = request.task
        named = task.id if task.id != prompt_id(task.prompt) else ""
        title = task.title or named or task.prompt.strip().split("\n")[0]
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
        return list(self._select("1 ORDER BY created DESC LIMIT ?", (limit,)))

    def _select(self, where: str, values: tuple[Any, ...]) -> tuple[RunRecord, ...]:
        columns = "run_id, title, state, status, model, created, updated"
        with self._alone():
            rows = self._connection.execute(f"SELECT {columns} FROM runs WHERE {where}", values).fetchall()  # noqa: S608
        return tuple(self._record(row) for row in rows)

    def find(self, run_id: str | None) -> RunRecord:
        """The run with this id or unambiguous id prefix; None: the latest that is not finished.

        Raises InputError where there is none or more than one."""
        if run_id is None:
            unfinished = self._select("state != 'finished' ORDER BY created DESC", ())
            found = next((run for run in unfinished if run.state in ("interrupted", "failed")), None)
            if found is None:
                raise InputError("no interrupted run to resume; `crucible runs list` shows all runs")
            return found
        runs = self._select("substr(run_id, 1, ?) = ? ORDER BY length(run_id)", (len(run_id), whole(run_id)))
        if len(runs) != 1 and not (runs and runs[0].run_id == run_id):
            what = "no run" if not runs else f"{len(runs)} runs"
            raise InputError(f"{what} with the id {run_id!r}; `crucible runs list --limit 1000` shows more of them")
        return runs[0]

    def has(self, run_id: str) -> bool:
        """Return whether a run was begun under exactly this id."""
        with self._alone():
            return self._connection.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is not None

    def check(self) -> int:
        """Return how many runs there are, once the whole file was read. Raises StoreError for a damaged one."""
        with self._alone():
            (said,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise StoreError(f"run store {self.path} is damaged ({said}); move it away to begin a new one")
            (count,) = self._connection.execute("SELECT count(*) FROM runs").fetchone()
        return int(count)

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
        advice = (
            "free some space or set CRUCIBLE_HOME"
            if "full" in str(error)
            else "move it away to begin a new one, or set CRUCIBLE_HOME"
        )
        raise StoreError(f"run store {path}: {error}; {advice}") from error
    except OSError as error:
        raise StoreError(
            f"run store {path}: {error.strerror or error}; set CRUCIBLE_HOME to a writable folder"
        ) from error
