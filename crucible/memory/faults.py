"""What a store's failures mean to a user, in one line. Nothing is ever deleted to get past one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible.errors import StoreError

_CAUSES = (
    (("no space left", "disk quota"), "the disk is full; free some space and try again"),
    (
        ("permission denied", "read-only file system", "not permitted"),
        "it is not writable or readable for you",
    ),
    (("not a directory", "file exists"), "something that is not a folder is in its place; move it away"),
    (("too many open files",), "the process has too many files open; raise the limit (ulimit -n)"),
)


@contextmanager
def translated(doing: str, path: Path) -> Iterator[None]:
    """Turn what LanceDB and the file system raise into a StoreError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(f"cannot {doing} the episode store at {path}: {_cause(error)}") from error


def damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"the episode store at {path}: {_damaged(what)}")


def _cause(error: Exception) -> str:
    text = str(error)
    for marks, cause in _CAUSES:
        if any(mark in text.lower() for mark in marks):
            return cause
    # Without the place in LanceDB's source that its messages end with.
    first = re.sub(r",? ?\S+\.rs:\d+:\d+", "", text.strip().partition("\n")[0])
    return _damaged(first.removeprefix("lance error: ")[:200])


def _damaged(what: str) -> str:
    return (
        f"it is damaged ({what}). Nothing was deleted: restore the folder from a backup, "
        "or move it away to begin a new store"
    )
