"""A draw that only repeats itself ends early; anything else goes on."""

from __future__ import annotations

import threading

from crucible.models.scripted import ScriptedModel
from crucible.nodes.ending import Ending
from crucible.types import Message, Sampling


def test_a_repeating_answer_is_ended_long_before_its_tokens_are_spent() -> None:
    model = ScriptedModel(["def f(x):\n    return x\n\n" + "assert f(1) == 1\n" * 2000])
    ending = Ending(threading.Event(), 1)
    ask = [Message(role="user", content="Write f.")]
    (answer,) = model.generate(ask, [Sampling(max_tokens=20_000)], on_delta=ending.hear, cancel=ending)
    assert answer.finish_reason == "cancelled" and answer.completion_tokens < 1000


def test_a_batch_goes_on_while_one_sample_has_something_to_say() -> None:
    ending = Ending(threading.Event(), 2)
    for _ in range(200):
        ending.hear(0, "x = 1\n")
    assert not ending.is_set()
    for _ in range(200):
        ending.hear(1, "y = 1\n")
    assert ending.is_set()


def test_what_cancels_the_run_cancels_the_draw() -> None:
    outer = threading.Event()
    ending = Ending(outer, 1)
    outer.set()
    assert ending.is_set()
