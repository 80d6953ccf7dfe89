"""Two real SGLang servers behind its router: a killed one loses no request. Only when asked for: minutes, 10 GB."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from crucible.config.paths import find_paths
from crucible.models.sglang import environment as sglang_env
from crucible.models.sglang.engine import SglangModel
from crucible.models.sglang.process import SglangOptions, SglangProcess
from crucible.models.sglang.replicas import Replicas
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.merged import to_safetensors
from crucible.types import Message, Sampling
from tests.contracts.test_model import SGLANG_SWITCH
from tests.models.adapting import random_adapter
from tests.models.serving import NAME, small_model

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not os.environ.get(SGLANG_SWITCH), reason=f"set {SGLANG_SWITCH}=1 to test SGLang too"),
    pytest.mark.timeout(900),
]

MENDED_S = 240.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SglangModel]:
    path = small_model()
    options = SglangOptions(
        python=sglang_env.install(find_paths().models, print),
        weights=to_safetensors(ModelFile(path, hash_file(path)), find_paths().models, "float32"),
        context_length=1024,
        slots=8,
        adapters={},
        extra=("--dtype", "float32"),
    )
    logs = tmp_path_factory.mktemp("logs")
    with SglangModel(options, name=NAME, replicas=2, log_dir=logs, progress=print) as engine:
        yield engine


def replicas(model: SglangModel) -> Replicas:
    assert isinstance(model._process, Replicas)
    return model._process


def tokens_of(server: SglangProcess) -> float:
    """Tokens it has written, by its own metrics."""
    said = httpx.get(f"{server.url}/metrics", headers={"Authorization": f"Bearer {server.api_key}"}).text
    lines = [line for line in said.splitlines() if line.startswith("sglang:generation_tokens_total")]
    return sum(float(line.split()[-1]) for line in lines)


def kill(pid: int) -> None:
    for process in psutil.Process(pid).children(recursive=True):
        process.send_signal(signal.SIGKILL)


def test_both_share_the_work(model: SglangModel) -> None:
    ask = [Message(role="user", content="Count to ten.")]
    before = [tokens_of(server) for server in replicas(model)._servers]
    model.generate(ask, [Sampling(max_tokens=8, temperature=1.0, seed=seed) for seed in range(16)])
    after = [tokens_of(server) for server in replicas(model)._servers]
    assert all(late > early for early, late in zip(before, after, strict=True))


def test_a_server_killed_amid_requests_loses_none_and_comes_back(model: SglangModel) -> None:
    group, heard = replicas(model), 0

    def kill_one(_: int, text: str) -> None:
        nonlocal heard
        heard += 1
        if heard == 40:
            kill(group.pids[0])

    first = group.pids[0]
    ask = [Message(role="user", content="Tell a long story.")]
    drawn = model.generate(ask, [Sampling(max_tokens=48)] * 16, on_delta=kill_one)
    assert len(drawn) == 16 and {len(each.text) > 20 for each in drawn} == {True}
    began = time.monotonic()
    while group.pids[0] == first and time.monotonic() - began < MENDED_S:
        time.sleep(1.0)
    assert group.pids[0] != first
    assert any("died" in notice for notice in model.notices())
    assert model.generate(ask, [Sampling(max_tokens=4)] * 4)


def test_other_weights_reach_every_server(model: SglangModel, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = model._options.weights
    other = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    with torch.no_grad():
        other.model.layers[-1].mlp.down_proj.weight.mul_(-3.0)
    other.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(weights).save_pretrained(tmp_path / "other")
    ask = [Message(role="user", content="Name a synonym of water.")]
    (before,) = model.generate(ask, [Sampling(max_tokens=16)])
    model.load_weights(tmp_path / "other")
    drawn = model.generate(ask, [Sampling(max_tokens=16)] * 8)
    assert before.text not in {each.text for each in drawn}
    model.load_weights(weights)


def test_an_adapter_reaches_every_server(model: SglangModel, tmp_path: Path) -> None:
    ask = [Message(role="user", content="Name a synonym of water.")]
    (before,) = model.generate(ask, [Sampling(max_tokens=16)])
    model.load_adapters({"red": random_adapter(tmp_path / "red", lora_alpha=16)})
    drawn = model.generate(ask, [Sampling(max_tokens=16, adapter="red")] * 8)
    assert before.text not in {each.text for each in drawn}
    assert model.generate(ask, [Sampling(max_tokens=16)])[0].text == before.text


def test_no_process_is_left(model: SglangModel) -> None:
    group = replicas(model)
    mine = [psutil.Process(pid) for pid in (group.pid, *group.pids)]
    below = [child for process in mine for child in process.children(recursive=True)]
    assert below
    model.close()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert not alive
