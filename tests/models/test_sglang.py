"""A real SGLang server on this machine's CPU: its numbers, its death, other weights. Only when asked for: minutes, 10 GB."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import torch

from crucible.config.paths import find_paths
from crucible.errors import CrucibleError, InputError, ModelUnavailableError
from crucible.models.sglang import environment as sglang_env
from crucible.models.sglang.engine import SglangModel
from crucible.models.sglang.process import SglangOptions, SglangProcess
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.merged import to_safetensors
from crucible.types import Message, Sampling
from tests.contracts.test_model import SGLANG_SWITCH
from tests.models.adapting import random_adapter
from tests.models.serving import NAME, small_model

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not os.environ.get(SGLANG_SWITCH), reason=f"set {SGLANG_SWITCH}=1 to test SGLang too"),
    pytest.mark.timeout(600),
]

PROMPTS = [
    f"{ask} {thing}."
    for ask in ("Count to", "Write a Python function that doubles", "Name a synonym of", "Explain in one line")
    for thing in ("ten", "seven", "a list", "water", "the sun")
]
TOKENS = 32


@pytest.fixture(scope="module")
def weights() -> Path:
    path = small_model()
    return to_safetensors(ModelFile(path, hash_file(path)), find_paths().models, "float32")


@pytest.fixture(scope="module")
def options(weights: Path) -> SglangOptions:
    python = sglang_env.install(find_paths().models, print)
    return SglangOptions(python=python, weights=weights, context_length=1024, slots=8, extra=("--dtype", "float32"))


@pytest.fixture(scope="module")
def model(options: SglangOptions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SglangModel]:
    with SglangModel(options, name=NAME, log_dir=tmp_path_factory.mktemp("logs"), progress=print) as engine:
        yield engine


def greedy(model: SglangModel, prompts: Sequence[str] = PROMPTS) -> list[str]:
    asked = [[Message(role="user", content=prompt)] for prompt in prompts]
    return [model.generate(ask, [Sampling(max_tokens=TOKENS)])[0].text for ask in asked]


def test_greedy_text_is_that_of_transformers(model: SglangModel, weights: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    reference = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    wanted = []
    for prompt in PROMPTS:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        out = reference.generate(ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        wanted.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert greedy(model) == wanted


def test_the_plugin_says_in_the_log_that_it_stepped_in(model: SglangModel) -> None:
    assert model._log_dir is not None
    said = (model._log_dir / "sglang.log").read_text()
    assert "crucible-rotary" in said
    assert model.endpoint()[1] not in said  # the key


def test_a_prompt_that_begins_alike_is_read_once(model: SglangModel) -> None:
    """By the server's own count of tokens it took from its radix tree."""
    story = "the fox met a crow and said hello. " * 20
    body = {"model": "m", "max_tokens": 1, "temperature": 0}
    cached = []
    for question in ("Who?", "Where?"):
        chat = [{"role": "user", "content": story + question}]
        usage = model.inner.post("/v1/chat/completions", {**body, "messages": chat})["usage"]
        cached.append((usage["prompt_tokens_details"] or {}).get("cached_tokens", 0))
    assert cached[1] > 100


def test_other_weights_are_served_without_a_restart(model: SglangModel, weights: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    other = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    with torch.no_grad():
        other.model.layers[-1].mlp.down_proj.weight.mul_(-3.0)
    other.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(weights).save_pretrained(tmp_path / "other")
    few = PROMPTS[::5]
    before, pid = greedy(model, few), model.pid
    model.load_weights(tmp_path / "other")
    assert greedy(model, few) != before
    model.load_weights(weights)
    assert greedy(model, few) == before and model.pid == pid


@pytest.fixture(scope="module")
def adapted(options: SglangOptions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SglangModel]:
    """A server with room for adapters beside the weights, and one there from the start."""
    red = random_adapter(tmp_path_factory.mktemp("red"), 0, lora_alpha=16)
    with SglangModel(options.model_copy(update={"adapters": {"red": red}}), name=NAME, progress=print) as engine:
        yield engine


def said(model: SglangModel, *adapters: str | None) -> list[str]:
    samplings = [Sampling(max_tokens=8, adapter=name) for name in adapters]
    return [each.text for each in model.generate([Message(role="user", content=PROMPTS[0])], samplings)]


def test_an_adapter_beside_the_weights_writes_what_one_merged_into_them_does(
    adapted: SglangModel, weights: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert adapted._options.adapters is not None
    tokenizer = AutoTokenizer.from_pretrained(weights)
    plain = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    merged = PeftModel.from_pretrained(plain, str(adapted._options.adapters["red"])).merge_and_unload()
    for prompt in PROMPTS[::5]:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        out = merged.generate(ids, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
        wanted = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        drawn = adapted.generate(
            [Message(role="user", content=prompt)], [Sampling(max_tokens=TOKENS, adapter="red")] * 2
        )
        assert [each.text for each in drawn] == [wanted] * 2


def test_adapters_come_and_go_without_a_restart(adapted: SglangModel, tmp_path: Path) -> None:
    blue, pid = random_adapter(tmp_path / "blue", 1, lora_alpha=16), adapted.pid
    plain, red = said(adapted, None, "red")
    adapted.load_adapters({"blue": blue})
    assert len({plain, red, *said(adapted, "blue")}) == 3
    assert adapted._options.adapters is not None
    adapted.load_adapters({"blue": adapted._options.adapters["red"]})
    assert said(adapted, "red", "blue", "") == [red, red, plain]
    adapted.unload_adapters("blue")
    with pytest.raises(InputError, match="'blue' is not loaded; there are: red"):
        said(adapted, "blue")
    assert adapted.pid == pid


def test_an_adapter_that_it_does_not_take_changes_nothing(adapted: SglangModel, tmp_path: Path) -> None:
    before = said(adapted, "red")
    (tmp_path / "broken").mkdir()
    with pytest.raises(CrucibleError):
        adapted.load_adapters({"red": tmp_path / "broken"})
    assert said(adapted, "red") == before


def test_a_server_without_room_says_so(model: SglangModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without room for adapters"):
        model.load_adapters({"red": tmp_path})
    with pytest.raises(InputError, match="has no adapters here"):
        said(model, "red")


def test_a_death_is_mended_once_and_said(model: SglangModel) -> None:
    first, heard = model.pid, []

    def kill(_: int, text: str) -> None:
        heard.append(text)
        if len(heard) == 5:
            for process in psutil.Process(first).children(recursive=True):
                process.send_signal(signal.SIGKILL)

    ask = [Message(role="user", content="Tell a long story.")]
    drawn = model.generate(ask, [Sampling(max_tokens=40)] * 3, on_delta=kill)
    assert [completion.completion_tokens for completion in drawn] == [40] * 3
    assert model.pid != first
    (notice,) = model.notices()
    assert "SGLang died" in notice


def test_closing_leaves_no_process(options: SglangOptions, model: SglangModel) -> None:
    family = [psutil.Process(model.pid), *psutil.Process(model.pid).children(recursive=True)]
    assert len(family) >= 4  # the leash, the server, its scheduler, its detokenizer
    model.close()
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_a_folder_without_weights_is_said(options: SglangOptions, tmp_path: Path) -> None:
    broken = options.model_copy(update={"weights": tmp_path})
    with pytest.raises(ModelUnavailableError, match="SGLang does not start"):
        SglangProcess(broken, log_dir=None, start_timeout_s=120)
