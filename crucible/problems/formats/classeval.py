"""ClassEval: {task_id, skeleton, solution_code, test, class_name}: a whole class, hidden unittest source, nothing visible."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.problem import Problem
from crucible.types import HiddenTests, Task


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"task_id", "skeleton", "solution_code", "test", "class_name"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    name = fields.required("class_name")
    task = Task(
        id=fields.required("task_id"),
        title=name,
        prompt=fields.required("skeleton"),
        entry_point=name,
        source="classeval",
    )
    return Problem(
        task=task,
        hidden=HiddenTests(tests=fields.required("test")),
        solutions=(fields.required("solution_code"),),
        origin=origin,
    )
