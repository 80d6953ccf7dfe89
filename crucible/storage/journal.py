"""A file of JSON lines that is only ever added to, each line on the disk before the next thing is done.

A line that was cut off by a kill is none: it is dropped when the file is opened. One process at a time: the caller holds
the folder (`held`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Self, TypeVar

from filelock import FileLock, Timeout
from pydantic import ValidationError

from crucible.errors import InputError, StoreError
from crucible.types import Frozen

R = TypeVar("R", bound=Frozen)


def read(path: Path, kind: type[R]) -> list[R]:
    """The records of `path`; none where there is no such file. Raises InputError for a line that is no record."""
    if not path.exists():
        return []
    *whole, _cut = path.read_bytes().split(b"\n")  # what follows the last line end was cut off, or is nothing
    found = []
    for number, line in enumerate(whole, 1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            one = error.errors()[0]
            where = ".".join(map(str, one["loc"]))
            raise InputError(f"{path}, line {number}: {where}: {one['msg']}; remove the line, or the folder") from error
    return found


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make `folder` and hold it; the kernel lets it go however this process ends. Raises InputError if another process
    works on it, StoreError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"{folder} is being worked on by another process") from error
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


class Journal(Generic[R]):
    """`records`: what is in the file, in its order."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self.records = read(path, kind)
        try:
            self._file = path.open("ab")
            self._file.truncate(path.read_bytes().rfind(b"\n") + 1)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error

    def add(self, record: R) -> None:
        """On the disk when this returns. Raises StoreError."""
        try:
            self._file.write(json.dumps(record.model_dump(mode="json"), ensure_ascii=True).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(
                f"cannot write {self._file.name}: {error.strerror}; free some space, then run it again"
            ) from error
        self.records.append(record)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
