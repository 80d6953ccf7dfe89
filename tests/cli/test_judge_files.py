"""`sandbox judge` and `problems validate` over files as people and their tools write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crucible.errors import InputError
from crucible.main import app

pytestmark = pytest.mark.sandbox
Run = Callable[..., Result]
ADD_ONE = "def f(x):\n    return x + 1\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder of these files."""

    def call(*arguments: str, **files: str | bytes) -> Result:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name.replace("_", ".")).write_bytes(data)
        monkeypatch.chdir(tmp_path)
        return CliRunner().invoke(app, list(arguments), standalone_mode=False)

    return call


def test_a_program_with_a_byte_order_mark_is_judged_and_run(run: Run) -> None:
    program = b"\xef\xbb\xbf" + ADD_ONE.encode()
    judged = run("sandbox", "judge", "Write f(x). assert f(1) == 2", "bom.py", bom_py=program)
    assert not judged.return_value, judged.output
    assert run("sandbox", "run", "bom.py").return_value == 0


DIGITS = "1" + "0" * 5000


@pytest.mark.parametrize(
    ("task", "code"),
    [
        (f'{{"prompt": "f", "entry_point": "f", "examples": [{{"input": [5000], "output": {DIGITS}}}]}}', 0),
        (f'{{"prompt": "f", "entry_point": "f", "examples": [{{"input": [5000], "output": 0x{"f" * 5000}}}]}}', 1),
    ],
    ids=["decimal", "hexadecimal"],
)
def test_integers_of_any_length_are_compared(run: Run, task: str, code: int) -> None:
    judged = run("sandbox", "judge", "task.yaml", "prog.py", task_yaml=task, prog_py="def f(n):\n    return 10 ** n\n")
    assert (judged.return_value or 0) == code and f"{1 - code}/1" in judged.output


HALF = "prompt: Write half(x).\nentry_point: half\ntolerance: 1e-6\nexamples:\n- {input: [1], output: 0.5}\n"


@pytest.mark.parametrize(("more", "code"), [("1e-7", 0), ("1e-5", 1)])
def test_a_number_in_yaml_is_a_number(run: Run, more: str, code: int) -> None:
    program = f"def half(x):\n    return x / 2 + {more}\n"
    assert run("sandbox", "judge", "t.yaml", "p.py", t_yaml=HALF, p_py=program).return_value == code


@pytest.mark.parametrize(("given", "output"), [('"2"', "4"), ("2", "4"), ("2", '"4"')])
def test_numbers_are_text_to_a_program_that_reads_its_input(run: Run, given: str, output: str) -> None:
    task = f"id: dbl\nprompt: Read an integer, print its double.\nexamples:\n- {{input: {given}, output: {output}}}\n"
    judged = run("sandbox", "judge", "t.yaml", "p.py", t_yaml=task, p_py="print(2 * int(input()))\n")
    assert not judged.return_value, judged.output


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("prompt: f\nentry_point: f\nexamples:\n- {input: [2], output: yes}\n", "quote it if it is text"),
        ("prompt: f\ntests: assert f(1) == 2\ntests: assert f(2) == 2\n", "`tests` is set twice"),
    ],
)
def test_what_yaml_would_read_as_something_else_is_refused(run: Run, task: str, said: str) -> None:
    judged = run("sandbox", "judge", "t.yaml", "p.py", t_yaml=task, p_py=ADD_ONE)
    assert isinstance(judged.exception, InputError) and said in str(judged.exception)


def test_a_text_file_that_is_there_is_read(run: Run) -> None:
    judged = run("sandbox", "judge", "task.txt", "p.py", task_txt="Write f(x). assert f(1) == 2\n", p_py=ADD_ONE)
    assert not judged.return_value and "1/1" in judged.output


def test_a_program_may_print_as_much_as_it_is_to_print(run: Run) -> None:
    task = json.dumps({"prompt": "Print it.", "examples": [{"input": "", "output": "12345\n" * 200_000}]})
    judged = run("sandbox", "judge", "t.json", "p.py", t_json=task, p_py="print('12345\\n' * 200_000, end='')\n")
    assert not judged.return_value, judged.output[:300]


def test_references_that_give_nan_or_a_list_of_one_where_the_form_allows_it_have_no_fault(run: Run) -> None:
    nan = {
        "id": "n",
        "title": "n",
        "prompt": "f",
        "entry_point": "f",
        "examples": [{"input": [1], "output": float("nan")}],
    }
    nan["solutions"] = ["def f(x):\n    return float('nan')\n"]
    apps = {"problem_id": 1, "question": "f", "difficulty": "introductory", "url": "x", "starter_code": ""}
    apps["solutions"] = json.dumps(["def f(n):\n    return [n]\n"])
    apps["input_output"] = json.dumps({"fn_name": "f", "inputs": [[5]], "outputs": [[5]]})
    for name, row in (("nan.json", nan), ("apps.json", apps)):
        done = run("problems", "validate", name, **{name.replace(".", "_"): json.dumps(row)})
        assert not done.return_value and "0 with faults" in done.output, done.output
