"""Published problem files: one module a form, each with `matches(row)` and `read(row, origin)`.

What the loop may see and what only the judge may is decided here, once for every form: nothing of the hidden tests is in a
Task.
"""

from __future__ import annotations

from typing import Any

from crucible.problems import native_format as own
from crucible.problems.fields import ProblemError, first_problem
from crucible.problems.formats import classeval, contest, cruxeval, humaneval, leetcode, mbpp, mbpp_plus, puzzles, rows
from crucible.problems.native_format import Reading

FORMS = (rows, mbpp_plus, leetcode, humaneval, mbpp, contest, classeval, cruxeval, puzzles)


def read(row: Any, origin: str, *, plus: bool = False, visible_cases: int | None = None) -> Reading:  # noqa: ANN401
    """One entry of a file, in the published form it has or else in Crucible's own. Raises InputError.

    plus: with the further hidden tests of sets that have such (`tests_plus`), which take longer. visible_cases: see `own.read`."""
    form = next((form for form in FORMS if form.matches(row)), None) if isinstance(row, dict) else None
    if form is None:
        return own.read(row, origin, visible_cases=visible_cases)
    try:
        return Reading(rows.read(row, origin, plus=plus) if form is rows else form.read(row, origin))
    except ValueError as error:  # a limit out of range, a text that cannot be written out
        field, reason = first_problem(error)
        raise ProblemError(origin, field or "problem", f"cannot be read: {reason}") from error
