"""Reading tasks: every form works, every kind of bad input is one clear line with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.cli.taskfile import read_task
from crucible.errors import InputError
from crucible.types import Example


def write(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def problem(argument: str, tests: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_task(argument, tests)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_plain_text_is_the_prompt() -> None:
    assert read_task("Write f(x).").task.prompt == "Write f(x)."


def test_a_sentence_that_ends_like_a_file_name_is_text() -> None:
    assert read_task("Write a function that reads config.yaml").task.prompt.endswith("config.yaml")


def test_a_json_file_with_the_seed_format(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "two_sum.json",
        '{"id": "two_sum", "title": "Two Sum", "description": "Find two indices.", "difficulty": "Easy", '
        '"test_cases": [{"nums": [2, 7], "target": 9}], "expected_outputs": [[0, 1]], "time_limit": 5.0, "memory_limit": 256}',
    )
    found = read_task(path)
    assert found.task.prompt == "Find two indices."
    assert (found.task.limits.wall_s, found.task.limits.memory_mib) == (5.0, 256)
    assert found.task.examples == (Example(input={"nums": [2, 7], "target": 9}, output=[0, 1]),)
    assert not found.hidden and found.notes == ()


def test_hidden_cases_are_not_part_of_the_task(tmp_path: Path) -> None:
    cases = '"test_cases": [[1], [12345]], "expected_outputs": [2, 67890]'
    path = write(tmp_path, "t.json", f'{{"prompt": "p", {cases}}}')
    assert "67890" not in read_task(path).task.model_dump_json()


def test_yaml_and_markdown_carry_the_same_fields(tmp_path: Path) -> None:
    yaml = read_task(write(tmp_path, "t.yaml", "prompt: Add.\nentry_point: add\ntests: assert add(1, 2) == 3\n")).task
    markdown = read_task(write(tmp_path, "t.md", "---\nentry_point: add\ntests: assert add(1, 2) == 3\n---\nAdd.")).task
    assert yaml == markdown


def test_a_markdown_heading_is_the_title(tmp_path: Path) -> None:
    assert read_task(write(tmp_path, "t.md", "# Add numbers\n\nWrite add(a, b).")).task.title == "Add numbers"


def test_a_tests_file_takes_the_place_of_the_tasks_own(tmp_path: Path) -> None:
    tests = tmp_path / "test_it.py"
    tests.write_text("assert f(1) == 2\n")
    assert read_task("Write f.", tests).task.tests == "assert f(1) == 2\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.json", '{"prompt": "p",\n "tests": }', "line 2: not valid JSON"),
        ("t.yaml", "prompt: p\ntests: [1, 2\n", "line 3: not valid YAML"),
        ("t.md", "---\nid: [\n---\ntext", "line 2: not valid YAML"),
        ("t.json", "[1]", "one object with the fields"),
        ("t.json", '{"title": "no prompt"}', "`prompt`"),
        ("t.json", '{"prompt": "p", "time_limit": -1}', "`time_limit`"),
        ("t.json", '{"prompt": "p", "max_tokens": "many"}', "`max_tokens` must be a whole number"),
        ("t.json", '{"prompt": "p", "examples": [{"input": 1}]}', "example 1"),
        ("t.json", '{"prompt": "p", "test_cases": [1, 2], "expected_outputs": [1]}', "same length"),
        ("t.json", b'{"prompt": "p\xff"}', "not UTF-8 text (byte 0xff)"),
        ("t.yaml", "", "one object with the fields"),
        ("t.md", "  \n", "the task is empty"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    assert said in problem(write(tmp_path, name, content))


def test_a_missing_file_is_not_taken_for_text() -> None:
    assert "cannot read nowhere.yaml: No such file" in problem("nowhere.yaml")


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(100 * 2**20)
    assert "104.9 MB" in problem(str(path))


def test_deep_nesting_is_an_error_not_a_crash(tmp_path: Path) -> None:
    assert "not valid JSON" in problem(write(tmp_path, "deep.json", "[" * 200_000))


@pytest.mark.parametrize("text", ["", "   ", "\n\t\n"])
def test_an_empty_task_is_refused(text: str) -> None:
    assert "the task is empty" in problem(text)


def test_a_misspelt_field_is_noticed(tmp_path: Path) -> None:
    found = read_task(write(tmp_path, "t.json", '{"prompt": "p", "entry_pont": "f"}'))
    assert "did you mean `entry_point`" in found.notes[0]


@given(st.binary(max_size=200))
def test_no_file_content_raises_anything_but_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    for suffix in (".json", ".yaml", ".md"):
        path = tmp_path_factory.mktemp("t") / f"t{suffix}"
        path.write_bytes(content)
        try:
            assert read_task(str(path)).task.prompt.strip()
        except InputError as error:
            assert str(error)


def test_no_field_of_a_task_file_is_taken_for_a_path(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("print('from outside')")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link.txt").symlink_to(tmp_path / "outside.txt")
    for place in ("../outside.txt", "link.txt", str(tmp_path / "outside.txt"), f"file://{tmp_path}/outside.txt"):
        fields = dict.fromkeys(("id", "title", "language", "difficulty", "source", "prompt", "tests"), place)
        fields |= {"constraints": [place], "test_cases": [[place]], "expected_outputs": [place]}
        found = read_task(write(tmp_path / "project", "t.json", json.dumps(fields)))
        assert found.task.prompt == found.task.tests == place
        assert "from outside" not in found.task.model_dump_json() + found.hidden.model_dump_json()


@pytest.mark.parametrize("suffix", ["yaml", "md"])
def test_aliases_that_blow_up_are_refused(tmp_path: Path, suffix: str) -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
    text = f"l0: &l0 ['x']\n{levels}\ntests: *l11\nprompt: p\n"
    content = text if suffix == "yaml" else f"---\n{text}---\nprompt"
    assert "aliases (*name) are not allowed" in problem(write(tmp_path, f"bomb.{suffix}", content))


def test_stars_and_ampersands_in_yaml_text_are_text(tmp_path: Path) -> None:
    path = write(tmp_path, "t.yaml", 'prompt: "Multiply a * b & c"\ntests: |\n  assert f(2) == 2 * 3 & 7\n')
    assert "2 * 3 & 7" in read_task(path).task.tests
