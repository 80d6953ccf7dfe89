"""What a task's visible tests are, as a person sees them before the run, and what looked like one and could not be read."""

from __future__ import annotations

import re
from typing import NamedTuple

from crucible.errors import InputError
from crucible.security.judge import words
from crucible.security.judge.asked import Case
from crucible.security.judge.suite import parse_suite
from crucible.types import Task

_READS_STDIN = re.compile(r"\b(?:stdin|standard input|input\(\))", re.I)


class Visible(NamedTuple):
    """`visible_tests`: one line each. `unread`: texts of the prompt."""

    visible_tests: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def visible(task: Task) -> Visible:
    """Raises InputError for tests that do not parse."""
    suite = parse_suite(task)
    keys = [text for each in suite.statements for _, text in each.cases]
    shown = (*(_shown(case) for case in suite.cases), *(" ".join(text.split())[: words.MAX_SHOWN] for text in keys))
    if task.tests.strip() or task.examples:
        return Visible(shown)
    return Visible(shown, words.read(task.prompt, task.entry_point).unread)


def has_tests(task: Task) -> bool:
    try:
        return parse_suite(task).total > 0
    except InputError:
        return True


def with_entry_point(task: Task) -> Task:
    """`task` with the function that its words or tests name, where its author named none. A program that reads stdin has none."""
    if task.entry_point is not None or task.examples or _READS_STDIN.search(task.prompt):
        return task
    found = words.read(task.prompt).entry_point
    if found is None and task.tests.strip():
        found = parse_suite(task).entry_point
    return task.model_copy(update={"entry_point": found}) if found else task


def _shown(case: Case) -> str:
    if raises := getattr(case, "raises", None):
        return f"{case.shown} raises {raises}"
    return f"{case.shown} == {case.expected!r}"[: words.MAX_SHOWN]
