"""A note of the server that `crucible models serve` runs, so that other commands find it without being told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from crucible.storage.files import write_atomically
from crucible.types import Frozen


class Served(Frozen):
    """A running server. The file holds its key and is readable by its owner alone."""

    engine: str
    model: str
    sha256: str | None
    """Of the model file."""
    adapter: str | None = None
    lora: bool = False
    """Whether the adapter lies beside the weights, and requests name it; else it is merged into them."""
    url: str
    api_key: str
    pid: int
    """Of the command that serves; the server ends with it."""


@contextmanager
def announced(note: Path, served: Served) -> Iterator[None]:
    """Leaves the note while the block runs. A later one replaces an earlier one's."""
    note.parent.mkdir(parents=True, exist_ok=True)
    note.touch(mode=0o600)
    write_atomically(note, served.model_dump_json() + "\n")
    try:
        yield
    finally:
        if find(note) == served:
            note.unlink(missing_ok=True)


def find(note: Path) -> Served | None:
    """Return what is served, None where nothing is: no note, a damaged one, or one whose command has ended."""
    try:
        served = Served.model_validate_json(note.read_bytes())
        os.kill(served.pid, 0)
    except (OSError, ValidationError):
        return None
    return served
