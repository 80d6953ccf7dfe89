"""HumanEval's form: {task_id, prompt, entry_point, canonical_solution, test}; BigCodeBench and others use it too.

The solution continues the prompt. The visible tests are the doctests and asserts in it, which the judge finds by itself.
"""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.problem import Problem
from crucible.types import HiddenTests, Task

NAMES = {"HumanEval": "humaneval", "MBPP": "mbpp", "BigCodeBench": "bigcodebench"}


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"task_id", "prompt", "entry_point", "test"} and "completion" not in row


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    prompt, entry, test = fields.required("prompt"), fields.required("entry_point"), fields.required("test")
    solution = fields.text("canonical_solution")
    call = f"\ncheck({entry})\n" if "def check(" in test else ""
    return Problem(
        task=Task(
            id=fields.word("task_id"),
            title=entry,
            prompt=prompt,
            entry_point=entry,
            source=NAMES.get(fields.word("task_id").partition("/")[0], ""),
        ),
        hidden=HiddenTests(tests=test + call),
        solutions=(prompt + solution,) if solution.strip() else (),
        origin=origin,
    )
