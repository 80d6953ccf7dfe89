"""Broken problems are found, each with file, field and reason; sound ones are let through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible.errors import InputError
from crucible.problems.fields import ProblemError
from crucible.problems.sets import load
from crucible.problems.validate import Complaint, nothing, validate
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Example, Task

pytestmark = pytest.mark.sandbox

GOOD: dict[str, Any] = {
    "id": "twice",
    "prompt": 'def twice(n):\n    """Return n twice as large."""',
    "entry_point": "twice",
    "examples": [{"input": [1], "output": 2}],
    "test_cases": [[3], [0], [-4]],
    "expected_outputs": [6, 0, -8],
    "time_limit": 2,
    "solutions": ["def twice(n):\n    return 2 * n\n"],
    "mutants": ["def twice(n):\n    return n * n\n", "def twice(n):\n    return n + 1\n"],
}


def complaints(folder: Path, sandbox: Sandbox, **changes: Any) -> list[Complaint]:
    path = folder / "set.yaml"
    path.write_text(yaml.safe_dump({"problems": [{**GOOD, **changes}]}, sort_keys=False))
    try:
        (problem,) = load(path, visible_cases=0).problems
    except ProblemError as error:
        return [Complaint(error.file, error.field, error.reason)]
    return validate(problem, SandboxJudge(sandbox))


def test_a_sound_problem_has_no_complaints(tmp_path: Path, sandbox: Sandbox) -> None:
    assert complaints(tmp_path, sandbox) == []


BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "the prompt is missing": ({"prompt": None}, "prompt", "missing or no text"),
    "the prompt is empty": ({"prompt": " \n"}, "prompt", "is empty"),
    "there are no tests": ({"examples": [], "test_cases": [], "expected_outputs": []}, "tests", "there are none"),
    "an answer is missing": ({"expected_outputs": [6, 0]}, "expected_outputs", "same length"),
    "the reference is wrong": (
        {"solutions": ["def twice(n):\n    return n + n + (n == 3)\n"]},
        "solutions, entry 1",
        "wrong at twice(3): expected 6, got 7",
    ),
    "the reference fails a visible test": (
        {"examples": [{"input": [1], "output": 3}]},
        "solutions, entry 1",
        "fails a visible test: wrong at twice(1): expected 3, got 2",
    ),
    "a mutant passes": ({"mutants": ["def twice(n):\n    return n + n\n"]}, "mutants, entry 1", "is to fail"),
    "a mutant is the reference": (
        {"mutants": ["def twice(n):  # not this\n    return 2 * n\n"]},
        "mutants, entry 1",
        "the same program as solutions, entry 1",
    ),
    "a program that returns None passes": (
        {"examples": [], "test_cases": [[1]], "expected_outputs": [None], "solutions": [], "mutants": []},
        "hidden_tests",
        "a program that returns None passes them",
    ),
    "more is visible than hidden": (
        {"tests": "\n".join(f"assert twice({n}) == {2 * n}" for n in range(9))},
        "tests",
        "more visible ones (10) than hidden ones (3)",
    ),
    "examples contradict each other": (
        {"test_cases": [[3], [0], [1]], "expected_outputs": [6, 0, 5]},
        "test_cases",
        "entry 3 contradicts examples, entry 1",
    ),
    "a rule cannot be read": ({"constraints": [{"forbid": "goto"}]}, "constraints", "'goto' is no construct"),
    "the reference breaks a rule": ({"constraints": [{"forbid": "operator *"}]}, "constraints", "solutions, entry 1: "),
    "a limit is out of range": ({"time_limit": 6000}, "time_limit", "less than or equal to 600"),
    "the entry point is not in the solution": (
        {"entry_point": "double"},
        "entry_point",
        "'double' is not in solutions",
    ),
    "hidden tests do not parse": ({"hidden_tests": "assert twice(1) ==\n"}, "hidden_tests", "line 1"),
    "the checker does not parse": ({"checker": "def check(:\n"}, "checker", "line 1"),
    "the checker checks nothing": ({"checker": "ok = True\n"}, "checker", "no function check"),
    "the checker fails": (
        {"checker": "def check(args, kwargs, expected, actual):\n    return expected.x\n"},
        "checker",
        "the task's checker fails",
    ),
    "the language is another": ({"language": "cobol"}, "language", "only python"),
    "a solution does not parse": (
        {"solutions": ["def twice(n) return"]},
        "solutions, entry 1",
        "does not parse: line 1",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_problems_are_found(name: str, tmp_path: Path, sandbox: Sandbox) -> None:
    changes, field, said = BROKEN[name]
    found = complaints(tmp_path, sandbox, **changes)
    assert [each.field for each in found][:1] == [field]
    assert said in found[0].reason
    assert found[0].file == f"{tmp_path / 'set.yaml'}, entry 1"


def test_a_reference_that_needs_most_of_its_time_is_found(tmp_path: Path, sandbox: Sandbox) -> None:
    spin = "import time\ndef twice(n):\n    end = time.process_time() + 0.3\n"
    spin += "    while time.process_time() < end:\n        pass\n    return 2 * n\n"
    found = complaints(tmp_path, sandbox, solutions=[spin], time_limit=1.5)
    assert [each.field for each in found] == ["time_limit"] and "solutions, entry 1 needs" in found[0].reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("problems:\n  - id: a\n    prompt: p\n  - id: a\n    prompt: q\n", "`id` 'a' is used before"),
        ("problems:\n  - id: [\n", "line 3: not valid YAML"),
        ("problems: []\n", "no problems in it"),
    ],
)
def test_files_that_hold_no_set_are_found_on_loading(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_nothing_is_a_program_for_every_kind_of_test() -> None:
    assert nothing(Task(prompt="", entry_point="Solution().f", tests="assert Solution().f(1) == 1")).startswith(
        "class Solution"
    )
    assert nothing(Task(prompt="", examples=(Example(input="1", output="2"),))) == "pass\n"
    both = nothing(Task(prompt="", tests="assert f(g(1)) == 2"))
    assert "def f(" in both and "def g(" in both
