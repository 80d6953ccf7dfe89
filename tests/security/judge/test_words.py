"""Examples in words: what is read, what is prose, and that no text makes reading fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.security.judge.words import read


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("Write is_even(n). >>> is_even(4) gives True", "assert is_even(4) == True"),
        ("Write is_even(n). >>> is_even(4)\nTrue", "assert is_even(4) == True"),
        ("add(1, 2) should be 3.", "assert add(1, 2) == 3"),
        ("`add(1, 2)` -> 3", "assert add(1, 2) == 3"),
        ("f([1, 2]) = 3", "assert f([1, 2]) == 3"),
        ("Write f. assert not f(3)", "assert not f(3)"),
        ("Write f so that 4 == f(2).", "assert f(2) == 4"),
        ("It returns [1, 2] for `f(2)`.", "assert f(2) == [1, 2]"),
        ("You should get -4 from f(2)", "assert f(2) == -4"),
        ("| call | answer |\n|---|---|\n| `f(2)` | `'a b'` |", "assert f(2) == 'a b'"),
        ("s\n```\ns = Stack()\ns.push(1)\nassert s.pop() == 1\n```", "s = Stack()\ns.push(1)\nassert s.pop() == 1"),
        ("Write f.\n>>> f(2)\n4\n", ">>> f(2)\n4"),
    ],
)
def test_an_example_is_found(prompt: str, wanted: str) -> None:
    assert [each.source for each in read(prompt).found] == [wanted]


def test_answers_before_their_calls_are_each_found() -> None:
    found = read("Write is_even(n): it returns True for is_even(4) and False for is_even(3).").found
    assert [each.source for each in found] == ["assert is_even(4) == True", "assert is_even(3) == False"]


@pytest.mark.parametrize(
    "prompt",
    [
        "f(n) returns the n-th number",
        "f(x) -> int",
        "it runs in O(1)",
        "item(s) is 3",
        "Write f. Use 3 for f(2) if you like.",
        "Returns 2 + 3 for f(2)",
    ],
)
def test_prose_is_no_example(prompt: str) -> None:
    assert not read(prompt).found
    assert not read(prompt).unread


@pytest.mark.parametrize("prompt", ["f(2) gives four", "f(3) is not 4", "f(3) is 4 or 5"])
def test_what_looks_like_an_example_is_listed(prompt: str) -> None:
    assert read(prompt).unread == (prompt,)
    assert not read(prompt).found


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("Write a function is_even(n).", "is_even"), ("a function called foo", "foo"), ("Write a class Stack.", "Stack")],
)
def test_the_function_asked_for_is_named(prompt: str, name: str) -> None:
    assert read(prompt).entry_point == name


def test_a_row_of_a_table_without_a_value_is_listed() -> None:
    assert read("| f(2) | the square |").unread == ("f(2) | the square |",)


@given(st.text(alphabet="f(2)[]{} ='\"\n`>.agives assert->Input:Output:\\", max_size=300))
@settings(deadline=None, max_examples=100)
def test_no_text_makes_reading_fail(prompt: str) -> None:
    read(prompt)
