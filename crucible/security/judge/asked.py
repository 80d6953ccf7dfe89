"""What a task asks of a program: direct cases, statements, and both as a suite."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

MAX_SHOWN = 300

Form = Literal["json", "python", "is", "doctest", "output"]
Kind = Literal["code", "function", "class", "unittest", "doctest"]


class Case(NamedTuple):
    """A direct case: a call, and the value it must give.

    form: how the value is compared. "json": strictly by type, lists and tuples being one kind. "python": as `==` does. "is":
    as `is` does. "doctest": by what doctest would print. "output": no call; the program reads args[0] on stdin and prints
    `expected`. bound: a method (`Solution().solve`) is called on one object in all cases. raises: the exception's name and,
    after a colon, its message, that must come instead of a value."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    expected: Any
    shown: str
    form: Form = "python"
    bound: bool = False
    raises: str | None = None
    want: str = ""
    options: dict[int, bool] = {}  # noqa: RUF012 - never changed


class Statement(NamedTuple):
    """A part of the tests that runs by itself. cases: the results it reports, each a key and what to show of it.

    kind: "code" is executed; "function" is a test function and "class" a plain class of tests, called by name; "unittest"
    names TestCase classes, space between; "doctest" is a session."""

    source: str
    kind: Kind = "code"
    cases: tuple[tuple[str, str], ...] = ()


class Suite(NamedTuple):
    """The cases a program is judged by. cases: calls of the program. statements: the tests that need Python to run them."""

    entry_point: str | None
    cases: tuple[Case, ...] = ()
    statements: tuple[Statement, ...] = ()
    names: tuple[str, ...] = ()
    """What the statements expect of the program."""
    assigned: tuple[tuple[str, str], ...] = ()
    """Names that the tests behind `cases` give a value, and its source: a program may read them as its own."""
    uncarried: str = ""
    """Why the statements cannot run in a process of their own, where that can be read off them."""

    @property
    def is_program(self) -> bool:
        """Return whether the program is run as a whole, with stdin and stdout, rather than called."""
        return any(case.form == "output" for case in self.cases)

    @property
    def total(self) -> int:
        return len(self.cases) + sum(len(each.cases) for each in self.statements)
