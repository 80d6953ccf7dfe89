"""Programs that do not parse are gone on with from what does, within the same budget of tokens."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import InputError
from crucible.languages.python.checks.source import first_error
from crucible.models.base import Feature, OnDelta
from crucible.models.scripted import ScriptedModel
from crucible.models.wrappers.syntax import SyntaxModel
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, Sampling
from tests.models.serving import serve, small_model

ASK = [Message(role="user", content="Write f."), Message(role="assistant", content="Here:\n```python\n")]
PYTHON = Sampling(max_tokens=100, temperature=1.0, seed=5, syntax="python")


class Continuing(WrappedModel):
    """Says its replies in turn, whatever it was begun with, and notes what it was asked."""

    def __init__(self, *replies: str) -> None:
        super().__init__(ScriptedModel(replies))
        self.asked: list[tuple[Sequence[Message], Sampling]] = []

    @property
    def features(self) -> frozenset[Feature]:
        return self.inner.features | {"prefill"}

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        self.asked += [(messages, sampling) for sampling in samplings]
        return super().generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)


def drawn(*replies: str, sampling: Sampling = PYTHON) -> tuple[Completion, Continuing]:
    inner = Continuing(*replies)
    (completion,) = SyntaxModel(inner, first_error).generate(ASK, [sampling])
    return completion, inner


def test_what_parses_is_left_alone() -> None:
    completion, inner = drawn("def f():\n    return 1\n")
    assert completion.text == "def f():\n    return 1\n" and len(inner.asked) == 1
    assert inner.asked[0][1] == PYTHON.model_copy(update={"syntax": None})


def test_it_goes_on_from_the_last_sound_line() -> None:
    completion, inner = drawn("def f():\n    x = 1\n    return x +\n", "    return x + 1\n")
    assert completion.text == "def f():\n    x = 1\n    return x + 1\n"
    messages, again = inner.asked[1]
    assert messages[-1] == Message(role="assistant", content="Here:\n```python\ndef f():\n    x = 1\n")
    assert messages[:-1] == ASK[:-1]
    assert again.seed != PYTHON.seed


def test_every_token_is_counted_and_none_is_over_the_limit() -> None:
    sampling = PYTHON.model_copy(update={"max_tokens": 20})
    bad = "x = = 1\n"
    completion, inner = drawn(bad, bad, bad, bad, bad, bad, sampling=sampling)
    assert completion.completion_tokens == sum(
        min(sampling.max_tokens, inner.count_tokens(bad)) for sampling in (each for _, each in inner.asked)
    )
    assert completion.completion_tokens <= 20
    assert completion.text == "" and first_error(completion.text) is None


def test_a_greedy_sample_is_stirred_or_it_would_write_the_same() -> None:
    _, inner = drawn("x = = 1\n", "x = 1\n", sampling=PYTHON.model_copy(update={"temperature": 0.0}))
    assert [sampling.temperature for _, sampling in inner.asked] == [0.0, 0.5]


def test_the_same_line_again_goes_further_back() -> None:
    open_bracket = "a = 1\nb = [\nc = 2\nd = 3 4\n"
    _, inner = drawn(open_bracket, "d = 3 4\n", "b = 2\n")
    kept = [messages[-1].content.removeprefix("Here:\n```python\n") for messages, _ in inner.asked]
    assert len(kept) >= 2 and len(kept[-1]) <= len(kept[1])


def test_a_truncated_program_is_cut_to_what_parses() -> None:
    whole = "def f():\n    return 1\n\n\ndef g(\n"
    sampling = PYTHON.model_copy(update={"max_tokens": ScriptedModel(["x"]).count_tokens(whole)})
    completion, _ = drawn(whole, sampling=sampling)
    assert completion.text == "def f():\n    return 1\n\n\n"


def test_only_what_asks_for_it_is_mended() -> None:
    inner = Continuing("x = = 1")
    model = SyntaxModel(inner, first_error)
    assert model.generate(ASK, [PYTHON.model_copy(update={"syntax": None})])[0].text == "x = = 1"
    with pytest.raises(InputError, match="no syntax here"):
        ScriptedModel(["x"]).generate(ASK, [PYTHON])
    assert "syntax" not in SyntaxModel(ScriptedModel(["x"]), first_error).features  # it continues no prefill


def test_samples_of_a_batch_keep_their_places() -> None:
    inner = Continuing("a = 1\n", "b = = 2\n", "c = 3\n", "b = 2\n")
    texts = [each.text for each in SyntaxModel(inner, first_error).generate(ASK, [PYTHON] * 3)]
    assert texts == ["a = 1\n", "b = 2\n", "c = 3\n"]


def test_a_cancelled_sample_is_not_gone_on_with() -> None:
    cancel = threading.Event()
    cancel.set()
    inner = Continuing("x = = 1")
    (completion,) = SyntaxModel(inner, first_error).generate(ASK, [PYTHON], cancel=cancel)
    assert completion.finish_reason == "cancelled" and len(inner.asked) == 1


LINES = st.sampled_from(
    ["x = 1", "if x:", "    y = (", "  z", "def f():", "    return [1,", "])", "'''", "else:", "\ttab", "(", "é = 2"]
)


@given(st.lists(st.lists(LINES, max_size=8).map("\n".join), min_size=1, max_size=6), st.integers(1, 60))
def test_whatever_is_written_the_answer_parses(replies: list[str], max_tokens: int) -> None:
    completion, inner = drawn(*replies, sampling=PYTHON.model_copy(update={"max_tokens": max_tokens}))
    assert first_error(completion.text) is None
    assert completion.completion_tokens <= max_tokens
    assert len(inner.asked) <= 5


@pytest.mark.model
def test_a_real_model_at_a_high_temperature() -> None:
    with serve(small_model(), slots=8) as engine:
        model = SyntaxModel(engine, first_error)
        samplings = [Sampling(max_tokens=60, temperature=1.5, seed=seed, syntax="python") for seed in range(8)]
        plain = engine.generate(ASK, [each.model_copy(update={"syntax": None}) for each in samplings])
        guided = model.generate(ASK, samplings)
    assert sum(first_error(each.text) is not None for each in plain) >= 4
    assert [first_error(each.text) for each in guided] == [None] * 8
    assert max(each.completion_tokens for each in guided) <= 60
