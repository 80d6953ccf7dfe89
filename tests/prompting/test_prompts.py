"""What is filled into a prompt is data: it cannot close its fence, add lines of its own, or hide anything."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from crucible.prompting.prompt import _answer, _ask
from crucible.prompting.templates import fence, render
from crucible.types import Diagnosis, Feedback, FindingKind, Task

HOSTILE = st.text(alphabet=st.sampled_from("`~ab\n \r\t\x1b\u202e\u200b"), max_size=60)
PREFILL = "Below is a script:\n```python\n"


def blocks(prompt: str) -> list[str]:
    """The code blocks of a Markdown text, by CommonMark's rule: closed by at least as many backticks as opened it."""
    found, opened, inside = [], "", list[str]()
    for line in prompt.split("\n"):
        mark = re.fullmatch(r" {0,3}(`{3,})[^`]*", line)
        if opened and mark and len(mark[1]) >= len(opened) and line.strip() == mark[1]:
            found.append("\n".join(inside))
            opened, inside = "", []
        elif opened:
            inside.append(line)
        elif mark:
            opened = mark[1]
    assert not opened, "a block was never closed"
    return found


def finding(message: str, **more: str) -> Feedback:
    return Feedback(kind=FindingKind.RUNTIME, severity="error", message=message, **more)  # type: ignore[arg-type]


def test_an_ordinary_task_reads_as_it_always_did() -> None:
    task = Task(prompt="Write f(x).", tests="assert f(1) == 2", constraints=("no imports",), entry_point="g")
    assert _ask(task) == (
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
        "```\nWrite f(x).\n```\n\nConstraints:\n- no imports\n\nIt must pass these tests:\n```python\nassert f(1) == 2\n"
        "```\n\nName the function `g`."
    )


def test_an_ordinary_failure_reads_as_it_always_did() -> None:
    wrong = finding("wrong answer", call="f(1)", expected="2", actual="3")
    assert render("repair", findings=[wrong], diagnosis=Diagnosis(attempt_id="1", cause="c", fix="d")) == (
        "That script is not right yet.\n- wrong answer\n  `f(1)` should give `2` but gave `3`.\nLikely cause: c\nFix: d\n"
        "Write the whole corrected script in a markdown code block."
    )


@given(prompt=HOSTILE.filter(str.strip), tests=HOSTILE)
def test_a_task_stays_inside_its_fence(prompt: str, tests: str) -> None:
    shown = blocks(_ask(Task(prompt=prompt, tests=f"x{tests}", entry_point="f")))
    assert len(shown) == 1 + (f"x{tests}".strip() not in prompt)


@given(prompt=HOSTILE, code=HOSTILE)
def test_a_failing_script_stays_inside_its_fence(prompt: str, code: str) -> None:
    assert len(blocks(render("diagnose", prompt=prompt, code=code, findings=[finding(code)]))) == 2


@given(code=HOSTILE)
def test_a_remembered_program_stays_inside_its_fence(code: str) -> None:
    for prefill in ("", PREFILL):
        assert len(blocks(_answer(prefill, code))) == 1


def test_an_ordinary_answer_is_the_recipes_own() -> None:
    assert _answer(PREFILL, "x = 1\n") == f"{PREFILL}x = 1\n```"


@given(text=HOSTILE)
def test_a_finding_stays_on_its_lines_and_in_its_quotes(text: str) -> None:
    shown = render("repair", findings=[finding(text, call=f"c{text}", actual=f"a{text}")], diagnosis=None)
    lines = shown.split("\n")
    assert len(lines) == 4 and lines[-1].startswith("Write the whole")
    ticks, longest = re.match("`+", lines[2].strip()), max(map(len, re.findall("`+", text)), default=0)
    assert ticks and len(ticks[0]) == longest + 1


@given(text=st.text(max_size=100))
def test_nothing_invisible_reaches_a_model(text: str) -> None:
    task = Task(prompt=f"p{text}", tests=f"t{text}", constraints=(text,))
    shown = _ask(task) + render("diagnose", prompt=text, code=text, findings=[finding(text, call=text)])
    assert not {unicodedata.category(character) for character in shown.replace("\n", "").replace("\t", "")} & {
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Zl",
        "Zp",
    }


def test_line_ends_from_elsewhere_are_line_ends() -> None:
    assert "```\na\nb\nc\n```" in _ask(Task(prompt="a\r\nb\rc"))


def test_long_findings_are_cut() -> None:
    assert len(render("repair", findings=[finding("x" * 100_000)], diagnosis=None)) < 600


def test_template_marks_in_content_are_content() -> None:
    assert "{{ 7 * 7 }} {% raw %}" in _ask(Task(prompt="{{ 7 * 7 }} {% raw %}"))


@pytest.mark.parametrize(("content", "ticks"), [("", 3), ("`a`", 3), ("```", 4), ("a ````` b", 6)])
def test_a_fence_is_longer_than_what_it_holds(content: str, ticks: int) -> None:
    assert fence(content) == "`" * ticks


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("solve", promt="x")
