"""Python programming puzzles (P3): {name, sat, sol_header, sol_docstring, sol_bodies}: find an input that `sat` accepts.

The puzzle is its test, so all is visible."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.problem import Problem
from crucible.types import HiddenTests, Task

IMPORTS = "from typing import *\n"


def matches(row: dict[str, Any]) -> bool:
    return row.keys() >= {"name", "sat", "sol_header", "sol_bodies"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    sat, head = fields.required("sat"), f"{fields.required('sol_header')}\n{fields.text('sol_docstring')}".rstrip()
    preamble = f"{IMPORTS}{sat.rstrip()}\n\n"
    tests = f"{preamble}\nassert sat(sol()) is True\n"
    return Problem(
        task=Task(
            id=f"P3/{fields.required('name')}",
            title=fields.required("name"),
            prompt=f"Find an input that makes sat(...) return True; write sol().\n\n{sat.rstrip()}\n\n{head}\n",
            entry_point="sol",
            tests=tests,
            preamble=preamble,
            source="python_puzzles",
        ),
        hidden=HiddenTests(tests=tests),
        solutions=tuple(f"{head}\n{body.rstrip()}\n" for body in fields.texts("sol_bodies")),
        origin=origin,
    )
