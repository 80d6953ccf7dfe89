"""What is added to a server's engine: trying again, holding back, falling back, remembering, counting."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from crucible.errors import ContextOverflowError, EngineError, InputError, ModelUnavailableError, StoreError
from crucible.models.remote.openai import OpenAIModel
from crucible.models.scripted import ScriptedModel
from crucible.models.transport.stop import Stop
from crucible.models.transport.throttle import Throttle
from crucible.models.wrappers.cached import CachedModel
from crucible.models.wrappers.fallback import FallbackModel
from crucible.models.wrappers.metered import MeteredModel
from crucible.types import Message, Sampling
from tests.models.rude import Reply, rude

ASK = [Message(role="user", content="Count.")]
ONE = Sampling(max_tokens=8)
BUSY = Reply(status=503, text="loading")


# ------------------------------------------------------------- trying again


@pytest.mark.parametrize("first", [BUSY, Reply(status=429), Reply(status=500), Reply(cut=1)])
def test_what_passes_is_tried_again(first: Reply) -> None:
    with rude(first, first, Reply()) as server, OpenAIModel(server.url, "m", retries=3) as model:
        (drawn,) = model.generate(ASK, [ONE])
        assert drawn.text == "one two three " and drawn.completion_tokens == 3
        assert len(server.asked) == 3
        assert model.notices() == [f"{server.url} had to be asked again 2 times"]
        assert model.notices() == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_does_not_pass_is_not(status: int) -> None:
    with rude(Reply(status=status, text="no")) as server, OpenAIModel(server.url, "m", retries=3) as model:
        with pytest.raises((EngineError, ModelUnavailableError)):
            model.generate(ASK, [ONE])
        assert len(server.asked) == 1


def test_a_prompt_that_is_too_long_is_not_sent_again_whatever_the_status() -> None:
    too_long = Reply(status=500, text="the prompt exceeds the context length of 10")
    with rude(too_long._replace(status=400)) as server, OpenAIModel(server.url, "m", retries=3) as model:
        with pytest.raises(ContextOverflowError):
            model.generate(ASK, [ONE])
        assert len(server.asked) == 1


def test_after_the_last_try_the_error_is_the_servers() -> None:
    with rude(BUSY) as server, OpenAIModel(server.url, "m", retries=2) as model:
        with pytest.raises(ModelUnavailableError, match=r"not ready.*503.*loading"):
            model.generate(ASK, [ONE])
        assert len(server.asked) == 3


def test_the_pause_doubles_and_a_server_may_ask_for_a_longer_one() -> None:
    with rude(BUSY, BUSY, BUSY._replace(retry_after="2"), Reply()) as server:
        with OpenAIModel(server.url, "m", retries=3) as model:
            model.generate(ASK, [ONE])
        pauses = [after.at - before.at for before, after in zip(server.asked, server.asked[1:], strict=False)]
        assert 0.2 < pauses[0] < 1.0 and 0.45 < pauses[1] < 1.6 and 1.9 < pauses[2] < 3.5


def test_cancelling_ends_the_pause() -> None:
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with rude(BUSY._replace(retry_after="30")) as server, OpenAIModel(server.url, "m", retries=3) as model:
        began = time.monotonic()
        (drawn,) = model.generate(ASK, [ONE], cancel=cancel)
        assert drawn.finish_reason == "cancelled" and time.monotonic() - began < 3


def test_only_the_request_that_failed_is_sent_again() -> None:
    with rude(Reply(), BUSY, Reply()) as server, OpenAIModel(server.url, "m", retries=3) as model:
        drawn = model.generate(ASK, [ONE] * 5)
        assert [each.text for each in drawn] == ["one two three "] * 5
        assert len(server.asked) == 6


# ------------------------------------------------------------- holding back


def test_refusals_halve_what_is_in_flight() -> None:
    throttle = Throttle(64)
    for _ in range(3):
        throttle.refused()
    assert throttle.limit == 8
    for _ in range(20):
        throttle.refused()
    assert throttle.limit == 1  # never nothing


def in_flight(throttle: Throttle, count: int) -> ExitStack:
    """As many requests as let through at a time, until it is closed."""
    held = ExitStack()
    stop = held.enter_context(Stop(None, None, 10))
    for _ in range(count):
        held.enter_context(throttle.admitted(stop))
    return held


def test_a_server_that_does_less_in_all_is_held_back_and_let_go_again() -> None:
    throttle = Throttle(16)
    with in_flight(throttle, 1):
        throttle.answered(seconds=1.0, tokens=100)
    with in_flight(throttle, 16):
        for _ in range(30):
            throttle.answered(seconds=60.0, tokens=100)  # 27 tokens a second, all together
    assert throttle.limit < 2
    with in_flight(throttle, 1):
        for _ in range(200):
            throttle.answered(seconds=1.2, tokens=100)
    assert throttle.limit == 16


def test_a_server_that_batches_is_not_taken_for_a_full_one() -> None:
    throttle = Throttle(16)
    with in_flight(throttle, 1):
        throttle.answered(seconds=1.0, tokens=100)
    with in_flight(throttle, 16):
        for _ in range(30):
            throttle.answered(seconds=8.0, tokens=100)  # eight times as slow, twice as much in all
    assert throttle.limit == 16


def test_a_server_of_our_own_gets_what_it_has_slots_for() -> None:
    throttle = Throttle(16, adapts=False)
    with in_flight(throttle, 16):
        for seconds in (1.0, *[100.0] * 30):
            throttle.answered(seconds=seconds, tokens=100)
        throttle.refused()
    assert throttle.limit == 16


def test_no_more_than_the_limit_are_sent_at_once() -> None:
    with rude(Reply(slow_s=0.1)) as server, OpenAIModel(server.url, "m") as model:
        model._client.throttle.limit = 3.0
        model._client.throttle.most = 3
        model.generate(ASK, [ONE] * 12)
        assert server.most == 3


def test_a_stopped_request_does_not_wait_for_a_place() -> None:
    throttle, cancel = Throttle(1), threading.Event()
    with Stop(cancel, None, 10) as stop, throttle.admitted(stop):
        threading.Timer(0.2, cancel.set).start()
        with throttle.admitted(stop):
            assert stop.check() == "cancelled"


# ------------------------------------------------------------- falling back


def test_the_next_model_answers_when_one_fails_and_stays() -> None:
    with rude(BUSY) as server:
        model = FallbackModel(OpenAIModel(server.url, "first"), [lambda: ScriptedModel(["from here"], name="second")])
        with model:
            assert model.generate(ASK, [ONE])[0].text == "from here"
            assert model.identity.name == "second"
            (notice,) = model.notices()
            assert "first failed" in notice and "second answers now" in notice
            model.generate(ASK, [ONE])
        assert len(server.asked) == 1


def test_after_the_last_model_the_error_is_its_own() -> None:
    def missing() -> ScriptedModel:
        raise ModelUnavailableError("not pulled")

    with rude(BUSY) as server, FallbackModel(OpenAIModel(server.url, "m"), [missing]) as model:
        with pytest.raises(ModelUnavailableError, match="503"):
            model.generate(ASK, [ONE])
        assert any("not pulled" in notice for notice in model.notices())


def test_what_would_fail_anywhere_is_not_tried_elsewhere() -> None:
    def never() -> ScriptedModel:
        raise AssertionError("must not be made")

    with FallbackModel(ScriptedModel(["x"], context_length=4), [never]) as model:
        with pytest.raises(ContextOverflowError):
            model.generate([Message(role="user", content="a b c d e f g")], [ONE])
        with pytest.raises(InputError):
            model.generate(ASK, [Sampling(regex="x")])


# ------------------------------------------------------------- remembering


def test_the_same_question_is_asked_once(tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []
    with rude(Reply()) as server:
        for _ in range(2):  # the second finds it on disk
            with CachedModel(OpenAIModel(server.url, "m"), tmp_path / "c.sqlite") as model:
                drawn = model.generate(ASK, [ONE, Sampling(max_tokens=9)], on_delta=lambda *said: heard.append(said))
        assert len(server.asked) == 2
        assert [each.text for each in drawn] == ["one two three "] * 2
        assert (model.hits, model.misses) == (2, 0)
        assert heard[-2:] == [(0, "one two three "), (1, "one two three ")]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"temperature": 0.1},
        {"top_p": 0.9},
        {"stop": ("x",)},
        {"max_tokens": 9},
        {"regex": "o"},
        {"adapter": ""},
    ],
)
def test_anything_that_decides_the_answer_is_of_the_key(tmp_path: Path, changes: dict[str, object]) -> None:
    with rude(Reply()) as server:
        with CachedModel(OpenAIModel(server.url, "m", dialect="sglang"), tmp_path / "c.sqlite") as model:
            model.generate(ASK, [ONE])
            model.generate(ASK, [ONE.model_copy(update=changes)])
        assert len(server.asked) == 2


def test_messages_and_model_are_of_the_key(tmp_path: Path) -> None:
    with rude(Reply()) as server:
        for name, text in (("m", "a"), ("m", "b"), ("n", "a")):
            with CachedModel(OpenAIModel(server.url, name), tmp_path / "c.sqlite") as model:
                model.generate([Message(role="user", content=text)], [ONE])
        assert len(server.asked) == 3


def test_a_cancelled_answer_is_not_kept(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with rude(Reply()) as server, CachedModel(OpenAIModel(server.url, "m"), tmp_path / "c.sqlite") as model:
        assert model.generate(ASK, [ONE], cancel=cancel)[0].finish_reason == "cancelled"
        assert model.generate(ASK, [ONE])[0].text == "one two three "


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"not a database at all, and long enough to be looked at" * 20)
    with pytest.raises(StoreError, match=r"c\.sqlite cannot be used.*model\.cache"):
        CachedModel(ScriptedModel(["x"]), tmp_path / "c.sqlite")


# ------------------------------------------------------------- counting


def test_tokens_cost_and_latency_are_counted() -> None:
    model = MeteredModel(ScriptedModel(["a b c"]), prompt_price=2.0, completion_price=10.0)
    assert model.usage().latency_s == {}
    model.generate(ASK, [ONE] * 4)
    used = model.usage()
    assert (used.completions, used.prompt_tokens, used.completion_tokens) == (4, 8, 20)
    assert used.cost == pytest.approx((8 * 2 + 20 * 10) / 1e6)
    model._seconds = [float(number) for number in range(1, 101)]
    assert model.usage().latency_s == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
