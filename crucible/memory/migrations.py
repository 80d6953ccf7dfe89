"""The store's format: a header file with its version, and the numbered steps that lead to the present one.

`store.json` beside the table says which step the store has reached and whose vectors it holds. A step
runs under the writers' lock and must be safe to run twice: a process killed between a step and its entry in
the header leaves the step to the next one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from crucible.errors import StoreError
from crucible.memory.faults import damaged
from crucible.types import Frozen

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb import DBConnection

HEADER = "store.json"
TABLE = "episodes"


class Header(Frozen):
    """The content of `store.json`. schema_version 0: the store was begun and not finished."""

    schema_version: int = Field(ge=0)
    encoder: str
    dimension: int = Field(ge=1)


Step = Callable[["DBConnection", Header], None]


def episode_schema(dimension: int) -> pa.Schema:
    """Version 1 of the table. `record` is the whole Episode as JSON; the rest is what queries look at."""
    import pyarrow as pa

    fields: list[tuple[str, Any]] = [
        ("episode_id", pa.string()),
        ("task_id", pa.string()),
        ("kind", pa.string()),
        ("title", pa.string()),
        ("prompt", pa.string()),
        ("code", pa.string()),
        ("solved", pa.bool_()),
        ("status", pa.string()),
        ("created", pa.float64()),
        ("vector", pa.list_(pa.float32(), dimension)),
        ("record", pa.large_string()),
    ]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


def _create_episodes(db: DBConnection, header: Header) -> None:
    db.create_table(TABLE, schema=episode_schema(header.dimension), exist_ok=True)


STEPS: tuple[Step, ...] = (_create_episodes,)
"""Step n leads from version n to n + 1. Add at the end; never change one that was released."""


def read_header(folder: Path) -> Header | None:
    """The store's header; None where there is no store. Raises StoreError for one that cannot be read."""
    try:
        text = (folder / HEADER).read_text(encoding="utf-8")
    except FileNotFoundError:
        if (folder / f"{TABLE}.lance").exists():
            raise damaged(folder, f"{HEADER} is missing") from None
        return None
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        raise damaged(folder, f"{HEADER} cannot be read") from error


def check_header(folder: Path, header: Header, *, encoder: str, known: int = len(STEPS)) -> None:
    """Refuse a store of the future and one whose vectors mean something else."""
    if header.schema_version > known:
        raise StoreError(
            f"the episode store at {folder} was written by a newer Crucible (schema version "
            f"{header.schema_version}, this one knows {known}): upgrade Crucible"
        )
    if header.encoder != encoder:
        raise StoreError(
            f"the episode store at {folder} holds vectors of {header.encoder}, which {encoder} cannot "
            "search: use that encoder or another folder"
        )


def migrate(folder: Path, db: DBConnection, header: Header, steps: Sequence[Step] = STEPS) -> Header:
    """Run the steps the store lacks, each followed by its entry in the header. The caller holds the lock."""
    while header.schema_version < len(steps):
        steps[header.schema_version](db, header)
        header = header.model_copy(update={"schema_version": header.schema_version + 1})
        write_header(folder, header)
    return header


def write_header(folder: Path, header: Header) -> None:
    """Atomic: a reader sees the old header or the new one, also after a crash."""
    temporary = folder / f"{HEADER}.new"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(header.model_dump(), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / HEADER)
