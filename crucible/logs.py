"""The log of what Crucible did: `logs/crucible.jsonl` in its home, one JSON object a line.

Written through Python's `logging`. Every text is first rid of secrets, then of control characters and line ends, then
cut: whatever a task or a model wrote can neither forge a record nor drive the terminal that shows it. What a model
writes token by token, programs and prompts are not logged; they are in the episode.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crucible.errors import CancelledError, StoreError
from crucible.libraries import LIBRARIES
from crucible.security.trust.secrets import redact
from crucible.text import one_line
from crucible.types import Event

MAX_FILE_BYTES = 4 << 20
"""The file is renamed to crucible.jsonl.1 when it would grow beyond; the one before that is dropped."""
MAX_TEXT = 1000
LOCK_TIMEOUT_S = 5.0

FIELDS = {
    "run-started": "resumed model.name model.engine task.id task.title",
    "redacted": "kinds",
    "cycle-started": "cycle decision",
    "retrieved": "episodes",
    "sampling": "cycle samples strategy",
    "sampled": "attempt.id attempt.fingerprint attempt.completion_tokens attempt.finish_reason attempt.duplicate_of",
    "checked": "attempt_id findings",
    "approval-needed": "attempt_id",
    "verdict": "attempt_id verdict.verdict verdict.passed verdict.total verdict.reason verdict.wall_s verdict.tier",
    "decision": "decision attempt_id",
    "diagnosis": "attempt_id cause fix",
    "engine-restarted": "message",
    "refused": "reason",
    "warning": "message",
    "run-finished": "episode.status episode.stop episode.cycles episode.tokens episode.wall_s episode.episode_id "
    "episode.approval episode.rewards",
}
"""What is logged of each kind of event. Of others, a plugin's say, only that they happened."""
_WARNINGS = ("engine-restarted", "refused", "warning")


class RunLog:
    """The log file in `folder`, made by the first record. `level`: debug, info, warning, error or off."""

    def __init__(self, folder: Path, level: str) -> None:
        self.path = folder / "crucible.jsonl"
        # Not one of logging's shared loggers: two Crucibles in one process would write into each other's files.
        self._logger = logging.Logger("crucible.run")
        self._handler: _JsonLines | None = None
        self.failure = ""
        """Why there is no log."""
        if level == "off":
            self._logger.disabled = True
            return
        try:
            self._handler = _JsonLines(self.path)
        except StoreError as error:
            self.failure = str(error)
            self._logger.disabled = True
            return
        self._handler.setLevel(level.upper())
        self._logger.addHandler(self._handler)
        for name in ("crucible", *LIBRARIES):  # what single modules warn of
            logging.getLogger(name).addHandler(self._handler)

    def event(self, event: Event) -> None:
        """Log what happened in a run."""
        if event.kind == "token":
            return
        fields = {name: _at(event.data, name) for name in FIELDS.get(event.kind, "").split()}
        level = logging.WARNING if event.kind in _WARNINGS else logging.INFO if fields else logging.DEBUG
        self._logger.log(level, event.kind, extra={"fields": {"run_id": event.run_id, **fields}})

    @contextmanager
    def following(self, run_id: str) -> Iterator[None]:
        """Log how the block ends, if it does so with an error."""
        fields: dict[str, Any] = {"run_id": run_id}
        try:
            yield
        except (CancelledError, KeyboardInterrupt, GeneratorExit):
            self._logger.info("run-interrupted", extra={"fields": fields})
            raise
        except Exception as error:
            fields |= {"error": str(error), "type": type(error).__name__}
            self._logger.error("run-failed", extra={"fields": fields})  # noqa: TRY400 - who called gets the traceback
            raise

    def close(self) -> None:
        """Take no more records. A second call does nothing."""
        self._logger.disabled = True
        if self._handler is not None:
            for name in ("crucible", *LIBRARIES):
                logging.getLogger(name).removeHandler(self._handler)


class _JsonLines(logging.Handler):
    """Appends under a file lock and opens the file anew for each record: several processes share it, and rotate it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"log folder {path.parent}: {error.strerror}; set CRUCIBLE_HOME to a writable one"
            ) from error

    def emit(self, record: logging.LogRecord) -> None:
        from filelock import FileLock

        line = json.dumps(_entry(record), ensure_ascii=True, default=str).encode("ascii") + b"\n"
        try:
            with FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S, thread_local=False):
                if self._path.exists() and self._path.stat().st_size + len(line) > MAX_FILE_BYTES:
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                self._path.touch(mode=0o600)
                with self._path.open("ab") as file:
                    file.write(line)
        except OSError as error:  # the run goes on without its log, and the user hears of it once
            if not self._failed:
                self._failed = True
                sys.stderr.write(one_line(f"warning: cannot write {self._path}: {error.strerror or error}") + "\n")


def _entry(record: logging.LogRecord) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _safe(record.getMessage()),
    }
    entry |= {name: _safe(value) for name, value in getattr(record, "fields", {}).items()}
    if record.exc_info:
        entry["exception"] = _safe(logging.Formatter().formatException(record.exc_info))
    return entry


def _safe(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return one_line(redact(value).text, MAX_TEXT)
    if isinstance(value, dict):
        return {_safe(str(key)): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value


def _at(data: Any, name: str) -> Any:  # noqa: ANN401
    """The value at a dotted name; None where there is none."""
    for part in name.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
