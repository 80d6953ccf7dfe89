"""The three standard streams, made fit for every command: closed, full, broken, non-blocking or narrow ones.

Standard output holds results: a failed write raises OutputError, so that the exit code tells. Standard error holds what
is said along the way: a failed write is dropped, because no work may end for it. A character that the stream's encoding
lacks is written as a backslash escape.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

from crucible.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2


def prepare() -> None:
    """Replace `sys.stdin`, `sys.stdout` and `sys.stderr`. Call before anything opens a file."""
    _occupy(STDIN, os.O_RDONLY)
    _occupy(STDOUT, os.O_RDONLY)  # a write fails and is noticed: "Bad file descriptor"
    _occupy(STDERR, os.O_WRONLY)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    else:
        sys.stdin = open(STDIN, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - lives as long as we
    sys.stdout = _text(_Output(STDOUT, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Notes(STDERR, "w", closefd=False), sys.stderr, lines=True)


def abandon() -> None:
    """Send what is left for standard output nowhere: a write failed, and Python would try again as it ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)


class _Output(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            written = super().write(data)
            while written is None:  # somebody made the pipe non-blocking, and its reader is slow
                select.select([], [self.fileno()], [])
                written = super().write(data)
        except BrokenPipeError:  # the reader went away: `main` knows what to do
            raise
        except OSError as error:
            raise OutputError(f"cannot write the output: {error.strerror}") from error
        return written


class _Notes(io.FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        try:
            return super().write(data) or size
        except OSError:  # there is nobody to tell
            return size


def _text(raw: io.FileIO, before: object, *, lines: bool = False) -> io.TextIOWrapper:
    """before: the stream Python made, None where the descriptor was closed."""
    old = before if isinstance(before, io.TextIOWrapper) else None
    unbuffered = old is not None and (old.line_buffering or old.write_through)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding if old is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=lines or unbuffered,
    )


def _occupy(descriptor: int, flags: int) -> None:
    """Open the null device under a standard number that is closed, or the next file opened would get that number."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)
