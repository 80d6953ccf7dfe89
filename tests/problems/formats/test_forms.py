"""Published forms, with rows made up here: what is visible, what is hidden, and that programs are judged by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import InputError
from crucible.problems import formats
from crucible.problems.fields import ProblemError
from crucible.problems.formats import FORMS, exercism, mbpp_plus
from crucible.problems.formats.tests import first_methods, parse, with_preamble
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge

IMPORTS = "from typing import *\nimport math\n\ndef pile(values):\n    return list(values)\n"
UNITS = """import unittest

from boat_race import (
    row,
)


class BoatRaceTest(unittest.TestCase):
    def test_one(self):
        self.assertEqual(row(1), 2)

    # the second one
    @unittest.skipIf(False, "never")
    def test_two(self):
        self.assertEqual(row(41), 42)

    def test_three(self):
        self.assertEqual(row(61), 62)
"""


def row(**fields: Any) -> dict[str, Any]:
    base = dict.fromkeys(("title", "difficulty", "canonical_solution", "preamble", "tests"), "")
    base |= {"id": "x/1", "source": "x", "language": "python", "prompt": "Write f.", "entry_point": "f"}
    return {**base, "task_type": "codegen", "meta": {}, **fields}


ROWS: dict[str, dict[str, Any]] = {
    "mbpp": row(
        source="mbpp",
        tests="assert f(1) == 2\nassert f(41) == 42\nassert f(61) == 62\n",
        tests_plus="for n in (71, 72):\n    assert f(n) == n + 1\n",
        canonical_solution="def f(n):\n    return n + 1\n",
    ),
    "leetcode": row(
        source="leetcode",
        prompt="Add one.\n\nExample 1:\n\nInput: n = 1\nOutput: 2\n\nclass Solution:\n    def f(self, n: int) -> int:\n",
        entry_point="Solution().f",
        preamble=IMPORTS,
        tests="def check(candidate):\n    assert candidate(n = 1) == 2\n    assert candidate(n = len(pile([0] * 41))) == 42\n"
        "\n\ncheck(Solution().f)\n",
        canonical_solution="class Solution:\n    def f(self, n: int) -> int:\n        return math.floor(n) + 1\n",
    ),
    "leetcode_contest": row(
        source="leetcode_contest",
        prompt='"""\nAdd one.\n\nExample 1:\n\nInput: n = 1\n"""\nclass Solution:\n    def f(self, n: int) -> int:\n',
        entry_point="Solution().f",
        preamble=IMPORTS,
        tests='mine = Solution()\n\ntest = { "n": 1 }\nassert mine.f(**test) == 2\n\n'
        'test = { "n": 41 }\nassert mine.f(**test) == 42\n',
        canonical_solution="class Solution:\n    def f(self, n: int) -> int:\n        return n + 1\n",
    ),
    "exercism": row(
        source="exercism_python",
        entry_point="boat_race",
        tests='import sys as _s; _s.modules["boat_race"] = _s.modules["__main__"]\n_p = None; _s.modules["pytest"] = _p\n'
        + UNITS,
        canonical_solution="def row(n):\n    return n + 1\n",
    ),
    "doctest": row(
        prompt='def f(n):\n    """\n    >>> f(1)\n    2\n    """\n',
        tests="assert f(41) == 42\n",
        canonical_solution="def f(n):\n    return n + 1\n",
    ),
    "repair": row(
        source="quixbugs",
        task_type="repair",
        tests="assert f(41) == 42\n",
        canonical_solution="def f(n):\n    return n + 1\n",
        buggy_solution="def f(n):\n    return n - 1\n",
    ),
    "puzzle": row(
        source="python_puzzles",
        task_type="puzzle",
        preamble="def sat(n):\n    return n == 42\n",
        tests="assert sat(f()) is True\n",
        canonical_solution="def f():\n    return 42\n",
    ),
    "output prediction": row(
        task_type="output_prediction",
        tests=[{"input": "41", "output": "[42]"}],
        canonical_solution="def f(n):\n    return [n + 1]\n",
    ),
    "infill": row(
        task_type="infill",
        prompt="def f(n):\n    m = n\n",
        canonical_solution="    m += 1\n",
        suffix="    return m\n",
        tests="assert f(41) == 42\n",
    ),
    "humaneval": {
        "task_id": "HumanEval/x",
        "prompt": 'def f(n):\n    """One more.\n    >>> f(1)\n    2\n    """\n',
        "entry_point": "f",
        "canonical_solution": "    return n + 1\n",
        "test": "def check(candidate):\n    assert candidate(41) == 42\n    assert candidate(0) == 1\n",
    },
    "google mbpp": {
        "task_id": 1,
        "text": "Write f, one more.",
        "code": "def f(n):\r\n    return n + 1",
        "test_setup_code": "base = 40",
        "test_list": ["assert f(base) == 41", "assert f(41) == 42"],
    },
    "mbpp+": {
        "task_id": "Mbpp/1",
        "prompt": '"""\nWrite f.\nassert f((1, 2)) == (2, 3)\n"""\n',
        "entry_point": "f",
        "canonical_solution": "\ndef f(t):\n    return tuple(n + 1 for n in t) + ((),) * (t == [])",
        "base_input": [[[1, 2]], [[5]]],
        "plus_input": [[[41]], [[]]],
        "assertion": "\nassert f((1, 2)) == (2, 3)\nassert f((5,)) == (6,)\n",
        "atol": 0,
    },
    "leetcode's own": {
        "task_id": "add-one",
        "prompt": IMPORTS,
        "query": "Add one. Please complete:",
        "completion": "class Solution:\n    def f(self, n: int) -> int:\n        return n + 1\n",
        "entry_point": "Solution().f",
        "test": "def check(candidate):\n    assert candidate(n = 1) == 2\n    assert candidate(n = 41) == 42\n",
        "meta": {
            "difficulty": "Easy",
            "question_title": "Add one.\n\nExample 1:\n\nn = 1",
            "lang_code": "class Solution:",
        },
    },
    "apps": {
        "question": "Print one more.\n\n-----Example-----\nInput\n1\n\nOutput\n2\n",
        "input_output": json.dumps({"inputs": ["1\n", "41\n"], "outputs": ["2\n", "42\n"]}),
        "solutions": json.dumps(["print(int(input()) + 1)"]),
        "difficulty": "introductory",
        "problem_id": 7,
    },
    "apps with a function": {
        "question": "Write f, one more.",
        "input_output": {"fn_name": "f", "inputs": [[1], [41]], "outputs": [[2], [42]]},
        "solutions": ["def f(n):\n    return n + 1\n"],
        "id": "f",
    },
    "code contests": {
        "name": "1_A. More",
        "description": "Print one more.",
        "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": ["41\n"], "output": ["42\n"]},
        "generated_tests": {"input": [], "output": []},
        "solutions": {"language": [3, 2], "solution": ["print(int(input()) + 1)", "int main() {}"]},
        "incorrect_solutions": {"language": [3], "solution": ["print(2)"]},
        "time_limit": {"seconds": 2, "nanos": 500000000},
        "memory_limit_bytes": 256000000,
    },
    "classeval": {
        "task_id": "ClassEval_x",
        "skeleton": "class Row:\n    def f(self, n):\n        ...\n",
        "class_name": "Row",
        "solution_code": "class Row:\n    def f(self, n):\n        return n + 1\n",
        "test": "import unittest\n\nclass RowTest(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(Row().f(41), 42)\n",
    },
    "cruxeval": {"id": "s0", "code": "def f(n):\n    return [n + 1]", "input": "41", "output": "[42]"},
    "p3": {
        "name": "P:0",
        "sat": "def sat(n: int):\n    return n == 42",
        "sol_header": "def sol():",
        "sol_docstring": '    """Find 42."""',
        "sol_bodies": ["    return 42"],
    },
}
SHOWN_ANYWAY = {"puzzle", "p3", "output prediction", "cruxeval"}
"""Forms whose statement holds what the hidden tests ask."""


def read(name: str, **options: Any) -> Problem:
    return formats.read(ROWS[name], "f.jsonl, line 1", **options).problem


def program(problem: Problem, answer: str) -> str:
    """A program for the problem's first function that gives a constant."""
    entry = problem.task.entry_point or "row"
    if "()." in entry:
        return f"class Solution:\n    def f(self, **k):\n        return {answer}\n"
    return f"def {entry}(*a, **k):\n    return {answer}\n"


@pytest.mark.parametrize("name", ROWS)
def test_nothing_hidden_is_in_the_task(name: str) -> None:
    problem = read(name)
    assert problem.hidden and problem.origin == "f.jsonl, line 1" and problem.id
    if name not in SHOWN_ANYWAY:
        assert "42" not in problem.task.model_dump_json()
    assert "42" in problem.hidden.model_dump_json() or name == "mbpp+"


@pytest.mark.sandbox
@pytest.mark.parametrize("name", ROWS)
def test_the_reference_passes_and_a_program_for_the_visible_case_fails(name: str, sandbox: Sandbox) -> None:
    problem, judge = read(name), SandboxJudge(sandbox)
    assert problem.solutions
    for task in (problem.scored, problem.task):
        verdict = judge.judge(problem.solutions[0], task)
        assert verdict.verdict == "pass" or verdict.total == 0, verdict.reason
    assert judge.judge(problem.solutions[0], problem.scored).total > 0
    for mutant in (*problem.mutants, program(problem, "2"), "print(2)"):
        assert judge.judge(mutant, problem.scored).verdict == "fail"


def test_mbpp_shows_its_first_assert_and_is_scored_by_all() -> None:
    problem = read("mbpp")
    assert problem.task.tests == "assert f(1) == 2\n"
    assert problem.hidden.tests == "assert f(1) == 2\nassert f(41) == 42\nassert f(61) == 62\n"
    longer = read("mbpp", plus=True).hidden
    assert "71" in longer.tests and longer.limits is not None and longer.limits.wall_s == 30
    assert read("google mbpp").task.tests == "base = 40\nassert f(base) == 41\n"


def test_leetcode_shows_as_many_asserts_as_examples() -> None:
    assert read("leetcode").task.tests == "assert Solution().f(n=1) == 2\n"
    assert "def pile" in read("leetcode").hidden.tests
    assert read("leetcode_contest").task.tests.count("assert") == 1
    assert read("leetcode's own").task.tests == "assert Solution().f(n=1) == 2\n"


def test_a_preamble_stands_before_tests_that_use_it_alone() -> None:
    assert with_preamble(IMPORTS, "assert f(1) == 2\n") == "assert f(1) == 2\n"
    assert with_preamble(IMPORTS, "assert f(pile([1])) == 2\n").startswith(IMPORTS.rstrip())


def test_exercism_shows_the_first_third_of_the_tests_as_written() -> None:
    shown = read("exercism").task.tests
    assert "test_one" in shown and "test_two" not in shown and "never" not in shown and "_s.modules" not in shown
    assert read("exercism").task.entry_point == "row"
    assert "the second" not in shown and first_methods(shown, parse(shown, "f", "tests")) == shown


def test_classes_whose_tests_are_all_hidden_are_left_out() -> None:
    more = (
        UNITS
        + UNITS[UNITS.index("class") :].replace("BoatRaceTest", "Other")
        + "\n\nif __name__ == '__main__':\n    pass\n"
    )
    shown = first_methods(more, parse(more, "f", "tests"))
    assert "test_two" in shown and "test_three" not in shown and "Other" not in shown and parse(shown, "f", "tests")


def test_repair_shows_the_program_to_repair() -> None:
    problem = read("repair")
    assert "return n - 1" in problem.task.prompt and problem.mutants == ("def f(n):\n    return n - 1\n",)


@pytest.mark.sandbox
def test_mbpp_plus_computes_its_answers_with_the_types_of_its_asserts(tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "plus.jsonl"
    path.write_text(json.dumps(ROWS["mbpp+"]))
    (problem,) = load(path, plus=True, sandbox=lambda: sandbox).problems
    assert [case.output for case in problem.hidden.examples] == [(2, 3), (6,), (42,), ()]
    with pytest.raises(InputError, match="computed in the sandbox"):
        load(path, plus=True)


@pytest.mark.sandbox
def test_mbpp_plus_leaves_out_what_its_solution_cannot_answer(sandbox: Sandbox) -> None:
    data = {**ROWS["mbpp+"], "plus_input": [[[41]], [["text"]]]}
    problem, notes = mbpp_plus.completed(mbpp_plus.read(data, "f"), data, sandbox)
    assert len(problem.hidden.examples) == 3
    assert notes == ('f: 1 of 4 inputs left out: TypeError: can only concatenate str (not "int") to str (line 3)',)


def test_code_contests_limits_and_wrong_programs_are_kept() -> None:
    problem = read("code contests")
    assert (problem.task.limits.wall_s, problem.task.limits.memory_mib) == (2.5, 244)
    assert problem.solutions == ("print(int(input()) + 1)",) and problem.mutants == ("print(2)",)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("mbpp", {"tests": "assert f(1) =="}, "tests"),
        ("mbpp", {"prompt": ""}, "prompt"),
        ("humaneval", {"test": 3}, "test"),
        ("google mbpp", {"test_list": []}, "test_list"),
        ("mbpp+", {"assertion": "assert f("}, "assertion"),
        ("apps", {"input_output": {"inputs": ["1"], "outputs": []}}, "input_output"),
        ("apps", {"input_output": {}}, "input_output"),
        ("code contests", {"public_tests": {}, "private_tests": {}}, "public_tests"),
        ("code contests", {"time_limit": 6000}, "wall_s"),
        ("cruxeval", {"output": "["}, "output"),
    ],
)
def test_rows_that_cannot_be_read_are_said_with_their_field(name: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ProblemError) as caught:
        formats.read({**ROWS[name], **changes}, "f.jsonl, line 3")
    assert (caught.value.file, caught.value.field) == ("f.jsonl, line 3", field)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["inputs", "input", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_any_row_of_any_form_is_a_problem_or_an_input_error(data: st.DataObject) -> None:
    chosen = ROWS[data.draw(st.sampled_from(sorted(ROWS)))]
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(chosen)), VALUES, max_size=3))
    try:
        assert formats.read({**chosen, **changed}, "f").problem.task
    except InputError as error:
        assert str(error)


def test_every_form_knows_its_own_rows_and_no_other_does() -> None:
    for name, each in ROWS.items():
        assert len([form for form in FORMS if form.matches(each)]) == 1, name
    assert not any(
        form.matches({"id": "a", "prompt": "p", "tests": "", "source": "s", "solutions": []}) for form in FORMS
    )


def track(folder: Path) -> Path:
    exercise = folder / "exercises" / "practice" / "boat-race"
    for name, text in {
        ".docs/instructions.md": "# Instructions\n\nRow.",
        ".docs/instructions.append.md": "Fast.",
        ".meta/config.json": json.dumps(
            {"files": {"solution": ["boat_race.py"], "test": ["boat_race_test.py"], "example": [".meta/example.py"]}}
        ),
        ".meta/example.py": "def row(n):\n    return n + 1\n",
        "boat_race.py": "def row(n):\n    pass\n",
        "boat_race_test.py": UNITS,
    }.items():
        (exercise / name).parent.mkdir(parents=True, exist_ok=True)
        (exercise / name).write_text(text)
    entries = [{"slug": "boat-race", "name": "Boat Race", "difficulty": 4}, {"slug": "gone", "status": "deprecated"}]
    (folder / "config.json").write_text(json.dumps({"exercises": {"practice": entries}}))
    return folder


@pytest.mark.sandbox
def test_an_exercism_track_is_a_set(tmp_path: Path, sandbox: Sandbox) -> None:
    (problem,) = load(track(tmp_path)).problems
    task = problem.task
    assert (task.id, task.title, task.difficulty, task.entry_point) == ("exercism/boat-race", "Boat Race", "4", "row")
    assert "Row." in task.prompt and "Fast." in task.prompt and "def row(n):\n    pass" in task.prompt
    assert "test_one" in task.tests and "42" not in task.model_dump_json()
    assert SandboxJudge(sandbox).judge(problem.solutions[0], problem.scored).passed == 3


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("config.json", '{"exercises": {"practice": [{"slug": "../.."}]}}', "no folder's name"),
        (
            "exercises/practice/boat-race/.meta/config.json",
            '{"files": {"solution": ["/etc/passwd"]}}',
            "not in the exercise's",
        ),
        ("exercises/practice/boat-race/.meta/config.json", "{}", "names no file"),
        ("exercises/practice/boat-race/boat_race_test.py", "def (", "`test` does not parse: line 1"),
    ],
)
def test_a_track_that_is_broken_is_said_with_its_place(tmp_path: Path, file: str, text: str, said: str) -> None:
    (track(tmp_path) / file).write_text(text)
    assert exercism.is_track(tmp_path)
    with pytest.raises(InputError, match=said):
        load(tmp_path)
