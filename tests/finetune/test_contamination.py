"""Copies are known for copies; what is merely of the same kind is not."""

from __future__ import annotations

import pytest

from crucible.finetune.data.contamination import Contamination, Evaluated, skeleton

TEXT = (
    "Given a list of words, return the one that holds the most different vowels. Where two hold equally many, the "
    "earlier one is wanted. An empty list gives an empty string."
)
PROGRAM = """
def most_vowels(words):
    best, most = "", -1
    for word in words:
        found = len(set(word) & set("aeiou"))
        if found > most:
            best, most = word, found
    return best
"""
KNOWN = Contamination([Evaluated(id="dev/7", text=TEXT, solutions=(PROGRAM,))])


@pytest.mark.parametrize(
    "copy",
    [
        TEXT,
        TEXT.upper().replace(",", " ;"),
        "Please help me. " + TEXT,
        TEXT + " Solve it in Python.",
        TEXT.replace("An empty list gives an empty string.", "For no words at all, return ''."),
    ],
)
def test_a_copied_text_is_found(copy: str) -> None:
    assert KNOWN.reason(copy) is not None


def test_a_copy_is_found_though_it_shares_more_with_a_longer_problem() -> None:
    numbered = [f"word{number}" for number in range(200)]
    short, long = "a short problem of its own with twelve words in all of it", " ".join(numbered)
    both = Contamination([Evaluated(id="short", text=short), Evaluated(id="long", text=long)])
    own = " ".join(f"own{number}" for number in range(60))
    assert both.reason(f"{short} {' '.join(numbered[:30])} {own}") == "most of the text of short"


@pytest.mark.parametrize(
    "other",
    [
        "",
        "Given a list of words, return the longest one.",
        "Return how many different vowels a word holds.",
        "Given a list of numbers, return the one that occurs most often. Where two occur equally often, any is right.",
    ],
)
def test_another_task_is_not(other: str) -> None:
    assert KNOWN.reason(other) is None


@pytest.mark.parametrize(
    "copy",
    [
        PROGRAM.replace("words", "xs").replace("word", "x").replace("best", "b"),
        PROGRAM.replace("def most_vowels(words):", 'def f(words: list[str]) -> str:\n    """Mine."""'),
        "# written by me\n" + PROGRAM,
    ],
)
def test_a_renamed_program_is_found(copy: str) -> None:
    assert KNOWN.reason("Something else.", copy) == "a solution of dev/7"


def test_another_program_and_a_trivial_one_are_not() -> None:
    assert KNOWN.reason("", PROGRAM.replace("found > most", "found >= most")) is None
    assert skeleton("def f(a, b):\n    return a + b\n") is None
    assert skeleton("def f(:") is None


def test_names_that_are_not_the_programs_own_count() -> None:
    assert skeleton(PROGRAM) != skeleton(PROGRAM.replace("len(set", "sum(set"))


def test_an_authors_stock_phrase_says_nothing() -> None:
    stock = "Please write a self-contained Python function that does the following thing and nothing else:"
    known = Contamination([Evaluated(id=str(n), text=f"{stock} thing number {n}") for n in range(20)])
    assert known.reason(f"{stock} turn a list around") is None
    assert known.reason(f"{stock} thing number 3") is not None
