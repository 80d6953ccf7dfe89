"""Where output goes: results to stdout, everything said along the way to stderr. Both neutralise hostile text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucible.errors import InputError, StoreError

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stdout() -> Console:
    from rich.console import Console

    return Console(highlight=False)


@cache
def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def say(message: str) -> None:
    """One line to stderr, shown as it is: no markup, no control characters."""
    from crucible.security.text import printable

    stderr().print(printable(message), markup=False, soft_wrap=True)


def print_json(data: Any) -> None:  # noqa: ANN401
    """One JSON document to stdout. Non-ASCII is escaped, so that no terminal acts on it."""
    sys.stdout.write(json.dumps(data, ensure_ascii=True, indent=2) + "\n")


def fail(message: str, code: int, *, as_json: bool) -> None:
    """An error: one line to stderr; with --json also as a document on stdout."""
    from crucible.security.text import printable

    if as_json:
        print_json({"status": "error", "error": printable(message), "exit_code": code})
    sys.stderr.write(f"error: {printable(message)}\n" if code != 130 else f"{message}\n")


def write_atomically(path: Path, text: str) -> None:
    """All of `text` or the old file, never half of it. Raises InputError for a bad place, StoreError for no space."""
    import os
    import tempfile

    if path.is_dir():
        raise InputError(f"--out {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}")
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}; the solution is kept in memory's episode") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def progress_bar(title: str) -> tuple[Callable[[int, int, str], None], Callable[[], None]]:
    """(update(done, total, note), close): a bar on a terminal, a line every ten percent elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if not stderr().is_terminal:
        shown = [-1]

        def line(done: int, total: int, note: str) -> None:
            tenth = 10 * done // total if total else 0
            if tenth > shown[0]:
                shown[0] = tenth
                say(f"{title}: {10 * tenth} % of {total / 1e6:.0f} MB {note}")

        return line, lambda: None
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=stderr(),
    )
    from crucible.security.text import one_line

    task = bar.add_task(one_line(title), total=None, note="")
    bar.start()
    return (
        lambda done, total, note: bar.update(task, completed=done, total=total or None, note=one_line(note)),
        bar.stop,
    )
