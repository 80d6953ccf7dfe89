"""Extraction: a table of real answers, then one property each.

`answers.json` holds answers of Qwen2.5-Coder-0.5B and SmolLM2-135M to four tasks asked in five ways, many cut off by
their token limit, with the program that was meant, as a person checked it.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.languages.python.extract import extract

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_text())


@pytest.mark.parametrize("row", ANSWERS, ids=[f"{row['kind']}, {row['entry_point']}" for row in ANSWERS])
def test_real_answers(row: dict[str, Any]) -> None:
    found = extract(
        row["answer"], prompt=row["prompt"], entry_point=row["entry_point"], inside_fence="prefill" in row["kind"]
    )
    assert found.code == row["code"]
    assert list(found.how) == row["how"]
    names = {node.name for node in ast.parse(found.code).body if isinstance(node, ast.FunctionDef)}
    assert names


def code_of(answer: str, **known: Any) -> str:
    return extract(answer, **known).code


def test_a_prefilled_answer_starts_as_code_and_ends_at_the_fence() -> None:
    assert code_of("def f():\n    return 1\n```\nThat is f.", inside_fence=True) == "def f():\n    return 1\n"


def test_a_fence_that_repeats_the_prefill_is_not_code() -> None:
    assert code_of("```python\ndef f():\n    return 1\n```", inside_fence=True) == "def f():\n    return 1\n"


def test_the_block_that_defines_the_entry_point_wins_over_a_longer_one() -> None:
    answer = "```python\nx = 1\ny = 2\nz = 3\nlonger = 4\n```\n```python\ndef f():\n    return 1\n```"
    assert code_of(answer, entry_point="f") == "def f():\n    return 1\n"


def test_a_helper_from_another_block_comes_along() -> None:
    answer = "```python\ndef f(x):\n    return g(x)\n```\nwith\n```python\ndef g(x):\n    return x\n```"
    names = [
        node.name for node in ast.parse(code_of(answer, entry_point="f")).body if isinstance(node, ast.FunctionDef)
    ]
    assert names == ["g", "f"]


def test_blocks_of_other_languages_are_left_out() -> None:
    assert code_of("```bash\npip install x\n```\n```py\ndef f(): return 1\n```") == "def f(): return 1\n"


def test_unfenced_code_between_prose() -> None:
    assert code_of("Sure, here:\n\ndef f():\n    return 1\n\nIt's done, isn't it?") == "def f():\n    return 1\n"


def test_a_bare_body_gets_the_tasks_signature() -> None:
    code = code_of("    return x + 1", prompt='def f(x: int) -> int:\n    """Next."""', entry_point="f")
    assert code == "def f(x: int) -> int:\n    return x + 1\n"


def test_the_tasks_imports_come_back_where_they_are_used() -> None:
    prompt = "from typing import List\nimport heapq\ndef f(x: List[int]): ..."
    code = code_of("```\ndef f(x: List[int]):\n    return x\n```", prompt=prompt, entry_point="f")
    assert code.startswith("from typing import List\n") and "heapq" not in code.replace("import heapq", "")


def test_another_name_is_made_good() -> None:
    assert code_of("```\ndef solution(x):\n    return x\n```", entry_point="f").endswith("\nf = solution\n")


def test_a_session_loses_its_prompts() -> None:
    assert code_of("```\n>>> def f():\n...     return 1\n>>> f()\n1\n```") == "def f():\n    return 1\n"


def test_a_cut_off_program_keeps_what_parses() -> None:
    assert code_of("```python\ndef f():\n    return 1\n\ndef g(:\n    re") == "def f():\n    return 1\n"


def test_own_checks_and_demonstrations_go_and_settings_stay() -> None:
    answer = (
        "```python\nimport sys\nsys.setrecursionlimit(9999)\nLIMIT = 3\n\ndef f(x):\n    return x % LIMIT\n\n"
        "# Example usage:\nvalues = [1]\nassert f(1) == 2\nprint(f(values[0]))\nif __name__ == '__main__':\n    f(1)\n```"
    )
    assert code_of(answer) == (
        "import sys\nsys.setrecursionlimit(9999)\nLIMIT = 3\n\ndef f(x):\n    return x % LIMIT\n"
    )


def test_what_the_program_reads_below_its_last_function_stays() -> None:
    answer = "```python\ndef f():\n    return TABLE[1]\n\nTABLE = {1: 2}\nunused = 5\n```"
    assert code_of(answer) == "def f():\n    return TABLE[1]\n\nTABLE = {1: 2}\n"


@pytest.mark.parametrize("answer", ["", "   ", "I cannot help with that.", "```python\n```", "```json\n{}\n```"])
def test_no_program_is_no_code(answer: str) -> None:
    assert code_of(answer) == ""


@pytest.mark.parametrize(
    "answer", ["(" * 100_000, "```\n" + "[" * 100_000, "x = " + "9" * 150_000, "\0" * 50, "`" * 5000]
)
def test_hostile_answers_end(answer: str) -> None:
    assert len(code_of(answer)) <= 200_001


@given(st.text(max_size=400), st.booleans())
def test_any_text_gives_text(answer: str, inside: bool) -> None:
    found = extract(answer, prompt=answer, entry_point="f", inside_fence=inside)
    assert not found.code or found.code.endswith("\n")


@given(st.text(alphabet="`~\n abc:=()def#", max_size=200))
def test_a_program_in_a_fence_survives_any_prose_before_it(prose: str) -> None:
    wanted = "def wanted(x):\n    return x * 31\n"
    prose = prose.replace("`", "'").replace("~", "-")
    assert code_of(f"{prose}\n```python\n{wanted}```\n", entry_point="wanted") == wanted


def test_an_entry_point_that_is_a_method_renames_nothing() -> None:
    code = "class Solution:\n    def area(self, n):\n        return helper(n)\n\n\ndef helper(x):\n    return x\n"
    found = extract(code, entry_point="Solution().area", inside_fence=True)
    assert found.code.strip() == code.strip() and "renamed" not in found.how
