"""The episode store on LanceDB: one folder, no server, several processes at once.

An episode is found by its task's title and prompt, not by its code. Search is exact (no approximate index):
it compares the query with every episode, a few milliseconds for thousands of them.

Writers take turns on a file lock, so LanceDB's own commit conflicts cannot arise between Crucible processes;
readers need no lock, they see the last committed version. LanceDB writes a data file, then makes it part of
the table with one atomic link, so a writer killed at any moment leaves the episode in whole or not at all.
LanceDB never flushes to the disk; `add` does, so that a power cut after it returned does not undo it either.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError

from crucible.config.paths import find_paths
from crucible.errors import StoreError
from crucible.memory.base import MemoryStats
from crucible.memory.encoder import Encoder, MiniLM
from crucible.memory.faults import damaged, translated
from crucible.memory.migrations import (
    HEADER,
    STEPS,
    TABLE,
    Header,
    check_header,
    episode_schema,
    migrate,
    read_header,
    write_header,
)
from crucible.types import Episode, Hit

if TYPE_CHECKING:
    from lancedb.table import Table

logger = logging.getLogger(__name__)

KIND = "episode"
MAX_TEXT = 2000
"""Characters of a task's prompt in a Hit; the episode has it whole."""
LOCK_TIMEOUT_S = 60.0
COMPACT_EVERY = 50
"""Adds between compactions. Each add leaves one small file, and a search opens every one of them."""
KEEP_VERSIONS = timedelta(hours=1)
"""Longer than any reader holds on to a version of the table that a writer has replaced."""
_HIT_COLUMNS = ["episode_id", "kind", "title", "prompt", "code", "solved", "created", "record", "_distance"]


class MemoryStore:
    """Implements `EpisodeStore`. Opens on first use, and again on use after `close`. Thread-safe."""

    def __init__(self, path: Path | None = None, encoder: Encoder | None = None) -> None:
        """path: the store's folder, default `episodes` under Crucible's home; made by the first `add`.
        encoder: default all-MiniLM-L6-v2, loaded when first needed."""
        self.path = path or find_paths().episodes
        self._encoder: Encoder = encoder or MiniLM()
        self._table: Table | None = None
        self._guard = threading.RLock()

    # ------------------------------------------------------------- the contract

    def add(self, episode: Episode) -> None:
        """Write durably; the same episode_id is replaced. Raises StoreError."""
        with translated("open", self.path):
            table = self._open(create=True)
        row = self._row(episode)
        import pyarrow as pa

        with translated("write to", self.path), self._writing():
            began = time.time()
            rows = pa.Table.from_pylist([row], schema=episode_schema(self._encoder.dimension))
            merge = table.merge_insert("episode_id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows)
            _flush(self.path / f"{TABLE}.lance", since=began)
            self._compact_if_due(table)

    def get(self, episode_id: str) -> Episode | None:
        with translated("read", self.path):
            table = self._open()
            if table is None:
                return None
            quoted = episode_id.encode("utf-8", "replace").decode("utf-8").replace("'", "''")
            found = table.search().where(f"episode_id = '{quoted}'").select(["record"]).limit(1).to_list()
        if not found:
            return None
        try:
            return Episode.model_validate_json(found[0]["record"])
        except ValidationError as error:
            raise damaged(self.path, f"episode {episode_id!r} cannot be read") from error

    def episodes(self) -> Iterator[Episode]:
        """Every episode, in no particular order; a few at a time are held. Raises StoreError."""
        with translated("read", self.path):
            table = self._open()
            if table is None:
                return
            batches = table.search().select(["record"]).limit(table.count_rows() or 1).to_batches(64)
            for batch in batches:
                for record in batch.column("record").to_pylist():
                    try:
                        yield Episode.model_validate_json(record)
                    except ValidationError as error:
                        raise damaged(self.path, "an episode cannot be read") from error

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
        """The k nearest episodes, best first, equally near ones newest first; [] from an empty store.

        Of those with the same task text and the same code only the newest is given. solved: True for solved
        ones only, False for unsolved ones only."""
        with translated("read", self.path):
            table = self._open()
            if table is None or k <= 0 or table.count_rows() == 0:
                return []
        vector = self._encoder.encode([query])[0]
        wanted = 4 * k  # more than asked for, as some will be the same program for the same task
        while True:
            with translated("read", self.path):
                search = table.search(vector, query_type="vector").distance_type("cosine")
                if solved is not None:
                    search = search.where(f"solved = {str(solved).lower()}", prefilter=True)
                rows = search.select(_HIT_COLUMNS).limit(wanted).to_list()
            hits = _distinct(rows)
            if len(hits) >= k or len(rows) < wanted:
                return hits[:k]
            wanted *= 4

    def stats(self) -> MemoryStats:
        with translated("read", self.path):
            table = self._open()
            header = read_header(self.path)
            episodes = table.count_rows() if table is not None else 0
            tasks: set[str] = set()
            if table is not None and episodes:
                columns = table.search().select(["task_id"]).limit(episodes).to_arrow()
                tasks = set(columns["task_id"].to_pylist())
            return MemoryStats(
                episodes=episodes,
                solved=table.count_rows("solved = true") if table is not None else 0,
                tasks=len(tasks),
                bytes=_size(self.path),
                path=str(self.path),
                schema_version=header.schema_version if header else len(STEPS),
                encoder=self._encoder.name,
            )

    def close(self) -> None:
        with self._guard:
            self._table = None

    # ------------------------------------------------------------- beyond the contract

    def warm(self) -> None:
        """Load the encoder in the background, so that the first search or add need not wait for it."""
        if isinstance(self._encoder, MiniLM):
            self._encoder.warm()

    def compact(self) -> None:
        """Merge small files and drop versions of the table that no reader can be using. Loses no episode."""
        with translated("compact", self.path):
            table = self._open()
            if table is not None:
                with self._writing():
                    self._compact(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------- how

    def _open(self, *, create: bool = False) -> Any:  # noqa: ANN401
        """The table; None where there is no store yet and none is to be made."""
        with self._guard:
            if self._table is not None and not (self.path / HEADER).exists():
                self._table = None  # someone moved the folder away: begin anew instead of failing for good
            if self._table is None:
                header = read_header(self.path)
                if header is None and not create:
                    return None
                self._table = self._connect(header)
            return self._table

    def _connect(self, header: Header | None) -> Table:
        import lancedb

        if header is None:
            self.path.mkdir(parents=True, exist_ok=True)
        else:
            check_header(self.path, header, encoder=self._encoder.name)
        # Interval 0: every read asks for the latest version, so other processes' episodes are seen at once.
        db = lancedb.connect(self.path, read_consistency_interval=timedelta(0))
        if header is None or header.schema_version < len(STEPS):
            with self._writing():
                header = read_header(self.path)  # another process may have been faster
                if header is None:
                    header = Header(schema_version=0, encoder=self._encoder.name, dimension=self._encoder.dimension)
                    write_header(self.path, header)
                check_header(self.path, header, encoder=self._encoder.name)
                migrate(self.path, db, header)
        return db.open_table(TABLE)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """The one writer's turn, among threads and processes. The system gives a killed process's turn on."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / "write.lock", timeout=LOCK_TIMEOUT_S, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"the episode store at {self.path} was in use by another process for {LOCK_TIMEOUT_S:g} s: "
                "wait for it to end or stop it"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _row(self, episode: Episode) -> dict[str, Any]:
        task = episode.task
        try:
            record = episode.model_dump_json()
            Episode.model_validate_json(record)
        except ValueError as error:  # better now than when the episode is wanted
            raise StoreError(
                f"episode {episode.episode_id!r} cannot be stored: it holds what JSON cannot (NaN, infinity "
                "or half a surrogate pair)"
            ) from error
        return {
            "episode_id": episode.episode_id,
            "task_id": task.id,
            "kind": KIND,
            "title": task.title,
            "prompt": task.prompt,
            "code": episode.code,
            "solved": episode.status == "solved",
            "status": episode.status,
            "created": episode.created,
            "vector": self._encoder.encode([task.text])[0].tolist(),
            "record": record,
        }

    def _compact_if_due(self, table: Table) -> None:
        """The episode is stored by now: a failure here costs speed, so it is logged and not raised."""
        try:
            if table.version % COMPACT_EVERY == 0:  # every add makes one version, whichever process adds
                self._compact(table)
        except (OSError, RuntimeError, ValueError) as error:
            logger.warning("could not compact the episode store at %s: %s", self.path, error)

    def _compact(self, table: Table) -> None:
        began = time.time()
        table.optimize(cleanup_older_than=KEEP_VERSIONS)
        _flush(self.path / f"{TABLE}.lance", since=began)


def _distinct(rows: list[dict[str, Any]]) -> list[Hit]:
    rows.sort(key=lambda row: (row["_distance"], -row["created"]))
    seen: set[tuple[str, str, str]] = set()
    hits = []
    for row in rows:
        identity = (row["title"], row["prompt"], row["code"])
        if identity in seen:
            continue
        seen.add(identity)
        hits.append(
            Hit(
                episode_id=row["episode_id"],
                score=max(-1.0, min(1.0, 1.0 - row["_distance"])),
                kind=row["kind"],
                title=row["title"],
                text=row["prompt"][:MAX_TEXT],
                code=row["code"],
                solved=row["solved"],
                created=row["created"],
                trust=_trust(row["record"]),
            )
        )
    return hits


def _trust(record: str) -> Literal["full", "claimed", "low", ""]:
    """`Episode.trust`, read from its record without the rest of it."""
    found = json.loads(record)
    decisive = found.get("hidden_verdict") or found.get("verdict") or {}
    trust: Literal["full", "claimed", "low", ""] = decisive.get("trust", "full" if decisive else "")
    return trust


def _flush(folder: Path, *, since: float) -> None:
    """fsync what was written under `folder` since then, and the folders that name it."""
    for place in (folder / "data", folder / "_transactions", folder / "_versions"):
        if not place.is_dir():
            continue
        # A file's time is that of the last clock tick, not of the write: a second more misses none.
        recent = [path for path in place.iterdir() if path.stat().st_mtime >= since - 1.0]
        for path in (*recent, place):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
