"""LeetCodeDataset's own form: {task_id, prompt (imports), query, completion, entry_point, test, meta}.

Visible are as many of the first asserts as the statement shows examples."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.formats.tests import check_asserts, examples_in, parse, with_preamble
from crucible.problems.problem import Problem
from crucible.types import HiddenTests, Task


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"task_id", "completion", "entry_point", "test", "query"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    meta = Fields(fields.typed("meta", dict) or {}, origin)
    entry, test, preamble = fields.required("entry_point"), fields.required("test"), fields.text("prompt")
    statement = meta.text("question_title") or meta.text("question") or fields.required("query")
    starter = meta.text("lang_code") or meta.text("starter_code")
    visible = check_asserts(parse(test, origin, "test"), entry, examples_in(statement))
    return Problem(
        task=Task(
            id=f"LeetCode/{fields.word('task_id')}",
            title=fields.word("task_id"),
            prompt=f"{statement.rstrip()}\n\n{starter}\n" if starter else statement,
            entry_point=entry,
            tests=with_preamble(preamble, visible),
            preamble=preamble,
            difficulty=meta.word("difficulty") or fields.word("difficulty"),
            source="leetcode",
        ),
        hidden=HiddenTests(tests=with_preamble(preamble, f"{test.rstrip()}\n\n\ncheck({entry})\n")),
        solutions=(fields.required("completion"),),
        tags=meta.texts("tags"),
        origin=origin,
    )
