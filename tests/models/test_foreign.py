"""What servers send that is not of the API: each is read for what it says, or is an error that says what came."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import ContextOverflowError, CrucibleError, EngineError, InputError, ModelUnavailableError
from crucible.models.remote.openai import OpenAIModel
from crucible.models.transport.chat import ChatAnswer
from crucible.models.transport.client import address, checked_key, this_machine
from crucible.models.transport.quoting import quote, shown
from crucible.models.transport.refusals import problem, seconds
from crucible.models.transport.sse import DONE, EventStream
from crucible.models.weights.pull import pull
from crucible.models.wrappers.cached import CachedModel
from crucible.types import Completion, Message, Sampling
from tests.models.raw import raw
from tests.models.rude import Reply, rude
from tests.models.test_catalogue import tiny_gguf

ASK = [Message(role="user", content="Write double(n).")]
CODE = "def double(n):\n    return n * 2\n"
KEY = "sk-aaaabbbbcccc1234"


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(text: Any = None, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 9}}
GOOD = event(delta(CODE[:9])) + event(delta(CODE[9:])) + event(delta(finish="stop")) + event(USAGE) + event(b"[DONE]")


def drawn(*pieces: bytes, pause_s: float = 0.0, timeout_s: float = 30.0, **headers: str) -> Completion:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with (
        raw(*pieces, headers=named, pause_s=pause_s) as server,
        OpenAIModel(server.url, "m", timeout_s=timeout_s) as model,
    ):
        return model.generate(ASK, [Sampling(max_tokens=64)])[0]


ODD = [
    b"data: null\n\n",
    b"data:\n\n",
    b"data: keepalive\n\n",
    b": ping\n\n",
    event("ping"),
    event([]),
    event({"choices": None}),
    event({"choices": {"index": 0}}),
    event({"choices": [None]}),
    event({"choices": [{"delta": None}]}),
    event({"choices": [{"delta": "x"}]}),
    event(delta(5)),
    event(delta(finish=["stop"])),
    event(delta(finish="")),
    event({"choices": [], "usage": [1]}),
    event({"choices": [{"delta": {}, "logprobs": {"content": [{"token": None}, 3]}}]}),
    b"event: ping\nid: 1\nretry: 5\n\n",
    b"data: [[[[[[" + b"\n\n",
    b"data: " + b"9" * 5000 + b"\n\n",
]


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_event_costs_nothing_but_itself(odd: bytes) -> None:
    answer = drawn(odd + GOOD)
    assert (answer.text, answer.finish_reason, answer.completion_tokens) == (CODE, "stop", 9)


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD.replace(b"\n\n", b"\n"),  # no empty lines
        GOOD.replace(b"data: ", b"data:"),
        b"".join(b"data: %s\n" % line for line in json.dumps(delta(CODE, "stop"), indent=1).encode().split(b"\n"))
        + b"\n",
        event(delta(CODE)) + event(b"[DONE]"),  # no finish reason
        event(delta(CODE)) + b"data: " + json.dumps(delta(finish="stop")).encode(),  # no end of line
        event({"choices": [{"text": CODE, "finish_reason": "stop"}]}),
        event({"choices": [{"delta": {"content": [{"type": "text", "text": CODE}]}, "finish_reason": "stop"}]}),
        event({"choices": [{"message": {"content": CODE}, "finish_reason": "stop"}]}),
        json.dumps({"choices": [{"message": {"content": CODE}, "finish_reason": None}]}, indent=2).encode(),
        event(delta(CODE)) + event(delta(finish="eos_token")),
    ],
)
def test_another_form_is_the_same_answer(body: bytes) -> None:
    assert (drawn(body).text, drawn(body).finish_reason) == (CODE, "stop")


@given(st.lists(st.sampled_from([1, 2, 5, 17, 64]), min_size=1, max_size=40), st.sampled_from(["\n", "\r\n", "\r"]))
def test_where_the_pieces_are_cut_does_not_matter(sizes: list[int], end: str) -> None:
    text = "größer 🙂\u2028数"
    body = (event(delta(text)) + b": x\n\n" + event(b"[DONE]")).replace(b"\n", end.encode())
    stream, found, at = EventStream(), [], 0
    for size in [*sizes, len(body)]:
        found += stream.feed(body[at : at + size])
        at += size
    found += stream.close()
    assert [each.data for each in found] == [delta(text), DONE]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "content", "message", "text", "finish_reason", "usage", "logprobs", "tool_calls"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=6))
def test_no_json_is_more_than_an_engine_error(values: list[Any]) -> None:
    answer = ChatAnswer(Sampling(max_tokens=8, logprobs=1))
    heard = ""
    try:
        for value in values:
            problem(value, plain=True)
            heard += answer.take(value)
        answer.done()
        heard += answer.end()
        made = answer.completion()
    except EngineError:
        return
    made.text.encode("utf-8")
    assert made.prompt_tokens >= 0 and made.completion_tokens >= 0


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html><body>Please sign in</body></html>", EngineError, r"text/html: Please sign in; see model\.base_url"),
        (event({"object": "error", "message": "out of tune", "code": 400}), EngineError, "out of tune"),
        (event(delta("de")) + event({"error": {"message": "CUDA out of memory"}}), EngineError, "CUDA out of memory"),
        (event({"error": "the runner stopped"}), EngineError, "the runner stopped"),
        (event({"detail": "overloaded"}), EngineError, "overloaded"),
        (b'event: error\ndata: {"message":"cache is full"}\n\n', EngineError, "cache is full"),
        (json.dumps({"error": {"message": "loading", "code": 503}}).encode(), ModelUnavailableError, "loading"),
        (
            event({"object": "error", "message": "This model's maximum context length is 8 tokens", "code": 400}),
            ContextOverflowError,
            "maximum context length",
        ),
        (event(delta("de", "error")), EngineError, "finish reason 'error'"),
        (event(delta("de", "content_filter")), EngineError, "finish reason 'content_filter'"),
        (
            event({"choices": [{"error": {"message": "upstream died"}, "finish_reason": "error"}]}),
            EngineError,
            "upstream",
        ),
        (json.dumps({"data": [{"id": "m"}]}).encode(), EngineError, "no completion but"),
        (b"", ModelUnavailableError, "answers with nothing"),
        (event(b"[DONE]"), ModelUnavailableError, "answers with nothing"),
        (event(delta("de")), ModelUnavailableError, "ended its answer in the middle"),
        (event({"error": {"message": "a\x1b[31mb\n" + "c" * 9000}}), EngineError, r"a\\x1b\[31mb c+…"),
    ],
)
def test_what_is_no_answer_is_an_error_that_says_what_came(body: bytes, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        drawn(body, content_type="text/html" if body.startswith(b"<") else "text/event-stream")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


def test_a_redirect_elsewhere_is_named_and_not_followed() -> None:
    with (
        raw(status=307, headers={"Location": "https://login.example.invalid/?token=abcdefgh"}) as server,
        OpenAIModel(server.url, "m") as model,
        pytest.raises(EngineError, match=r"login\.example\.invalid") as caught,
    ):
        model.generate(ASK, [Sampling()])
    assert "abcdefgh" not in str(caught.value)


def test_a_redirect_within_the_server_is_followed() -> None:
    moved = {"Location": "/moved/v1/chat/completions"}
    with raw(GOOD, status=307, headers=moved) as server, OpenAIModel(server.url, "m") as model:
        assert model.generate(ASK, [Sampling()])[0].text == CODE


def test_comments_are_signs_of_life() -> None:
    assert drawn(*[b": reading\n\n"] * 8, GOOD, pause_s=0.5, timeout_s=2.0).text == CODE


def test_halves_of_a_pair_meet_and_a_lone_half_is_replaced() -> None:
    halves = event(delta("a\ud83d")) + event(delta("\ude42b\ud83d"))  # JSON writes them as \\ud83d
    assert drawn(halves + event(delta(finish="stop"))).text == "a🙂b\ufffd"


# ------------------------------------------------------------- keys


@pytest.mark.parametrize("key", [f"{KEY}\r", f"{KEY}\n", f" {KEY} ", f"\ufeff{KEY}"])
def test_white_space_around_a_key_is_not_part_of_it(key: str) -> None:
    assert checked_key(key) == KEY


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}\x00", f"{KEY}é"])
def test_what_no_header_holds_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(InputError) as caught:
        OpenAIModel("http://127.0.0.1:9", "m", api_key=key)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_a_server_that_repeats_the_key_does_not_get_it_into_a_message(status: int) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key {KEY} (Authorization: Bearer {KEY})"}}).encode()
    with (
        raw(body, status=status) as server,
        OpenAIModel(server.url, "m", api_key=KEY) as model,
        pytest.raises(CrucibleError) as caught,
    ):
        model.generate(ASK, [Sampling()])
    assert KEY not in str(caught.value)


def test_credentials_in_the_address_are_in_no_message() -> None:
    with (
        OpenAIModel("http://me:hunter22@127.0.0.1:9/v1?code=topsecret", "m") as model,
        pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:9") as caught,
    ):
        model.generate(ASK, [Sampling()])
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "hunter22" not in str(chain) and "topsecret" not in str(chain)
        chain = chain.__cause__


def test_a_query_stays_behind_the_path() -> None:
    assert address("https://h/deploy/v1/?api-version=2").at("/v1/x?y=1") == "https://h/deploy/v1/x?y=1&api-version=2"
    assert shown("https://u:p@h:1/a?key=b#c") == "https://h:1/a"


@given(st.text(max_size=400))
def test_a_quote_is_one_short_printable_line(text: str) -> None:
    said = quote(text, 80)
    assert said.isprintable() and len(said) <= 10 * 80


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("0.0.0.0", True),
        ("127.9.9.9", True),
        ("a.localhost", True),
        ("::1", True),
        ("10.0.0.1", False),
    ],
)
def test_this_machine_by_its_names(host: str, here: bool) -> None:
    assert this_machine(host) is here


@pytest.mark.parametrize(
    ("said", "wait"), [("2", 2.0), ("1.5", 1.5), ("²", 0.0), ("nan", 0.0), ("-3", 0.0), ("x", 0.0), (None, 0.0)]
)
def test_retry_after_is_read_or_is_nothing(said: str | None, wait: float) -> None:
    assert seconds(said) == wait
    assert seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


# ------------------------------------------------------------- what is remembered, and what is fetched


def test_a_damaged_row_of_the_cache_is_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with rude(Reply()) as server:
        for _ in range(2):
            with CachedModel(OpenAIModel(server.url, "m"), path) as model:
                assert model.generate(ASK, [Sampling()])[0].text == "one two three "
                said = model.notices()
            with sqlite3.connect(path) as table:
                table.execute("UPDATE completions SET completion = '{\"text\": 3}'")
            table.close()
        assert len(server.asked) == 2 and "damaged answer" in said[0]


def test_answers_outlive_a_cache_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with rude(Reply()) as server, CachedModel(OpenAIModel(server.url, "m"), path) as model:
        path.write_bytes(b"no database any more" * 200)
        assert model.generate(ASK, [Sampling()])[0].text == "one two three "
        assert any("not remembered" in said for said in model.notices())


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html>Sign in</html>", "text/html", "answers with text/html"),
        (b"<html>Sign in</html>", "application/octet-stream", "it is a web page"),
        (b'{"error":"gone"}', "application/json", "answers with application/json"),
        (b"version https://git-lfs.github.com/spec/v1\n", "text/plain", "Git LFS pointer"),
        (b"", "application/octet-stream", "it is empty"),
        (tiny_gguf()[:-40], "application/octet-stream", "cut off"),
    ],
)
def test_what_is_no_model_is_never_kept(tmp_path: Path, body: bytes, kind: str, said: str) -> None:
    with raw(body, headers={"Content-Type": kind}) as server, pytest.raises(ModelUnavailableError, match=said):
        pull("own/repo:m.gguf", tmp_path, hub_url=server.url)
    assert not list(tmp_path.glob("*.gguf"))
    with raw(tiny_gguf()) as server:  # online again
        assert pull("own/repo:m.gguf", tmp_path, hub_url=server.url).read_bytes() == tiny_gguf()
