"""What a benchmark writes down: its plan, and one line for every cell (arm, seed, problem) that is done.

A folder holds `plan.json`, `cells.jsonl` (appended to, a line a cell, on the disk before the next is begun) and the
episodes. A line that was cut off by a kill is no cell: it is dropped when the folder is read, and the cell is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from crucible.errors import InputError
from crucible.storage import journal
from crucible.types import Frozen, ModelIdentity, Status, Tokens

PLAN, CELLS = "plan.json", "cells.jsonl"
PLAN_VERSION = 1

Failure = Literal[
    "",
    "no-code",
    "syntax",
    "refused",
    "missing-entry",
    "runtime",
    "wrong-answer",
    "timeout",
    "memory",
    "constraint",
    "security",
    "hidden-only",
    "low-trust",
    "overflow",
]
"""Why the answer is wrong: the worst thing the tests met. hidden-only: every visible test passed, a hidden one did not.
overflow: the task does not fit the model's context, so nothing was drawn."""


class SetRecord(Frozen):
    """A problem set as it was read."""

    name: str
    path: str
    sha256: str
    problems: int


class ProblemRecord(Frozen):
    """A problem of the plan, without its text."""

    id: str
    fingerprint: str
    difficulty: str = ""
    source: str = ""


class Plan(Frozen):
    """Everything that decides a benchmark's result; cells of equal plans may stand in one folder."""

    version: int = PLAN_VERSION
    sets: tuple[SetRecord, ...]
    problems: tuple[ProblemRecord, ...]
    arms: dict[str, str]
    """By name, in order: what the arm does."""
    seeds: tuple[int, ...]
    budget: int
    """Tokens that a cell may generate, diagnoses included."""
    model: ModelIdentity
    settings: str
    """SHA-256 over the settings."""
    memory: str = ""
    """The episodes that could be retrieved: where they lie and how many; empty for none."""
    parallel: int = 1
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    """ISO 8601, UTC."""

    def same_as(self, other: Plan) -> list[str]:
        """The fields that decide the result and differ."""
        free = {"sets", "command", "machine", "created", "parallel"}  # the problems have marks of their own
        return [name for name in Plan.model_fields if name not in free and getattr(self, name) != getattr(other, name)]


class AttemptRecord(Frozen):
    """One sample of a cell, in the order they were drawn."""

    tokens: int
    temperature: float
    strategy: str
    passed_visible: bool
    duplicate: bool = False
    failure: Failure = ""


class Cell(Frozen):
    """One arm on one problem with one seed. `passed`: by the hidden tests, which nothing in the loop saw."""

    arm: str
    seed: int
    problem: str
    passed: bool
    passed_visible: bool
    fraction: float = 0.0
    """Share of the hidden cases that pass."""
    failure: Failure = ""
    status: Status
    stop: str = ""
    tokens: Tokens = Tokens()
    cycles: int = 0
    wall_s: float = 0.0
    attempts: tuple[AttemptRecord, ...] = ()
    extraction: tuple[str, ...] = ()
    """What it took to find the program in the answer that was chosen."""
    code: str = ""
    constructs: dict[str, int] = Field(default_factory=dict)
    """AST constructs of the chosen program, by name."""
    rewards: dict[str, float] = Field(default_factory=dict)
    episode_id: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        return self.arm, self.seed, self.problem

    @property
    def result(self) -> dict[str, object]:
        """Return what must be the same whenever the cell is run: all but the clock."""
        return self.model_dump(exclude={"wall_s"})


class Results(Frozen):
    """A benchmark folder as it was read."""

    folder: str
    plan: Plan
    cells: tuple[Cell, ...]

    @property
    def complete(self) -> bool:
        return len(self.cells) == len(list(keys(self.plan)))

    def of(self, arm: str) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.arm == arm)


GREEDY = "single"
"""The arm whose result no seed changes: it is run once a problem, with the first."""


def keys(plan: Plan) -> Iterator[tuple[str, int, str]]:
    """Every cell's key, in the order they are begun: all arms of a problem together, so that whatever is cut off,
    the arms were given the same problems."""
    for seed in plan.seeds:
        for problem in plan.problems:
            for arm in plan.arms:
                if arm != GREEDY or seed == plan.seeds[0]:
                    yield arm, seed, problem.id


def read(folder: Path) -> Results:
    """Raises InputError where there is no benchmark, or one of another version."""
    try:
        plan = Plan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} holds no benchmark (no {PLAN}); `crucible bench SET --out {folder}` makes one"
        ) from error
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / PLAN} cannot be read: {_first(error)}") from error
    cells: dict[tuple[str, int, str], Cell] = {}
    for cell in journal.read(folder / CELLS, Cell):
        cells.setdefault(cell.key, cell)
    return Results(folder=str(folder), plan=plan, cells=tuple(cells.values()))


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        one = error.errors()[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return str(error)
