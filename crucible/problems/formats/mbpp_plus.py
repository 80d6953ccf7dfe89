"""EvalPlus' MBPP+: {task_id "Mbpp/…", prompt, entry_point, canonical_solution, base_input, plus_input, assertion, atol}.

The answers to its inputs are not in the file. `read` takes the base tests from `assertion`, which costs nothing. `completed`
runs the reference solution in the sandbox on every input, and so makes hidden cases of all. That costs about a hundred calls
a problem, 0.3 s on average and 10 s at most, so it is done for the chosen problems only, and when asked (`load(…, plus=True)`).

JSON has no tuples, sets or dictionaries with other keys than text; the types that inputs have are those that the arguments
in `assertion` have at the same place.
"""

from __future__ import annotations

import ast
from typing import Any

from crucible.languages.python import syntax
from crucible.problems.fields import Fields
from crucible.problems.formats.tests import first_asserts, parse
from crucible.problems.problem import Problem
from crucible.security.base import Sandbox
from crucible.security.judge.candidate import LOST, Candidate
from crucible.security.sandbox.wire import Opaque
from crucible.types import Example, HiddenTests, Limits, Task

LIMITS = Limits(wall_s=30, cpu_s=30, memory_mib=2048)
ANSWERING = Limits(wall_s=10, cpu_s=10, memory_mib=2048)
"""For the reference solution on all inputs; a candidate may take three times as long."""
UNORDERED = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly",
    "larg_nnum", "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
"""Functions whose answers the maker compares as sets, whatever their asserts say (evalplus/eval/_special_oracle.py)."""
ANY_ORDER = "def check(args, kwargs, expected, actual):\n    return set(actual) == set(expected)\n"


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"task_id", "prompt", "entry_point", "base_input", "plus_input"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    entry, prompt = fields.required("entry_point"), fields.required("prompt")
    tree = parse(fields.required("assertion"), origin, "assertion")
    return Problem(
        task=Task(
            id=fields.required("task_id"),
            title=entry,
            prompt=prompt,
            entry_point=entry,
            tests=first_asserts(tree, 1),
            checker=ANY_ORDER if entry in UNORDERED else "",
            tolerance=fields.number("atol") if row.get("atol") else None,
            source="mbpp_plus",
        ),
        hidden=HiddenTests(tests=fields.required("assertion")),
        solutions=(fields.required("canonical_solution"),),
        origin=origin,
    )


def completed(problem: Problem, row: dict[str, Any], sandbox: Sandbox) -> tuple[Problem, tuple[str, ...]]:
    """`problem` with the inputs of its row as hidden cases, and what is to be said: inputs on which the reference solution
    fails, or whose answer is too large to compare, are left out. One whose answers are no plain values stays as it is.

    Raises InputError for a solution that does not load, SandboxUnavailableError."""
    fields = Fields(row, problem.origin)
    entry = problem.task.entry_point or ""
    inputs = [*(fields.typed("base_input", list) or []), *(fields.typed("plus_input", list) or [])]
    likes = _arguments(fields, entry)
    cases: list[Example] = []
    why = ""
    with Candidate(sandbox, problem.solutions[0], ANSWERING) as candidate:
        reply = candidate.load()
        if reply.status != "pass":
            raise fields.error("canonical_solution", f"does not load: {reply.message}")
        for number, values in enumerate(inputs, 1):
            if not isinstance(values, list):
                raise fields.error("plus_input", f"must be lists of arguments; input {number} is not")
            args = [
                _shaped(value, [like[place] for like in likes if place < len(like)])
                for place, value in enumerate(values)
            ]
            reply = candidate.call(entry, tuple(args), {})
            if isinstance(reply.value, Opaque):
                return problem, (f"{problem.origin}: its answers are no plain values; it keeps its base tests",)
            if reply.status == "pass":
                cases.append(Example(input=args, output=reply.value))
                continue
            why = reply.message
            if reply.status in LOST:
                break
    left_out = len(inputs) - len(cases)
    notes = (f"{problem.origin}: {left_out} of {len(inputs)} inputs left out: {why}",) if left_out else ()
    return problem.model_copy(update={"hidden": HiddenTests(examples=tuple(cases), limits=LIMITS)}), notes


def _arguments(fields: Fields, entry: str) -> list[Any]:
    """The literal arguments of the calls in `assertion`."""
    found = []
    for node in ast.walk(parse(fields.required("assertion"), fields.origin, "assertion")):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry:
            try:
                found.append([syntax.literal(argument) for argument in node.args])
            except ValueError:
                continue
    return found


def _shaped(value: Any, likes: list[Any], kind: type = list) -> Any:  # noqa: ANN401
    """`value` with tuples and sets for lists where `likes`, values at the same place, have them. kind: what it is where
    there are none: as the list around it."""
    if not isinstance(value, list):
        return value
    alike = [like for like in likes if isinstance(like, tuple | set | list)]
    kind = type(alike[0]) if alike else kind
    fixed = [like for like in alike if isinstance(like, tuple) and len(like) == len(value)]
    inner = [each for like in alike for each in like]
    within = tuple if kind is set else kind  # what is in a set must be hashable
    return kind(_shaped(each, [like[n] for like in fixed] or inner, within) for n, each in enumerate(value))
