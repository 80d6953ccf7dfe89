"""Thinking is cut off the answer; a program that speaks of thinking marks stays whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.models.transport.thinking import Thinking

PROGRAM = "```python\ndef double(n):\n    return n * 2\n```\n"
DRAFT = "Maybe:\n```python\ndef double(n):\n    return n + 1\n```\nNo, wrong.\n"
STRIPPER = 'import re\n\ndef strip(text):\n    return re.sub(r"<think>.*?</think>", "", text.split("</think>")[-1])\n'

THOUGHT = [
    f"<think>\n{DRAFT}</think>\n\n{PROGRAM}",
    f"\n <THINK>{DRAFT}</think>{PROGRAM}",
    f"<thinking>{DRAFT}</thinking>\n{PROGRAM}",
    f"[THINK]{DRAFT}[/THINK]{PROGRAM}",
    f"<think>a</think>\n<think>{DRAFT}</think>{PROGRAM}",
    f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{PROGRAM}<|return|>",
    f"analysis{DRAFT}assistantfinal{PROGRAM}",
    f"{DRAFT}</think>\n\n{PROGRAM}",
    f"{DRAFT}So it is n * 2.</think>\n{PROGRAM}",
]


def parted(text: str, size: int = 3) -> tuple[str, str, str]:
    """(text, thoughts, what was shown on the way)."""
    thinking = Thinking()
    heard = [thinking.feed(text[at : at + size]) for at in range(0, len(text), size)]
    heard.append(thinking.end())
    return thinking.text, thinking.thoughts, "".join(heard)


@pytest.mark.parametrize("text", THOUGHT)
@pytest.mark.parametrize("size", [1, 4, 1000])
def test_thinking_is_no_part_of_the_answer(text: str, size: int) -> None:
    answer, thoughts, _ = parted(text, size)
    assert answer.strip() == PROGRAM.strip()
    assert "n + 1" in thoughts and "n * 2\n```" not in thoughts


@pytest.mark.parametrize("text", THOUGHT[:6])
def test_thinking_is_not_shown_as_a_program(text: str) -> None:
    answer, _, heard = parted(text)
    assert heard == answer


@pytest.mark.parametrize(
    "text",
    [
        PROGRAM,
        STRIPPER,
        f"```python\n{STRIPPER}```\n",
        'MARK = """\n<think>\n"""\n# </think>\n',
        "```\na\n</think>\nb\n```\n",
        "<div>markup</div>",
        "<thin",
        "",
        "  \n",
        "analysis of the task",
    ],
)
def test_an_answer_that_thinks_nothing_stays_as_it_is(text: str) -> None:
    assert parted(text) == (text, "", text)


def test_thinking_that_never_ends_is_no_answer() -> None:
    assert parted("<think>\n" + DRAFT)[0] == ""
    assert parted("<|channel|>analysis<|message|>" + DRAFT)[0] == ""


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<|channel|>", "final", "<|message|>", "<|end|>", "İ", "\n", "x"]))
)
def test_nothing_is_lost_or_raised(parts: list[str]) -> None:
    text = "".join(parts)
    whole = parted(text, 10_000)
    assert parted(text, 1)[:2] == whole[:2]
    assert whole[0].count("x") + whole[1].count("x") <= text.count("x")
