"""Reading tests: what is direct, what needs the tester, and what is an error with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import InputError
from crucible.security.judge.asked import Suite
from crucible.security.judge.suite import parse_suite
from crucible.types import Example, Task


def suite(tests: str = "", prompt: str = "p", **fields: object) -> Suite:
    return parse_suite(Task(prompt=prompt, tests=tests).model_copy(update=fields))


@pytest.mark.parametrize(
    ("test", "args", "expected"),
    [
        ("assert f(1) == 2", (1,), 2),
        ("assert 2 == f(1)", (1,), 2),
        ("assert f([1, -2], 'x') == {'a': (1,)}", ([1, -2], "x"), {"a": (1,)}),
        ("assert f() is None", (), None),
        ("assert (f(1)) == (2), 'message'", (1,), 2),
    ],
)
def test_plain_asserts_are_direct(test: str, args: tuple[object, ...], expected: object) -> None:
    (case,) = suite(test).cases
    assert (case.name, case.args, case.expected) == ("f", args, expected)


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1)",
        "assert f(1) > 2",
        "assert f(g(1)) == 2",
        "assert set(f(1)) == {1}",
        "x = 1 + 1\nassert f(x) == 2",
        "for i in range(3): assert f(i) == i",
        "assert f(*[1]) == 2",
        "assert f(1) == 2 == f(3)",
    ],
)
def test_the_rest_goes_to_the_tester(test: str) -> None:
    found = suite(test)
    assert found.cases == () and found.total == 1 and "f" in found.names


@pytest.mark.parametrize(
    ("tests", "calls"),
    [
        ("x = 1\nassert f(x) == 2\nassert f(x, [x]) == 3", ["f(1)", "f(1, [1])"]),
        ("METADATA = {}\nimport math\nassert f(1) == 2", ["f(1)"]),
        (
            "given = {'n': [1]}\nassert f(**given) == 2\ngiven = {'n': 2}\nassert f(**given) == 2",
            ["f(n=[1])", "f(n=2)"],
        ),
        ("s = Solution()\nassert s.f(1) == 2\nassert s.f(2) == 3", ["s.f(1)", "s.f(2)"]),
    ],
)
def test_values_that_have_names_are_written_out(tests: str, calls: list[str]) -> None:
    found = suite(tests, entry_point="f")
    assert [case.shown for case in found.cases] == calls and not found.statements


def test_methods_of_one_object_are_calls_of_one_object() -> None:
    found = suite("s = Solution()\nassert s.f(1) == 2\nassert s.f(2) == 3")
    assert {(case.name, case.bound) for case in found.cases} == {("Solution().f", True)}


@pytest.mark.parametrize(
    "tests",
    [
        "x = [1]\nassert f(x) == 2\nassert f(x) == 3",  # the first call may have changed it
        "s = S()\nassert s.f(1) == 2\nassert s.g() == 3",  # one object, two methods
        "s = S()\nassert s.f(1) == 2\ns = S()\nassert s.f(1) == 2",
        "from f import f\nassert f(1) == 2",
        "from math import *\nassert sqrt(4) == 2",
        "import math\nassert math.sqrt(4) == 2",
        "f = max\nassert f(1, 2) == 2",
        "def f(x): return 2\nassert f(1) == 2",
    ],
)
def test_what_depends_on_more_than_values_is_run_as_it_stands(tests: str) -> None:
    found = suite(tests)
    assert not found.cases and found.total


def test_the_entry_point_is_read_off_the_prompt_or_the_tests() -> None:
    assert suite(prompt="def helper(x): ...\ndef wanted(x): ...").entry_point == "wanted"
    assert suite("assert g(1) == 1").entry_point == "g"
    assert suite("assert set(h(1)) == {1}\nassert set(h(2)) == {2}").entry_point == "h"


def test_humaneval_form_gets_its_call() -> None:
    tests = "def check(candidate):\n    assert candidate(1) == 1"
    found = suite(tests, entry_point="f")
    assert [(case.name, case.shown, case.bound) for case in found.cases] == [("f", "f(1)", True)]
    assert parse_suite(Task(prompt="p", tests=tests, entry_point="f"), direct=False).statements[-1].source == "check(f)"


def test_asserts_and_doctests_in_a_prompt_count_where_there_are_no_others() -> None:
    prompt = "Write f, for example assert f(1) == 2, and\n    >>> f(3)\n    4\n"
    assert suite(prompt=prompt).total == 2
    assert suite("assert f(9) == 9", prompt=prompt).total == 1


def test_a_doctest_under_closing_quotes() -> None:
    (case,) = suite(prompt="def f(x):\n    '''\n    >>> f(1)\n    2\n    '''\n").cases
    assert case.expected == 2


@pytest.mark.parametrize(
    ("tests", "said"),
    [("x = 1\nassert f( == 2", "line 2"), ("assert f(1) == 2\n  bad", "line 2"), ("(" * 5000, "do not parse")],
)
def test_tests_that_do_not_parse_are_an_error_with_their_line(tests: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        suite(tests)


def test_examples_need_a_function_to_call() -> None:
    with pytest.raises(InputError, match="entry_point"):
        suite(examples=(Example(input=1, output=2),))


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert suite(prompt=text).total >= 0
    try:
        assert suite(text).total >= 0
    except InputError as error:
        assert "do not parse" in str(error)


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(LITERALS, LITERALS)
def test_what_was_written_is_what_is_judged(given_value: object, expected: object) -> None:
    (case,) = suite(f"assert f({given_value!r}) == {expected!r}").cases
    assert case.args == (given_value,) and case.expected == expected
