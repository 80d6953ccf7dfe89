"""The audit log: who let generated code run, and why. Append-only JSON lines, each chained to the one before by SHA-256.

A record is durable when `append` returns. `verify` finds any record that was changed, removed, put in or moved, and a
cut-off tail, by the head: a small file beside the log with the number and the hash of the last record.

What this cannot prove: the hashes hold no secret, so whoever may write both files (you, root, a program run as you
outside the sandbox) can make a new history that verifies. To hold it against that person, keep `head` elsewhere from
time to time: a log that still contains that record at that number has the same history up to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crucible.errors import RefusedError, StoreError
from crucible.types import Frozen

GENESIS = "0" * 64
MISMATCH, TORN = "chain-mismatch", "torn-line"
"""Events the log itself records: it did not fit its head; a killed writer's half line was moved aside."""
MAX_RECORD_BYTES = 1 << 16
LOCK_TIMEOUT_S = 10.0

_TYPES = {
    "seq": int,
    "time": str,
    "actor": str,
    "event": str,
    "subject": dict,
    "details": dict,
    "previous": str,
    "sha256": str,
}


class Head(Frozen):
    """The last record. `pending` is the hash of a record on its way into the log."""

    count: int = 0
    sha256: str = GENESIS
    pending: str | None = None


class AuditReport(Frozen):
    """`problems`: what breaks the chain. `notes`: what a killed writer leaves behind, which breaks nothing."""

    path: str
    records: int
    last: str = GENESIS
    """SHA-256 of the last record."""
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def os_user() -> str:
    """The user this process runs as, by the system's word and not the environment's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number without a name
        return f"uid {os.getuid()}"


class AuditLog:
    """The log at `path`; nothing is made before the first `append`. Threads and processes take turns on a file lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = path.with_suffix(".head.json")
        self._torn = path.with_suffix(".torn")

    def append(self, event: str, subject: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
        """Write one record durably and return it. Raises StoreError; then nothing was recorded.

        What a killed writer left of a last line is moved to a file beside the log, and a record says so. Where the log
        does not fit its head, a record keeps what the head said, so that appending hides no tampering.
        """
        with self._locked():
            head = self._mended()
            return self._write(head, event, subject, details)

    def verify(self) -> AuditReport:
        """Read the whole log and check every link of the chain and the head. Raises StoreError if it cannot be read."""
        if not self.path.exists() and not self._head.exists():
            return AuditReport(path=str(self.path), records=0, problems=(), notes=())
        with self._locked():
            return self._checked()

    def records(self) -> list[dict[str, Any]]:
        """Every record, oldest first, for whoever decides by them. Raises RefusedError where the log does not verify."""
        if not self.path.exists() and not self._head.exists():
            return []
        found: list[dict[str, Any]] = []
        with self._locked():
            report = self._checked(found)
        if not report.ok:
            raise RefusedError(
                f"the audit log {self.path} cannot be relied on: {report.problems[0]}. `crucible audit verify` says more; "
                "what it decided is decided anew once you have moved it away"
            )
        return found

    def last(self, count: int) -> list[dict[str, Any]]:
        """The last `count` records that can be read, oldest first."""
        if not self.path.exists():
            return []
        with self._locked(), self.path.open("rb") as file:
            found = [record for line in file if (record := _parsed(line)) is not None]
        return found[-count:]

    # ------------------------------------------------------------- writing

    def _write(self, head: Head, event: str, subject: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "seq": head.count + 1,
            "time": datetime.now(UTC).isoformat(timespec="microseconds"),
            "actor": os_user(),
            "event": event,
            "subject": subject,
            "details": details,
            "previous": head.sha256,
        }
        record = {**body, "sha256": _digest(body)}
        line = _canonical(record) + b"\n"
        if len(line) > MAX_RECORD_BYTES:
            raise StoreError(f"an audit record of {len(line)} bytes is too large; {MAX_RECORD_BYTES} are allowed")
        new = not self.path.exists()
        # The head names the record before the log holds it: whoever reads both can tell a writer that was killed in
        # between from a record that nobody announced.
        self._write_head(head.model_copy(update={"pending": record["sha256"]}))
        self.path.touch(mode=0o600)
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _flush_folder(self.path.parent)
        with contextlib.suppress(OSError):  # it is recorded: the head names it as pending, and the next one mends that
            self._write_head(_head_of(record))
        return record

    def _mended(self) -> Head:
        """The head to go on from, once what is wrong with the end of the log has been put on record."""
        head = self._read_head() or Head()
        torn = self._set_torn_aside()
        count, sha256 = self._end()
        if (count, sha256) == (head.count, head.sha256) or (count == head.count + 1 and sha256 == head.pending):
            head = Head(count=count, sha256=sha256)
        else:
            said = {"head_count": head.count, "head_sha256": head.sha256, "found_count": count, "found_sha256": sha256}
            head = _head_of(self._write(Head(count=count, sha256=sha256), MISMATCH, {}, said))
        if torn:
            said = {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest(), "kept_in": self._torn.name}
            head = _head_of(self._write(head, TORN, {}, said))
        return head

    def _set_torn_aside(self) -> bytes:
        """Move what follows the last newline to the file for such things, and return it."""
        if not self.path.exists():
            return b""
        with self.path.open("r+b") as file:
            start = size = file.seek(0, os.SEEK_END)
            tail = b""
            while start and b"\n" not in tail:
                start = max(0, start - MAX_RECORD_BYTES)
                file.seek(start)
                tail = file.read()
            torn = tail[tail.rfind(b"\n") + 1 :]
            if torn:
                with self._torn.open("ab") as aside:
                    aside.write(torn + b"\n")
                    aside.flush()
                    os.fsync(aside.fileno())
                file.truncate(size - len(torn))
                os.fsync(file.fileno())
        return torn

    def _end(self) -> tuple[int, str]:
        """Number and hash of the last record, as the record says; a last line that is none counts as no record."""
        if not self.path.exists():
            return 0, GENESIS
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2 * MAX_RECORD_BYTES))
            record = _parsed(b"".join(file.read().split(b"\n")[-2:]))
        return (record["seq"], record["sha256"]) if record else (0, GENESIS)

    # ------------------------------------------------------------- checking

    def _checked(self, found: list[dict[str, Any]] | None = None) -> AuditReport:
        """found: gets every record."""
        problems: list[str] = []
        notes: list[str] = []
        count, last = 0, GENESIS
        with self.path.open("rb") if self.path.exists() else io.BytesIO() as file:
            while line := file.readline(MAX_RECORD_BYTES + 1):
                if not line.endswith(b"\n") and len(line) <= MAX_RECORD_BYTES:
                    notes.append(f"after record {count}: {len(line)} bytes of a line that was never finished")
                    break
                count += 1
                problem, last = _link(line, count, last)
                problems += [f"line {count}: {problem}"] if problem else []
                if found is not None and not problem:
                    found += filter(None, [_parsed(line)])
        head = self._read_head()
        if head is None:
            problems.append(f"the head {self._head.name} is missing or damaged: a cut-off tail would not be noticed")
        elif count == head.count + 1 and last == head.pending:
            notes.append(f"record {count} is whole, but its writer was killed before it could say so")
        elif count != head.count:
            what = "are missing" if count < head.count else "were added"
            problems.append(f"the head knows {head.count} records, the log has {count}: records {what}")
        elif last != head.sha256:
            problems.append("the last record is not the one the head knows")
        return AuditReport(path=str(self.path), records=count, last=last, problems=tuple(problems), notes=tuple(notes))

    # ------------------------------------------------------------- the head, the lock

    def _read_head(self) -> Head | None:
        try:
            return Head.model_validate_json(self._head.read_bytes(), strict=True)
        except (FileNotFoundError, ValueError):
            return None

    def _write_head(self, head: Head) -> None:
        temporary = self._head.with_suffix(".tmp")
        with temporary.open("wb") as file:
            file.write(head.model_dump_json().encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._head)
        _flush_folder(self._head.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S, thread_local=False):
                yield
        except Timeout as error:
            raise StoreError(f"the audit log {self.path} was in use for {LOCK_TIMEOUT_S:g} s; try again") from error
        except OSError as error:
            raise StoreError(
                f"audit log {self.path}: {error.strerror or error}; without it nothing may run: free some space, or set "
                "CRUCIBLE_HOME to a writable folder"
            ) from error


def _head_of(record: dict[str, Any]) -> Head:
    return Head(count=record["seq"], sha256=record["sha256"])


def _link(line: bytes, number: int, previous: str) -> tuple[str, str]:
    """(what is wrong with this line or "", the hash the next line must name)."""
    record = _parsed(line)
    if record is None:
        return "is no audit record", previous
    body = {key: value for key, value in record.items() if key != "sha256"}
    claimed: str = record["sha256"]
    if _canonical(record) + b"\n" != line or _digest(body) != claimed:
        return "was changed: its hash does not fit", claimed
    if record["previous"] != previous or record["seq"] != number:
        return f"record {record['seq']} does not follow: a record was removed, added or moved before it", claimed
    if record["event"] == MISMATCH:
        return f"the log did not fit its head when this was written: {record['details']}", claimed
    return "", claimed


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or {key: type(value) for key, value in record.items()} != _TYPES:
            return None
        _canonical(record)  # NaN is none of JSON's numbers
    except (ValueError, RecursionError):
        return None
    return record


def _canonical(data: dict[str, Any]) -> bytes:
    """One form for one content: sorted keys, no spaces, ASCII. What JSON cannot hold is a ValueError."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
