"""What every engine keeps of the `Model` protocol: scripted, embedded, and any OpenAI-compatible server.

The openai engine talks to the embedded one's server, a real one over HTTP.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crucible.config.paths import find_paths
from crucible.errors import ContextOverflowError, EngineTimeoutError, InputError, ModelUnavailableError
from crucible.models.base import Feature, Model, leaves_machine
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.remote.openai import OpenAIModel
from crucible.models.scripted import ScriptedModel
from crucible.models.sglang import environment as sglang_env
from crucible.models.sglang.engine import SglangModel
from crucible.models.sglang.process import SglangOptions
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.lora import convert
from crucible.models.weights.merged import to_safetensors
from crucible.models.wrappers.cached import CachedModel
from crucible.models.wrappers.fallback import FallbackModel
from crucible.models.wrappers.metered import MeteredModel
from crucible.types import Message, Sampling
from tests.models.adapting import random_adapter
from tests.models.serving import NAME, native_program, serve, small_model

CONTEXT = 1024
SGLANG_SWITCH = "CRUCIBLE_TEST_SGLANG"
REPLY = "The numbers are 1, 2, 3, 4, 5 and so on. " * 200
ASK = [Message(role="user", content="Count from 1 to 100.")]
GREEDY = Sampling(max_tokens=24)
SCHEMA = {
    "type": "object",
    "properties": {"cause": {"type": "string", "maxLength": 20}, "line": {"type": "integer"}},
    "required": ["cause", "line"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters that write gibberish, each its own."""
    folder = tmp_path_factory.mktemp("adapters")
    return {name: random_adapter(folder / name, seed, lora_alpha=16) for seed, name in enumerate(("red", "blue"))}


@pytest.fixture(scope="module")
def adapters(folders: dict[str, Path]) -> dict[str, Path]:
    """The same for llama.cpp."""
    for folder in folders.values():
        convert(folder, small_model(), folder / "adapter.gguf")
    return {name: folder / "adapter.gguf" for name, folder in folders.items()}


@pytest.fixture(scope="module")
def embedded(adapters: dict[str, Path]) -> Iterator[EmbeddedModel]:
    with serve(small_model(), slots=4, context_length=CONTEXT, adapters=adapters) as model:
        yield model


@pytest.fixture(scope="module")
def native(adapters: dict[str, Path]) -> Iterator[EmbeddedModel]:
    with serve(small_model(), slots=4, context_length=CONTEXT, program=native_program(), adapters=adapters) as model:
        yield model


@pytest.fixture(scope="module")
def sglang(folders: dict[str, Path]) -> Iterator[SglangModel]:
    """A real server, some minutes for all tests. Only when asked for: it takes 10 GB to install."""
    if not os.environ.get(SGLANG_SWITCH):
        pytest.skip(f"set {SGLANG_SWITCH}=1 to test SGLang too")
    cache = find_paths().models
    path = small_model()
    weights = to_safetensors(ModelFile(path, hash_file(path)), cache)
    options = SglangOptions(
        python=sglang_env.install(cache, print), weights=weights, context_length=CONTEXT, slots=32, adapters=folders
    )
    with SglangModel(options, name=NAME, timeout_s=120.0, progress=print) as model:
        yield model


@pytest.fixture(
    params=[
        "scripted",
        pytest.param("embedded", marks=pytest.mark.model),
        pytest.param("native", marks=pytest.mark.model),
        pytest.param("openai", marks=pytest.mark.model),
        pytest.param("sglang", marks=pytest.mark.model),
    ]
)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    if request.param == "scripted":
        yield ScriptedModel([REPLY], context_length=CONTEXT)
        return
    if request.param in ("embedded", "native", "sglang"):
        yield request.getfixturevalue(request.param)
        return
    engine: EmbeddedModel = request.getfixturevalue("embedded")
    url, key = engine.endpoint()
    with OpenAIModel(f"{url}/v1", "any", api_key=key, prefill=True, context_length=CONTEXT) as client:
        yield client


@pytest.fixture
def real(model: Model) -> Model:
    if isinstance(model, ScriptedModel):
        pytest.skip("a script is not drawn from probabilities")
    return model


def having(model: Model, feature: Feature, sampling: Sampling) -> Model:
    """`model` where it has `feature`; one that declares that it has not must refuse it."""
    if feature not in model.features:
        with pytest.raises(InputError, match=rf"has no {feature} here"):
            model.generate(ASK, [sampling])
        pytest.skip(f"declared: no {feature}")
    return model


def test_it_is_a_model(model: Model) -> None:
    assert isinstance(model, Model)
    assert model.identity.engine in ("scripted", "embedded", "openai", "sglang")
    assert model.identity.context_length == CONTEXT


def test_text_comes_back(model: Model) -> None:
    (drawn,) = model.generate(ASK, [GREEDY])
    assert drawn.text.strip()
    assert drawn.seed == 0 and drawn.wall_s >= 0
    assert drawn.logprobs is None


def test_the_deltas_are_the_text(model: Model) -> None:
    heard: list[tuple[int, str]] = []
    drawn = model.generate(ASK, [GREEDY, GREEDY], on_delta=lambda index, text: heard.append((index, text)))
    for index in (0, 1):
        assert "".join(text for where, text in heard if where == index) == drawn[index].text
    assert len(heard) > 4


def test_samplings_keep_their_order(model: Model) -> None:
    samplings = [Sampling(max_tokens=length, seed=length) for length in (9, 3, 6)]
    drawn = model.generate(ASK, samplings)
    assert [completion.seed for completion in drawn] == [9, 3, 6]
    assert [completion.completion_tokens for completion in drawn] == [9, 3, 6]


def test_no_samplings_are_no_completions(model: Model) -> None:
    assert model.generate(ASK, []) == []


def test_the_same_seed_draws_the_same_text(model: Model) -> None:
    if "seed" not in model.features:
        pytest.skip("declared: a seed is no promise")
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=7)
    first, again = (model.generate(ASK, [sampling])[0].text for _ in range(2))
    assert first == again


def test_other_seeds_draw_other_texts(real: Model) -> None:
    drawn = real.generate(ASK, [Sampling(max_tokens=24, temperature=1.5, seed=seed) for seed in range(4)])
    assert len({completion.text for completion in drawn}) > 1


def test_the_length_ends_it(model: Model) -> None:
    (drawn,) = model.generate(ASK, [Sampling(max_tokens=5)])
    assert (drawn.finish_reason, drawn.completion_tokens) == ("length", 5)


def test_a_stop_text_ends_it_and_is_left_out(model: Model) -> None:
    (whole,) = model.generate(ASK, [GREEDY])
    stop = whole.text[6:9]
    (cut,) = model.generate(ASK, [GREEDY.model_copy(update={"stop": (stop,)})])
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text.split(stop)[0]


def test_usage_is_the_tokenizers_count(model: Model) -> None:
    (drawn,) = model.generate(ASK, [GREEDY])
    assert drawn.completion_tokens == model.count_tokens(drawn.text) == 24
    longer = [Message(role="user", content=ASK[0].content + " word" * 10)]
    assert model.count_tokens(" word" * 10) in (10, 20)
    (other,) = model.generate(longer, [GREEDY])
    assert other.prompt_tokens - drawn.prompt_tokens == model.count_tokens(" word" * 10)


def test_special_tokens_in_plain_text_are_text(model: Model) -> None:
    assert model.count_tokens("<|im_end|>") > 1
    assert model.count_tokens("") == 0


def test_a_json_schema_is_kept(model: Model) -> None:
    sampling = Sampling(max_tokens=80, json_schema=SCHEMA)
    (drawn,) = having(model, "json_schema", sampling).generate(ASK, [sampling])
    data = json.loads(drawn.text)
    assert set(data) == {"cause", "line"} and isinstance(data["line"], int)


def test_a_grammar_is_kept(model: Model) -> None:
    sampling = Sampling(max_tokens=8, grammar='root ::= "yes" | "no"')
    (drawn,) = having(model, "grammar", sampling).generate(ASK, [sampling])
    assert drawn.text in ("yes", "no")


def test_a_regular_expression_is_kept(model: Model) -> None:
    sampling = Sampling(max_tokens=16, regex=r"(red|blue)-[0-9]{3}")
    (drawn,) = having(model, "regex", sampling).generate(ASK, [sampling])
    assert re.fullmatch(r"(red|blue)-[0-9]{3}", drawn.text)


def test_an_answer_is_held_to_one_form() -> None:
    with pytest.raises(ValueError, match="not to several"):
        Sampling(json_schema=SCHEMA, regex="x")


STORY = [Message(role="user", content="Continue: " + "the fox met a crow and said hello. " * 14)]
NEXT = Sampling(max_tokens=1, logprobs=1)


def next_logprobs(model: Model, names: Sequence[str | None]) -> list[float]:
    """Of the story's next token, with each of these adapters in one batch.

    It and not the text: how many are decoded at once changes the last digits, and so, at a tie, the text.
    """
    drawn = model.generate(STORY, [NEXT.model_copy(update={"adapter": name}) for name in names])
    return [each.logprobs[0].logprob for each in drawn if each.logprobs]


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([["red", "", "blue", "red", None]], id="mixed"),
        # Samples of one prompt share the reading of it: what one adapter read must not be gone on with by another.
        pytest.param([["red"] * 4, ["blue"] * 4, [""] * 4, ["red"] * 4, ["blue"] * 4], id="shared"),
    ],
)
def test_the_adapter_is_chosen_by_the_request(model: Model, batches: list[list[str | None]]) -> None:
    model = having(model, "adapters", NEXT.model_copy(update={"adapter": "red"}))
    alone = {name: next_logprobs(model, [name])[0] for name in ("red", "blue", "")}
    values = sorted(alone.values())
    apart = min(values[1] - values[0], values[2] - values[1])
    assert apart > 0.1
    for names in batches:
        # Other prompts in all slots in between: llama.cpp keeps what was read before by its tokens.
        model.generate(ASK, [Sampling(max_tokens=2, adapter="blue")] * 4)
        for name, value in zip(names, next_logprobs(model, names), strict=True):
            assert abs(value - alone[name or ""]) < apart / 2  # a batch's sums depend on who is in it


def test_an_adapter_that_is_not_loaded_is_named(model: Model) -> None:
    sampling = GREEDY.model_copy(update={"adapter": "green"})
    with pytest.raises(InputError, match="'green' is not loaded; there are: red, blue"):
        having(model, "adapters", sampling).generate(ASK, [sampling])


def test_logprobs_belong_to_the_tokens(model: Model) -> None:
    (drawn,) = model.generate(ASK, [Sampling(max_tokens=6, logprobs=3)])
    assert drawn.logprobs is not None and len(drawn.logprobs) == 6
    assert "".join(item.token for item in drawn.logprobs) == drawn.text
    assert all(item.logprob <= 0 for item in drawn.logprobs)


def test_greedy_takes_the_likeliest_alternative(real: Model) -> None:
    (drawn,) = real.generate(ASK, [Sampling(max_tokens=6, logprobs=3)])
    assert drawn.logprobs is not None
    for item in drawn.logprobs:
        assert len(item.top) == 3
        assert item.top[0] == (item.token, item.logprob)
        assert sorted((value for _, value in item.top), reverse=True) == [value for _, value in item.top]


def test_a_prefill_is_continued_and_not_repeated(real: Model) -> None:
    prefill = Message(role="assistant", content="Sure:\n```python\ndef add(a, b):\n    return a +")
    (drawn,) = real.generate([Message(role="user", content="Write add."), prefill], [Sampling(max_tokens=4)])
    assert drawn.text.startswith(" b")


def test_cancelling_keeps_what_was_written(model: Model) -> None:
    cancel = threading.Event()
    heard: list[str] = []

    def hear(_: int, text: str) -> None:
        heard.append(text)
        if len(heard) == 5:
            cancel.set()

    (drawn,) = model.generate(ASK, [Sampling(max_tokens=900, temperature=1.0)], on_delta=hear, cancel=cancel)
    assert drawn.finish_reason == "cancelled"
    assert drawn.text == "".join(heard)
    assert 5 <= drawn.completion_tokens < 900


def test_cancelled_before_it_began_is_empty(model: Model) -> None:
    cancel = threading.Event()
    cancel.set()
    drawn = model.generate(ASK, [GREEDY] * 3, cancel=cancel)
    assert [(completion.text, completion.finish_reason) for completion in drawn] == [("", "cancelled")] * 3


def test_the_deadline_is_kept(model: Model) -> None:
    began = time.monotonic()
    with pytest.raises(EngineTimeoutError):
        model.generate(ASK, [Sampling(max_tokens=900, temperature=1.0)], deadline_s=0.0)
    assert time.monotonic() - began < 2


def test_an_overlong_prompt_is_refused_with_the_counts(model: Model) -> None:
    long = [Message(role="user", content="word " * (2 * CONTEXT))]
    with pytest.raises(ContextOverflowError, match=rf"\d{{4,}}.*{CONTEXT}"):
        model.generate(long, [GREEDY])
    assert model.generate(ASK, [GREEDY])[0].text


def test_32_requests_at_once(model: Model) -> None:
    drawn = model.generate(ASK, [Sampling(max_tokens=4, temperature=1.0, seed=seed) for seed in range(32)])
    assert [completion.completion_tokens for completion in drawn] == [4] * 32


def test_several_threads_may_generate(model: Model) -> None:
    results: list[int] = []

    def draw() -> None:
        drawn = model.generate(ASK, [Sampling(max_tokens=4)] * 4)
        results.extend(completion.completion_tokens for completion in drawn)

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert results == [4] * 12


def test_an_error_in_the_callers_callback_is_the_callers(model: Model) -> None:
    def hear(_: int, text: str) -> None:
        raise BrokenPipeError("nobody reads this")

    with pytest.raises(BrokenPipeError):
        model.generate(ASK, [GREEDY, GREEDY], on_delta=hear)
    assert model.notices() == []
    assert model.generate(ASK, [GREEDY])[0].text


@pytest.mark.parametrize("text", ["Ü→𝄞\u2028\x85\x00", "half a pair \ud83d", "<|im_end|>\n<|im_start|>system\nhi"])
def test_any_text_can_be_a_prompt(model: Model, text: str) -> None:
    (drawn,) = model.generate([Message(role="user", content=text)], [Sampling(max_tokens=4)])
    assert drawn.completion_tokens <= 4


# ------------------------------------------------------------- what only the openai engine meets


def test_a_server_that_is_not_there_is_named() -> None:
    with OpenAIModel("http://127.0.0.1:9/v1", "any") as client:
        with pytest.raises(ModelUnavailableError, match=r"http://127\.0\.0\.1:9 .*model\.base_url"):
            client.generate(ASK, [GREEDY])
        with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:9"):
            client.count_tokens("x")


def test_a_url_that_is_none_is_the_users_error() -> None:
    with pytest.raises((InputError, ModelUnavailableError)), OpenAIModel("http://[", "any") as client:
        client.generate(ASK, [GREEDY])


@pytest.mark.model
def test_a_wrong_key_is_said(embedded: EmbeddedModel) -> None:
    url, _ = embedded.endpoint()
    with (
        OpenAIModel(url, "any", api_key="wrong") as client,
        pytest.raises(ModelUnavailableError, match=r"key.*model\.api_key"),
    ):
        client.generate(ASK, [GREEDY])


@pytest.mark.model
def test_a_server_without_prefill_is_not_sent_one(embedded: EmbeddedModel) -> None:
    url, key = embedded.endpoint()
    prefill = Message(role="assistant", content="Sure: ")
    with OpenAIModel(url, "any", api_key=key, prefill=False) as client:
        assert client.generate([*ASK, prefill], [GREEDY])[0].text == client.generate(ASK, [GREEDY])[0].text


def test_says_whether_what_it_is_sent_leaves_this_machine(model: Model) -> None:
    assert model.remote is False and leaves_machine(model) is False  # all of these are here


def test_says_which_adapters_it_takes_while_it_runs(model: Model, tmp_path: Path) -> None:
    form = {"embedded": "gguf", "sglang": "peft"}.get(model.identity.engine) if "adapters" in model.features else None
    assert model.adapter_form == form
    if form is None:
        with pytest.raises(InputError, match="takes no adapters while it runs; those that do: embedded, and sglang"):
            model.load_adapters({"red": tmp_path})


def test_what_is_put_around_it_can_do_the_same(model: Model, tmp_path: Path) -> None:
    """A cache, a chain of models and a meter: none of them hides what the engine can do."""
    for around in (MeteredModel(model), FallbackModel(model, []), CachedModel(model, tmp_path / "cache.sqlite")):
        assert isinstance(around, Model)
        assert (around.remote, around.adapter_form, around.features) == (False, model.adapter_form, model.features)
