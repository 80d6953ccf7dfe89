"""A task without a test ends as written, not verified; and `solve` without a terminal always says why it did not solve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crucible.cli.taskfile import read_task
from crucible.security.judge.visible import visible
from crucible.types import Example, Task
from tests.cli.test_commands import Crucible, crucible, script  # noqa: F401 - fixtures
from tests.conftest import RIGHT, Solver

WORDS = "Write double(n): twice n."


@pytest.mark.sandbox
def test_solve_says_that_nothing_was_tested_and_how_to_add_a_test(crucible: Crucible) -> None:  # noqa: F811
    done = crucible("solve", WORDS, "--approve", "auto")
    assert done.returncode == 0 and done.stdout.startswith("def double")
    (line,) = done.stderr.splitlines()
    assert "not verified" in line and "--tests" in line and "0/0" not in line


@pytest.mark.sandbox
def test_json_says_unverified_and_the_list_of_runs_too(crucible: Crucible) -> None:  # noqa: F811
    done = crucible("solve", f"{WORDS} double(2) gives about four", "--approve", "auto", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], told["visible_tests"]) == (0, "unverified", [])
    assert "unverified" in crucible("runs", "list").stdout
    assert crucible("resume", told["run_id"]).returncode in (0, 2)


@pytest.mark.sandbox
def test_an_unverified_program_is_never_an_example(solver: Solver) -> None:
    app = solver(RIGHT, tools={"memory": True, "dataset_logging": True})
    assert app.solve(Task(prompt=WORDS)).status == "unverified"
    assert app.solve(Task(prompt=WORDS, tests="assert double(2) == 4")).retrieved == ()


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["solve", f"{WORDS} double(2) gives 5", "--approve", "auto"], 1),
        (["solve", f"{WORDS} double(2) gives 4", "--approve", "never"], 3),
        (["solve", "none.yaml"], 2),
        (["sandbox", "judge", "none.yaml", "none.py"], 2),
        (["sandbox", "judge", "Write f(x). assert f(1) == 2", "none.py"], 2),
        (["sandbox", "run", "none.py"], 2),
        (["bench", "none.yaml", "--out", "o", "--approve", "auto"], 2),
        (["bench", "report", "none"], 2),
        (["train", "none.yaml", "--out", "o", "--approve", "auto"], 2),
        (["memory", "search", ""], 2),
        (["runs", "show", "none"], 2),
        (["resume", "none"], 2),
        (["problems", "validate", "none.yaml"], 2),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_command_that_fails_says_why(crucible: Crucible, arguments: list[str], code: int) -> None:  # noqa: F811
    done = crucible(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if arguments[:2] != ["problems", "validate"]:  # whose result is the list of faults
        assert done.stderr.strip()


def test_what_is_visible_is_shown_and_what_could_not_be_read_too() -> None:
    assert visible(Task(prompt=f"{WORDS} double(2) gives 4")).visible_tests == ("double(2) == 4",)
    assert visible(Task(prompt=WORDS)) == ((), ())
    shown = visible(Task(prompt=WORDS, entry_point="double", examples=(Example(input=[2], output=4),)))
    assert shown.visible_tests == ("double(2) == 4",)


def test_a_text_file_is_read_and_a_missing_one_is_said_to_be_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read_task("task.txt")
    assert found.task.prompt == "task.txt" and "there is no file task.txt" in found.notes[0]
    Path("task.txt").write_bytes(b"\xef\xbb\xbf" + WORDS.encode())
    found = read_task("task.txt")
    assert found.task.prompt == WORDS and found.notes == ()
