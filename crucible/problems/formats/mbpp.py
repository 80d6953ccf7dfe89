"""Google's MBPP: {task_id, text (or prompt), code, test_list, test_setup_code}. The first assert is visible, all of them decide."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.formats.tests import parse
from crucible.problems.problem import Problem
from crucible.security.judge.suite import parse_suite
from crucible.types import HiddenTests, Task


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"task_id", "test_list", "code"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    asserts = fields.texts("test_list")
    if not asserts:
        raise fields.error("test_list", "is empty")
    setup = fields.text("test_setup_code") or "\n".join(fields.texts("test_imports"))
    setup = f"{setup}\n" if setup.strip() else ""
    visible = _lines(setup + asserts[0] + "\n")
    hidden = _lines(setup + "\n".join(asserts) + "\n")
    for tests in (visible, hidden):
        parse(tests, origin, "test_list")
    entry = parse_suite(Task(prompt="", tests=visible)).entry_point
    return Problem(
        task=Task(
            id=f"MBPP/{fields.word('task_id')}",
            title=entry or "",
            prompt=fields.required("text" if "text" in row else "prompt"),
            entry_point=entry,
            tests=visible,
            source="mbpp",
        ),
        hidden=HiddenTests(tests=hidden),
        solutions=(_lines(fields.required("code")) + "\n",),
        origin=origin,
    )


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
