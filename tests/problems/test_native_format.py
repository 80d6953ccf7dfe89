"""Crucible's own problem form: every field is read, everything odd is one line with file, field and reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import InputError
from crucible.problems import native_format as own
from crucible.problems.fields import ProblemError
from crucible.reading import parse_yaml
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Example, HiddenTests, Rule

FULL = {
    "id": "add",
    "title": "Add",
    "prompt": "Write add(a, b).",
    "language": "python",
    "entry_point": "add",
    "examples": [{"input": [1, 2], "output": 3}],
    "test_cases": [[2, 2], {"a": 1, "b": 1}],
    "expected_outputs": [4, 2],
    "tests": "assert add(0, 0) == 0",
    "hidden_tests": "assert add(-1, 1) == 0",
    "checker": "def check(args, kwargs, expected, actual):\n    return expected == actual\n",
    "tolerance": 1e-6,
    "constraints": ["Be short.", {"forbid": "call sum"}, {"require": "operator +"}],
    "preamble": "import math\n",
    "time_limit": 2,
    "memory_limit": 128,
    "max_tokens": 100,
    "difficulty": 3,
    "solutions": ["def add(a, b):\n    return a + b\n"],
    "canonical_solution": "add = lambda a, b: a + b\n",
    "mutants": ["def add(a, b):\n    return a - b\n"],
    "buggy_solution": "def add(a, b):\n    return a\n",
    "hints": ["Use +."],
    "tags": ["numbers"],
    "source": "mine",
    "hidden": "all",
}


def test_every_field_is_read() -> None:
    problem, notes = own.read(FULL, "f.yaml")
    task = problem.task
    assert notes == () and set(FULL) | {"description"} == set(own.FIELDS)
    assert (task.id, task.title, task.entry_point, task.difficulty, task.source) == ("add", "Add", "add", "3", "mine")
    assert task.examples == (Example(input=[1, 2], output=3),) and task.tests == FULL["tests"]
    assert problem.hidden == HiddenTests(
        examples=(Example(input=[2, 2], output=4), Example(input={"a": 1, "b": 1}, output=2)),
        tests="assert add(-1, 1) == 0",
    )
    assert task.checker.startswith("def check") and task.tolerance == 1e-6 and task.preamble == "import math\n"
    assert task.constraints == ("Be short.",)
    assert task.rules == (Rule(kind="forbid", what="call sum"), Rule(kind="require", what="operator +"))
    assert (task.limits.wall_s, task.limits.cpu_s, task.limits.memory_mib, task.max_tokens) == (2, 2, 128, 100)
    assert len(problem.solutions) == len(problem.mutants) == 2
    assert (problem.hints, problem.tags, problem.origin) == (("Use +.",), ("numbers",), "f.yaml")


def test_nothing_hidden_is_in_the_task() -> None:
    secret = {"test_cases": [[771]], "expected_outputs": [772], "hidden_tests": "assert f(773)", "solutions": ["#774"]}
    secret["hidden"] = "all"
    shown = own.read({"prompt": "p", "mutants": ["#775"], **secret}, "f").problem.task.model_dump_json()
    assert "77" not in shown


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"id": "two_sum"}, "two_sum"),
        ({"title": "Two Sum"}, "two_sum"),
        ({"id": "1", "title": "1"}, "solve"),
        ({"id": "x", "prompt": "def pair(nums, target):\n    ..."}, "pair"),
        ({"id": "x", "tests": "assert pair([1], 2) == []"}, "pair"),
        ({"id": "x", "solutions": ["def helper():\n    ...\ndef pair(nums, target):\n    ..."]}, "pair"),
    ],
)
def test_cases_without_an_entry_point_call_the_function_that_the_problem_names(
    fields: dict[str, Any], named: str
) -> None:
    cases = {"prompt": "Find two.", "test_cases": [{"nums": [2, 7], "target": 9}], "expected_outputs": [[0, 1]]}
    assert own.read({**cases, **fields}, "f").problem.task.entry_point == named


@pytest.mark.sandbox
def test_the_seeds_two_sum_is_judged_by_keyword_arguments(sandbox: Sandbox) -> None:
    data = {
        "id": "two_sum",
        "description": "Find the indices of the two numbers that add up to target.",
        "test_cases": [{"nums": [2, 7, 11], "target": 9}, {"nums": [3, 3], "target": 6}],
        "expected_outputs": [[0, 1], [0, 1]],
    }
    problem = own.read(data, "two_sum.json").problem
    right = "def two_sum(nums, target):\n    for i, a in enumerate(nums):\n        for j in range(i):\n"
    right += "            if a + nums[j] == target:\n                return [j, i]\n"
    judge = SandboxJudge(sandbox)
    for task in (problem.task, problem.scored):
        verdict = judge.judge(right, task)
        assert (verdict.verdict, verdict.total) == ("pass", 1)
    assert judge.judge(right.replace("[j, i]", "[i, j]"), problem.task).verdict == "fail"


def test_text_in_and_out_without_a_function_is_a_program() -> None:
    data = {"prompt": "Print the sum.", "examples": [{"input": "1 2", "output": "3"}]}
    assert own.read(data, "f").problem.task.entry_point is None


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"prompt": 3}, "prompt", "missing or no text"),
        ({"examples": [{"input": 1}]}, "examples", "example 1"),
        ({"test_cases": [1, 2], "expected_outputs": [1]}, "expected_outputs", "same length"),
        ({"time_limit": 0}, "time_limit", "greater than 0"),
        ({"memory_limit": 1}, "memory_limit", "64"),
        ({"tolerance": -1}, "tolerance", "above 0"),
        ({"tolerance": float("inf")}, "tolerance", "above 0"),
        ({"constraints": [{"forbids": "for"}]}, "constraints", "entry 1"),
        ({"constraints": ["ok", {"forbid": "goto"}]}, "constraints", "entry 2: 'goto' is no construct"),
        ({"solutions": {"a": 1}}, "solutions", "list of texts"),
        ({"difficulty": ["easy"]}, "difficulty", "text or a number"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"id": "\ud800"}, "id", "lone surrogate"),
        ({"examples": [{"input": ["\ud800"], "output": 1}]}, "examples", "lone surrogate"),
    ],
)
def test_what_is_wrong_is_said_with_file_field_and_reason(fields: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        own.read({"prompt": "p", **fields}, "f.yaml, entry 2")
    assert (caught.value.file, caught.value.field) == ("f.yaml, entry 2", field)
    assert said in caught.value.reason and str(caught.value).startswith("f.yaml, entry 2: `")


def test_a_date_that_was_not_quoted_is_refused() -> None:
    data = parse_yaml("prompt: p\nexamples:\n  - {input: [2024-01-31], output: 1}\n", "f.yaml")
    with pytest.raises(ProblemError, match=r"`examples` holds .*date; quote it"):
        own.read(data, "f.yaml")


def test_a_number_that_python_does_not_write_out_is_refused() -> None:
    with pytest.raises(ProblemError, match="cannot be read"):
        own.read({"prompt": "p", "difficulty": 10**5000}, "f")


def test_a_field_that_is_not_known_is_a_note() -> None:
    notes = own.read({"prompt": "p", "hidden_test": "x", "task_type": "codegen"}, "f").notes
    assert notes == ("f: field `hidden_test` is not used; did you mean `hidden_tests`?",)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES | st.dictionaries(st.sampled_from(own.FIELDS) | st.text(max_size=5), VALUES))
def test_any_value_is_a_problem_or_an_input_error(value: Any) -> None:
    try:
        assert isinstance(own.read(value, "f").problem.task.prompt, str)
    except InputError as error:
        assert str(error)


@given(st.sampled_from(sorted(set(own.FIELDS) - {"prompt"})), VALUES)
def test_any_value_of_one_field_is_read_or_refused_by_its_name(name: str, value: Any) -> None:
    try:
        own.read({**FULL, name: value}, "f")
    except ProblemError as error:
        assert error.file == "f" and error.reason
