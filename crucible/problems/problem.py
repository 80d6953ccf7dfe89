"""A problem: a task with the tests that score it, and programs whose worth is known."""

from __future__ import annotations

from crucible.types import Frozen, HiddenTests, Task


class Problem(Frozen):
    """One problem of a set. Only `task` ever reaches the loop."""

    task: Task
    hidden: HiddenTests = HiddenTests()
    solutions: tuple[str, ...] = ()
    """Whole reference programs; every one of them is right."""
    mutants: tuple[str, ...] = ()
    """Whole programs that look right and are wrong."""
    hints: tuple[str, ...] = ()
    """What may be said to whoever is stuck, the weakest first."""
    tags: tuple[str, ...] = ()
    origin: str = ""
    """Where it was read: file, and line or entry."""

    @property
    def id(self) -> str:
        return self.task.id

    @property
    def scored(self) -> Task:
        """The task by the tests that decide: the hidden ones, the visible ones where it has no others."""
        return self.hidden.task(self.task) if self.hidden else self.task
