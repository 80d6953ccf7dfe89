"""One object a line, the same fields for every published set: id, source, prompt, tests, canonical_solution, task_type, …

`tests` are hidden; what may be visible of them depends on the set they come from:

    mbpp                       the first assert, which the prompt shows too; all are hidden tests
    leetcode*, debugbench      as many of the first asserts as the statement shows examples; all are hidden tests
    exercism                   the first third of the test methods, at least one, unless they need data that holds the
                               answers; all are hidden tests
    puzzles                    all: the puzzle is its test
    others                     none but the doctests in the prompt, which the judge finds by itself
"""

from __future__ import annotations

import ast
import re
from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.formats.tests import (
    check_asserts,
    examples_in,
    first_asserts,
    first_methods,
    is_expression,
    parse,
    with_preamble,
)
from crucible.problems.problem import Problem
from crucible.types import HiddenTests, Limits, Rule, Task

BASE = {"id", "source", "language", "title", "prompt", "entry_point", "tests", "canonical_solution", "difficulty"}
SLOW = Limits(wall_s=30, cpu_s=30, memory_mib=2048)
"""For tests_plus, and for tests whose reference solution alone takes seconds."""
SLOW_S = 3.0

_SHIM = re.compile(r'\A.*?_s\.modules\["pytest"\] = _p\n', re.S)
"""What Exercism's rows put before the author's tests so that they run in one process; ours need it for marks alone."""


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= BASE or row.keys() >= {"task_type", "prompt", "tests", "canonical_solution"}


def read(row: dict[str, Any], origin: str, *, plus: bool = False) -> Problem:
    fields = Fields(row, origin)
    if row.get("task_type") == "output_prediction":
        return _prediction(fields)
    source, meta = fields.word("source"), fields.typed("meta", dict) or {}
    tests, preamble = fields.text("tests").replace("\r\n", "\n"), fields.text("preamble")
    entry = fields.text("entry_point").strip() or None
    if entry is not None and not is_expression(entry):
        raise fields.error("entry_point", f"{entry!r:.60} is no name of a function or method")
    prompt, solution, visible = fields.required("prompt"), fields.text("canonical_solution"), ""
    buggy = fields.text("buggy_solution") or Fields(meta, origin).text("buggy_solution")
    if buggy:
        prompt = f"{prompt.rstrip()}\n\nThe program to repair:\n\n```python\n{_without_docstring(buggy)}\n```\n"
    if row.get("suffix"):
        suffix = fields.text("suffix")
        prompt, solution = _infill(prompt, suffix), prompt + solution + suffix
    shared = preamble
    limits = SLOW if _seconds(meta, "canonical_seconds") > SLOW_S else None
    if fields.word("language") in ("", "python") and tests.strip():
        tree = parse(tests, origin, "tests")
        parse(preamble, origin, "preamble")
        if source == "mbpp":
            visible = first_asserts(tree, 1)
        elif "exercism" in source:
            entry = _imported(tree, entry)
            if preamble:  # the tests' data, answers among them
                shared = _modules_of(preamble, solution)
            else:
                visible = first_methods(_authors(tests), parse(_authors(tests), origin, "tests"))
        elif row.get("task_type") == "puzzle":
            visible = with_preamble(preamble, tests)
        elif "leetcode" in source or "debugbench" in source:
            asserts = check_asserts(tree, entry or "candidate", shown) if (shown := examples_in(prompt)) else ""
            visible = with_preamble(preamble, asserts or first_asserts(tree, shown))
    if plus and row.get("tests_plus"):
        tests, limits = f"{tests}\n{fields.text('tests_plus')}", SLOW
    task = Task(
        id=fields.required("id"),
        title=fields.text("title"),
        prompt=prompt,
        language=fields.text("language") or "python",
        entry_point=entry,
        tests=visible,
        preamble=shared,
        difficulty=fields.word("difficulty"),
        source=source,
        limits=limits or Limits(),
    )
    return Problem(
        task=task,
        hidden=HiddenTests(tests=with_preamble(preamble, tests), limits=limits),
        solutions=(solution,) if solution.strip() else (),
        mutants=(buggy,) if buggy else (),
        tags=tuple(name for name in ("any_answer_order",) if meta.get(name)),
        origin=origin,
    )


def _prediction(fields: Fields) -> Problem:
    """What does this function return? Answered by a program that may not ask the function."""
    entry, cases = fields.required("entry_point"), fields.typed("tests", list) or []
    if len(cases) != 1 or not isinstance(cases[0], dict):
        raise fields.error("tests", "must be one {input, output} for output prediction")
    return prediction(fields, entry, fields.required("prompt"), Fields(cases[0], fields.origin).required("output"))


def prediction(fields: Fields, entry: str, prompt: str, output: str) -> Problem:
    answer = "Write a function answer() that returns this value, without calling or repeating the function."
    parse(output, fields.origin, "output")
    return Problem(
        task=Task(
            id=fields.required("id"),
            title=fields.text("title"),
            prompt=f"{prompt.rstrip()}\n\n{answer}\n",
            entry_point="answer",
            rules=(Rule(kind="forbid", what=f"call {entry}"),),
            source=fields.word("source"),
        ),
        hidden=HiddenTests(tests=f"assert answer() == ({output})\n"),
        solutions=(f"def answer():\n    return {output}\n",),
        origin=fields.origin,
    )


def _infill(prefix: str, suffix: str) -> str:
    return f"Write this program with the missing part at `...` filled in.\n\n```python\n{prefix}...\n{suffix}\n```\n"


def _authors(tests: str) -> str:
    bare = _SHIM.sub("", tests)
    return tests if "pytest" in bare else bare


def _imported(tree: ast.Module, module: str | None) -> str | None:
    """The one name that Exercism's tests import from the module to write; None where they are several."""
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == module]
    names = [alias.name for node in froms for alias in node.names]
    return names[0] if len(names) == 1 else None


def _modules_of(preamble: str, solution: str) -> str:
    """Of the modules that a preamble brings, one a line, those that the solution imports too."""
    lines = [(line, re.search(r"_s\.modules\['(\w+)'\] = _m\s*$", line)) for line in preamble.splitlines(keepends=True)]
    return "".join(line for line, name in lines if name and re.search(rf"^(from|import) {name[1]}\b", solution, re.M))


def _without_docstring(program: str) -> str:
    """QuixBugs' programs end in the text of their prompt."""
    return re.sub(r'\n"""\n[^"]*"""\s*\Z', "", program).strip("\n")


def _seconds(meta: dict[str, Any], name: str) -> float:
    value = meta.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
