"""`crucible problems`: what it shows, what it hides, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from crucible.cli import problems
from crucible.errors import InputError
from crucible.main import app

GOOD = {
    "id": "twice",
    "title": "Twice",
    "difficulty": 1,
    "prompt": "def twice(n):\n    ...",
    "examples": [{"input": [1], "output": 2}],
    "test_cases": [[771], [3]],
    "expected_outputs": [1542, 6],
    "constraints": [{"forbid": "import"}],
    "solutions": ["def twice(n):\n    return n * 2\n"],
    "mutants": ["def twice(n):\n    return n + 1\n"],
    "hints": ["Add it to itself."],
}


def crucible(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = app(["problems", *arguments], standalone_mode=False)
    said = capsys.readouterr()
    return code or 0, said.out, said.err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "set.json"
    path.write_text(json.dumps([GOOD, {**GOOD, "id": "again", "difficulty": "hard", "surprise": 1}]))
    return path


def documents(text: str) -> Any:
    return json.loads(text)


def test_the_shipped_set_is_listed_without_being_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = crucible(capsys, "list", "--difficulty", "1", "--limit", "2")
    assert code == 0 and out.splitlines()[-1].startswith("2 problems, sha256 ")


def test_list_as_json(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = documents(crucible(capsys, "list", str(file), "-d", "hard", "--json")[1])
    assert [each["id"] for each in found["problems"]] == ["again"] and found["set"] == "set"
    assert found["problems"][0]["hidden"] is True and "surprise" in found["notes"][0]


def test_show_keeps_the_hidden_tests_unless_asked(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    _, shown, _ = crucible(capsys, "show", str(file), "twice")
    assert "[1] gives 2" in shown and "must not contain an import" in shown
    assert "771" not in shown and "n * 2" not in shown
    _, asked, _ = crucible(capsys, "show", str(file), "twice", "--hidden")
    assert "771" in asked and "n * 2" in asked and "Add it to itself." in asked
    assert "771" not in crucible(capsys, "show", str(file), "twice", "--json")[1]
    assert "771" in crucible(capsys, "show", str(file), "twice", "--json", "--hidden")[1]


def test_show_looks_in_the_shipped_set(capsys: pytest.CaptureFixture[str]) -> None:
    name = documents(crucible(capsys, "list", "--limit", "1", "--json")[1])["problems"][0]["id"]
    assert documents(crucible(capsys, "show", name, "--json")[1])["id"] == name


def test_an_unknown_problem_is_bad_input(file: Path) -> None:
    with pytest.raises(InputError, match="no problem has the id 'nope'"):
        app(["problems", "show", str(file), "nope"], standalone_mode=False)


@pytest.mark.sandbox
def test_validate_says_each_fault_and_exits_1(capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path) -> None:
    assert crucible(capsys, "validate", str(file))[0] == 0
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({**GOOD, "mutants": ["def twice(n):\n    return n + n\n"]}))
    code, out, _ = crucible(capsys, "validate", str(bad))
    assert code == 1
    assert out.splitlines()[0] == f"{bad}: mutants, entry 1: passes every test that scores, and is to fail"
    assert "1 problems, 1 with faults" in out.splitlines()[1]


@pytest.mark.sandbox
def test_validate_goes_on_after_a_file_it_cannot_read_and_exits_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path
) -> None:
    broken, other = tmp_path / "broken.json", tmp_path / "other.json"
    broken.write_text('{"prompt": 3}')
    other.write_text("{")
    code, out, _ = crucible(capsys, "validate", str(broken), str(other), str(file), "--limit", "1", "--json")
    found = documents(out)
    assert code == 2 and found["ok"] is False
    assert [each["problems"] for each in found["sets"]] == [0, 0, 1]
    assert found["sets"][0]["complaints"][0]["field"] == "prompt"
    assert "not valid JSON" in found["sets"][1]["complaints"][0]["reason"]
    assert found["sets"][2]["complaints"] == []


@pytest.mark.sandbox
def test_hostile_text_is_neutralised(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "hostile.json"
    hostile = "\x1b[31m[bold]x[/bold]\u202e"
    fields = {"id": hostile, "title": hostile, "prompt": hostile, "difficulty": hostile, "tags": [hostile], hostile: 1}
    path.write_text(json.dumps([{**GOOD, **fields, "solutions": [hostile]}]))
    said = "".join(
        text
        for command in (("list", str(path)), ("show", str(path), hostile, "--hidden"), ("validate", str(path)))
        for text in crucible(capsys, *command)[1:]
    )
    assert "\x1b" not in said and "\u202e" not in said
    assert "\\x1b[31m[bold]x[/bold]\\u202e" in said


def test_every_command_has_a_help() -> None:
    group = typer.main.get_group(problems.app)
    assert set(group.commands) == {"list", "show", "validate"}
    assert all(command.help for command in group.commands.values())
