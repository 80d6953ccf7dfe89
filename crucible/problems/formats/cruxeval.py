"""CRUXEval: {id, code, input, output}: what does f return? The answer is a program that gives it without calling f."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.formats.rows import prediction
from crucible.problems.problem import Problem


def matches(row: dict[str, Any]) -> bool:
    return row.keys() == {"id", "code", "input", "output"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    code = fields.required("code")
    prompt = f"{code.rstrip()}\n\n# What does f({fields.text('input')}) return?"
    return prediction(Fields({**row, "source": "cruxeval"}, origin), "f", prompt, fields.required("output"))
