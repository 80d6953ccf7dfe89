"""A problem file and a request of the forms that other code generators use drive the loop, byte for byte as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crucible.cli.solve import report
from crucible.cli.taskfile import TaskFile, read_task
from crucible.problems import native_format as own
from crucible.problems.sets import load
from crucible.types import Episode, Example
from tests.conftest import Solver

SEEDS = Path(__file__).parent / "seeds"
TWO_SUM, REQUEST = str(SEEDS / "two_sum.json"), str(SEEDS / "request.json")
LOOP = """```python
def two_sum(nums, target):
    for i in range(len(nums)):
        for j in range({first}, len(nums)):
            if nums[i] + nums[j] == target:
                return {answer}
```"""
RIGHT = LOOP.format(first="i + 1", answer="[i, j]")
WRONG = LOOP.format(first="i + 1", answer="[j, i]")
CONSTANT = "```python\ndef two_sum(nums, target):\n    return [0, 1]\n```"
SORTED = (
    "```python\ndef sort_dictionaries(items, key):\n    return sorted(items, key=lambda item: item[key]{more})\n```"
)
DIAGNOSIS = '{"cause": "the order", "fix": "swap them"}'


def solved(solver: Solver, path: str, *replies: str, **sections: dict[str, object]) -> Episode:
    app = solver(*replies, tools={"memory": False, "reflection": False}, **sections)
    found = read_task(path, visible_cases=app.settings.cycles.visible_cases)
    return app.solve(found.task, hidden=found.hidden)


def changed(tmp_path: Path, path: str, **fields: Any) -> str:
    other = tmp_path / "changed.json"
    other.write_text(json.dumps(json.loads(Path(path).read_text()) | fields))
    return str(other)


# ------------------------------------------------------------- the problem file


def test_the_first_case_is_visible_and_the_other_hidden() -> None:
    found = read_task(TWO_SUM)
    task = found.task
    assert (task.id, task.title, task.difficulty, task.entry_point) == ("two_sum", "Two Sum", "Easy", "two_sum")
    assert (task.limits.wall_s, task.limits.memory_mib) == (5.0, 256) and found.notes == ()
    assert task.examples == (Example(input={"nums": [2, 7, 11, 15], "target": 9}, output=[0, 1]),)
    assert found.hidden.examples == (Example(input={"nums": [3, 2, 4], "target": 6}, output=[1, 2]),)


@pytest.mark.sandbox
def test_a_right_greedy_answer_solves_it(solver: Solver) -> None:
    episode = solved(solver, TWO_SUM, RIGHT)
    assert (episode.status, len(episode.attempts), episode.cycles) == ("solved", 1, 1)
    assert episode.verdict is not None and (episode.verdict.passed, episode.verdict.total) == (1, 1)
    assert episode.hidden_verdict is not None and (episode.hidden_verdict.passed, episode.hidden_verdict.total) == (
        1,
        1,
    )


@pytest.mark.sandbox
def test_a_wrong_answer_is_followed_by_others(solver: Solver) -> None:
    episode = solved(solver, TWO_SUM, WRONG, RIGHT)
    assert (episode.status, episode.cycles) == ("solved", 2) and len(episode.attempts) > 1
    assert episode.attempts[0].verdict is not None and episode.attempts[0].verdict.verdict == "fail"
    assert episode.hidden_verdict is not None and episode.hidden_verdict.verdict == "pass"


@pytest.mark.sandbox
def test_a_wrong_answer_is_repaired(solver: Solver) -> None:
    episode = solved(solver, TWO_SUM, WRONG, RIGHT, cycles={"strategy": "repair"})
    assert episode.status == "solved" and episode.attempts[1].strategy == "repair"


@pytest.mark.sandbox
def test_what_only_the_visible_case_lets_pass_is_found_out(solver: Solver, capsys: pytest.CaptureFixture[str]) -> None:
    episode = solved(solver, TWO_SUM, CONSTANT)
    assert episode.hidden_verdict is not None and episode.hidden_verdict.verdict == "fail"
    assert episode.rewards["hidden_tests"] == 0.0
    assert report(episode, out=None, as_json=True) == 0
    assert "passes the visible tests, and 0 of 1 hidden ones" in capsys.readouterr().err


@pytest.mark.sandbox
@pytest.mark.parametrize(("reply", "status"), [(RIGHT, "solved"), (CONSTANT, "unsolved")])
def test_where_all_is_hidden_the_hidden_cases_decide(solver: Solver, tmp_path: Path, reply: str, status: str) -> None:
    episode = solved(solver, changed(tmp_path, TWO_SUM, hidden="all"), reply)
    assert episode.status == status and episode.task.examples == ()
    assert episode.hidden_verdict is not None and episode.hidden_verdict.total == 2


@pytest.mark.sandbox
def test_the_setting_decides_how_many_are_visible(solver: Solver) -> None:
    none = solved(solver, TWO_SUM, RIGHT, cycles={"visible_cases": 0})
    assert none.task.examples == () and none.hidden_verdict is not None and none.hidden_verdict.total == 2


# ------------------------------------------------------------- how many are visible


def read(visible_cases: int | None = None, **fields: Any) -> TaskFile:
    data = {"id": "twice", "prompt": "Give twice the number.", **fields}
    problem, notes = own.read(data, "f", visible_cases=visible_cases)
    return TaskFile(problem.task, problem.hidden, notes)


@pytest.mark.parametrize(
    ("cases", "setting", "visible"),
    [(5, None, 1), (5, 0, 0), (5, 2, 2), (5, 5, 4), (5, 99, 4), (2, 2, 1), (1, 1, 1), (1, 3, 1), (1, 0, 0), (0, 1, 0)],
)
def test_one_of_several_cases_stays_hidden(cases: int, setting: int | None, visible: int) -> None:
    found = read(setting, test_cases=[[n] for n in range(cases)], expected_outputs=[2 * n for n in range(cases)])
    assert len(found.task.examples) == visible and len(found.hidden.examples) == cases - visible
    numbers = [each.input for each in (*found.task.examples, *found.hidden.examples)]
    assert numbers == [[n] for n in range(cases)]


@pytest.mark.parametrize(
    "fields",
    [
        {"examples": [{"input": [1], "output": 2}]},
        {"tests": "assert twice(1) == 2"},
        {"prompt": "Write twice(n). twice(1) gives 2."},
        {"prompt": "Write twice(n).\n>>> twice(1)\n2\n"},
        {"hidden": "all"},
    ],
)
def test_no_case_becomes_visible_where_something_else_is_or_the_file_says_so(fields: dict[str, Any]) -> None:
    found = read(test_cases=[[2], [3]], expected_outputs=[4, 6], **fields)
    assert [each.input for each in found.hidden.examples] == [[2], [3]]


def test_hidden_tests_let_every_case_be_visible() -> None:
    found = read(9, test_cases=[[2], [3]], expected_outputs=[4, 6], hidden_tests="assert twice(9) == 18")
    assert len(found.task.examples) == 2 and not found.hidden.examples and found.hidden.tests


def test_another_word_than_all_is_a_note() -> None:
    found = read(test_cases=[[2], [3]], expected_outputs=[4, 6], hidden="most")
    assert len(found.task.examples) == 1 and found.notes == (
        "f: `hidden` is not used; `all` keeps every test case hidden",
    )


def test_a_program_that_reads_numbers_has_its_visible_case_as_text() -> None:
    found = read(
        prompt="Read a number from standard input and print twice of it.", test_cases=[2, 3], expected_outputs=[4, 6]
    )
    assert found.task.examples == (Example(input="2", output="4"),) and found.task.entry_point is None
    assert found.hidden.examples == (Example(input="3", output="6"),)


def test_a_set_is_scored_by_hidden_cases_and_says_where_it_cannot_be(tmp_path: Path) -> None:
    many = load(TWO_SUM)
    assert many.problems[0].scored.examples == many.problems[0].hidden.examples and many.notes == ()
    one = load(changed(tmp_path, TWO_SUM, test_cases=[{"nums": [1, 1], "target": 2}], expected_outputs=[[0, 1]]))
    assert one.problems[0].scored == one.problems[0].task and "its only test case is visible" in one.notes[0]
    assert len(load(TWO_SUM, visible_cases=0).problems[0].hidden.examples) == 2


# ------------------------------------------------------------- the request


def test_the_request_says_what_to_write() -> None:
    found = read_task(REQUEST)
    task = found.task
    assert (task.id, task.entry_point, task.language) == ("req-123", "sort_dictionaries", "python")
    assert task.prompt == "Write a function sort_dictionaries(items: list[dict], key: str) -> list[dict]."
    assert len(task.constraints) == 3 and task.constraints[1] == "Should handle missing keys gracefully"
    assert len(task.examples) == 1 and task.examples[0].input["key"] == "id"
    assert not found.hidden and found.notes == ()


@pytest.mark.sandbox
def test_the_request_drives_the_loop(solver: Solver) -> None:
    right, wrong = SORTED.format(more=""), SORTED.format(more=", reverse=True")
    assert solved(solver, REQUEST, right).status == "solved"
    retried = solved(solver, REQUEST, wrong, right)
    assert (retried.status, retried.cycles) == ("solved", 2)
    asked = next(iter(retried.prompts.values()))[-1].content
    assert "Should handle missing keys gracefully" in asked and "sort_dictionaries" in asked


def test_a_request_with_words_keeps_them_and_its_signature() -> None:
    ast = {"name": "half", "parameters": [{"name": "n", "type": "int"}], "return_type": "float"}
    for field in ("prompt", "description"):
        found = own.read({field: "Halve it.", "ast": ast}, "f")
        assert found.problem.task.prompt == "Halve it.\n\nWrite a function half(n: int) -> float."
        assert found.problem.task.entry_point == "half" and found.notes == ()


@pytest.mark.parametrize(
    "ast", [{}, {"name": 3}, {"name": "f", "parameters": 3}, {"name": "f", "parameters": [3]}, 3, None]
)
def test_an_odd_signature_is_no_traceback(ast: Any) -> None:
    found = own.read({"prompt": "p", "ast": ast}, "f")
    assert found.problem.task.prompt.startswith("p") and "None" not in found.problem.task.prompt


@pytest.mark.parametrize("fields", [{"target_language": "python"}, {"target_language": "rust", "language": "python"}])
def test_the_target_language_is_the_language(fields: dict[str, str]) -> None:
    found = own.read({"prompt": "p", **fields}, "f")
    assert found.problem.task.language == "python" and found.notes == ()
    assert own.read({"prompt": "p", "target_language": "rust"}, "f").problem.task.language == "rust"
