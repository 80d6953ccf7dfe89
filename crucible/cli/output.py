"""Where output goes: results to stdout, everything said along the way to stderr. Both neutralise hostile text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Self

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
    from crucible.text import printable

    stderr().print(printable(message), markup=False, soft_wrap=True)


def print_json(data: Any) -> None:  # noqa: ANN401
    """One JSON document to stdout. Non-ASCII is escaped, so that no terminal acts on it."""
    sys.stdout.write(json.dumps(data, ensure_ascii=True, indent=2) + "\n")


def print_program(code: str) -> None:
    """A program to stdout, as the UTF-8 that Python reads, whatever the stream's encoding; coloured on a terminal."""
    from crucible.text import printable

    if stdout().is_terminal:
        from rich.syntax import Syntax

        stdout().print(Syntax(printable(code), "python", background_color="default"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(code.encode("utf-8", "backslashreplace"))


def fail(message: str, code: int, *, as_json: bool) -> None:
    """An error: one line to stderr; with --json also as a document on stdout."""
    from crucible.text import printable

    if as_json:
        print_json({"status": "error", "error": printable(message), "exit_code": code})
    sys.stderr.write(f"error: {printable(message)}\n" if code != 130 else f"{message}\n")


def progress_bar(title: str) -> tuple[Callable[[int, int, str], None], Callable[[], None]]:
    """(update(done, total, note), close): a bar on a terminal, a line every ten percent elsewhere."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    if not stderr().is_terminal:
        shown = [-1]

        def line(done: int, total: int, note: str) -> None:
            tenth = 10 * done // total if total else 0
            if total and tenth > shown[0]:  # 0: the size is not known
                shown[0] = tenth
                say(f"{title}: {10 * tenth} % of {total / 1e6:.0f} MB {note}".rstrip())

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
    from crucible.text import one_line

    task = bar.add_task(one_line(title), total=None, note="")
    bar.start()
    return (
        lambda done, total, note: bar.update(task, completed=done, total=total or None, note=one_line(note)),
        bar.stop,
    )


class Left:
    """The remaining work of a count, in words, by the pace since the first call: what was done before cost nothing now."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def __call__(self, done: int, total: int, seconds: float) -> str:
        """seconds: since it began. Empty where there is no pace yet."""
        if self._first is None:
            self._first = (done, seconds)
            return ""
        begun, since = self._first
        if done <= begun or done >= total:
            return ""
        return f"{clock((seconds - since) / (done - begun) * (total - done))} left"


def clock(seconds: float) -> str:
    """A duration in words, to the minute."""
    minutes = round(seconds / 60)
    if not minutes:
        return "under a minute"
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"


class CountedBar:
    """A progress bar over a count, with a note, on a terminal; a line a minute elsewhere; nothing where `quiet`."""

    LINE_EVERY_S = 60.0

    def __init__(self, what: str, *, quiet: bool, note: str = "") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._said, self._quiet = 0.0, quiet
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=stderr(),
            disable=quiet or not stderr().is_terminal,
        )
        self._task = self._bar.add_task(what, total=None, note=note)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def show(self, what: str, done: int, total: int, seconds: float, note: str) -> None:
        """seconds: since it began, for what is not a terminal."""
        self._bar.update(self._task, description=what, completed=done, total=total, note=note)
        if self._bar.disable and not self._quiet and (done == total or seconds - self._said >= self.LINE_EVERY_S):
            self._said = seconds
            say(f"{done}/{total} {what}{', ' if note else ''}{note}")
