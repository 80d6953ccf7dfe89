"""Small functions that the smallest model can nearly write: what benchmarks of fine-tuning learn and are measured on."""

from __future__ import annotations

from typing import NamedTuple

from crucible.types import Rule, Task


class Function(NamedTuple):
    """name: what it is called. does: what it is to return. arguments: of its signature. right, wrong: expressions for its one
    `return`. shown, hidden: arguments and result of two tests."""

    name: str
    does: str
    arguments: str
    right: str
    wrong: str
    shown: tuple[str, str]
    hidden: tuple[str, str]

    @property
    def tests(self) -> str:
        return f"assert {self.name}({self.shown[0]}) == {self.shown[1]}"

    @property
    def hidden_tests(self) -> str:
        return f"{self.tests}\nassert {self.name}({self.hidden[0]}) == {self.hidden[1]}"

    def program(self, expression: str) -> str:
        return f"def {self.name}({self.arguments}):\n    return {expression}"

    def task(self, *, rules: tuple[Rule, ...] = (), tests: str = "") -> Task:
        prompt = f"Write a Python function {self.name}({self.arguments}) that returns {self.does}."
        return Task(id=self.name, prompt=prompt, entry_point=self.name, tests=tests, rules=rules)


FUNCTIONS = tuple(
    Function(*each)
    for each in (
        ("double", "x times two", "x", "x * 2", "x + 3", ("3", "6"), ("5", "10")),
        ("square", "x times x", "x", "x * x", "x * 4", ("4", "16"), ("3", "9")),
        ("half", "x divided by two", "x", "x / 2", "x - 4", ("8", "4"), ("2", "1")),
        ("negate", "minus x", "x", "-x", "x - 10", ("5", "-5"), ("-2", "2")),
        ("increment", "x plus one", "x", "x + 1", "2 * x - 4", ("5", "6"), ("9", "10")),
        ("decrement", "x minus one", "x", "x - 1", "x // 2 + 2", ("5", "4"), ("9", "8")),
        ("add", "the sum of a and b", "a, b", "a + b", "a * b - 1", ("2, 3", "5"), ("4, 4", "8")),
        ("subtract", "a minus b", "a, b", "a - b", "b + 1", ("7, 3", "4"), ("9, 1", "8")),
        ("multiply", "a times b", "a, b", "a * b", "a + b + 1", ("2, 3", "6"), ("4, 5", "20")),
        ("larger", "the larger of a and b", "a, b", "max(a, b)", "b", ("2, 3", "3"), ("5, 1", "5")),
        ("smaller", "the smaller of a and b", "a, b", "min(a, b)", "a", ("2, 3", "2"), ("5, 1", "1")),
        ("is_even", "whether n is even", "n", "n % 2 == 0", "n > 3", ("4", "True"), ("7", "False")),
        ("is_odd", "whether n is odd", "n", "n % 2 == 1", "n < 4", ("4", "False"), ("7", "True")),
        ("is_positive", "whether n is greater than zero", "n", "n > 0", "n % 2 == 0", ("4", "True"), ("-2", "False")),
        ("first", "the first item of a list", "items", "items[0]", "min(items)", ("[7, 8]", "7"), ("[3, 1]", "3")),
        ("last", "the last item of a list", "items", "items[-1]", "items[1]", ("[7, 8]", "8"), ("[3, 1, 2]", "2")),
        ("total", "the sum of a list", "items", "sum(items)", "items[2] * 2", ("[1, 2, 3]", "6"), ("[4, 5, 6]", "15")),
        ("count", "how many items a list has", "items", "len(items)", "items[-1]", ("[1, 2, 3]", "3"), ("[9]", "1")),
        ("largest", "the largest item of a list", "items", "max(items)", "items[1]", ("[1, 9]", "9"), ("[8, 2]", "8")),
        (
            "ordered",
            "a list sorted",
            "items",
            "sorted(items)",
            "items[::-1]",
            ("[2, 1]", "[1, 2]"),
            ("[1, 3]", "[1, 3]"),
        ),
        (
            "backwards",
            "a text reversed",
            "text",
            "text[::-1]",
            "text[1] + text[0]",
            ("'ab'", "'ba'"),
            ("'xyz'", "'zyx'"),
        ),
        (
            "loud",
            "a text in upper case",
            "text",
            "text.upper()",
            "text.title()",
            ("'ab'", "'AB'"),
            ("'xy z'", "'XY Z'"),
        ),
        ("length", "the length of a text", "text", "len(text)", "len(text) // 3 * 3", ("'abc'", "3"), ("'x'", "1")),
        ("twice", "a text two times", "text", "text * 2", "text + 'ab'", ("'ab'", "'abab'"), ("'x'", "'xx'")),
    )
)
