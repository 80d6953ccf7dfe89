"""`crucible models` as a user meets it: adapters taken in, used and refused; a model served and found; what is asked for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_commands import REPOSITORY, Crucible, crucible, script  # noqa: F401 - fixtures
from tests.models.adapting import random_adapter
from tests.models.serving import NAME, small_model

pytestmark = pytest.mark.model
SMALL = {"CRUCIBLE_MODEL__ENGINE": "embedded", "CRUCIBLE_MODEL__NAME": NAME, "CRUCIBLE_MODEL__BUILD": "prebuilt"}


def test_an_adapter_is_taken_in_served_and_removed(crucible: Crucible, tmp_path: Path) -> None:  # noqa: F811
    small_model()
    folder = str(random_adapter(tmp_path / "peft"))
    home = {**SMALL, "CRUCIBLE_HOME": str(tmp_path / "home")}
    card = json.loads(crucible("models", "adapters", "add", folder, "mine", "--note", "first", "--json", **home).stdout)
    assert (card["name"], card["version"], card["base"], card["note"]) == ("mine", 1, NAME, "first")
    assert "mine@1" in crucible("models", "adapters", "list", **home).stdout
    served = json.loads(crucible("models", "status", "--json", CRUCIBLE_MODEL__ADAPTER="mine", **home).stdout)
    assert served["adapter"] == "mine@1" and "adapters" in served["features"]
    assert served["usage"]["completions"] == 1 and set(served["usage"]["latency_s"]) == {"p50", "p90", "p99"}
    assert crucible("models", "adapters", "remove", "mine", **home).returncode == 0
    gone = crucible("models", "status", CRUCIBLE_MODEL__ADAPTER="mine", **home)
    assert gone.returncode == 2 and "no adapter 'mine'" in gone.stderr


def test_an_adapter_of_another_model_is_refused(crucible: Crucible, tmp_path: Path) -> None:  # noqa: F811
    folder = random_adapter(tmp_path / "peft")
    (folder / "adapter_config.json").write_text("{}")
    refused = crucible("models", "adapters", "add", str(folder), "mine", CRUCIBLE_HOME=str(tmp_path / "home"), **SMALL)
    assert refused.returncode == 2 and "adapter_config.json" in refused.stderr and len(refused.stderr.splitlines()) == 1


def test_a_script_has_no_adapters_and_is_not_served(crucible: Crucible, tmp_path: Path) -> None:  # noqa: F811
    asked = crucible("models", "status", CRUCIBLE_MODEL__ADAPTER="mine")
    assert asked.returncode == 2 and "the scripted engine has no adapters here" in asked.stderr
    served = crucible("models", "serve", "--engine", "scripted")
    assert served.returncode == 2 and "sglang and embedded" in served.stderr


def test_removing_a_build_that_is_not_there(crucible: Crucible, tmp_path: Path) -> None:  # noqa: F811
    done = crucible("models", "build", "--remove", CRUCIBLE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0 and "there was none" in done.stderr


def test_a_served_model_answers_until_it_is_ended(tmp_path: Path) -> None:
    """And leaves neither its note nor a process."""
    import os

    import httpx
    import psutil

    small_model()
    home = tmp_path / "home"
    environment = {**os.environ, **SMALL, "CRUCIBLE_HOME": str(home)}
    words = [
        sys.executable,
        str(REPOSITORY / "main.py"),
        "models",
        "serve",
        "--engine",
        "embedded",
        "--json",
        "--slots",
        "1",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as serving:
        assert serving.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            text += serving.stdout.readline()
        said = json.loads(text)
        assert (home / "serving.json").stat().st_mode & 0o077 == 0
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
        for key, status in ((said["api_key"], 200), ("wrong", 401)):
            reply = httpx.post(f"{said['url']}/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"})
            assert reply.status_code == status
        family = psutil.Process(serving.pid).children(recursive=True)
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=20) == 130
        assert psutil.wait_procs(family, timeout=5)[1] == []
        deadline = time.monotonic() + 2
        while (home / "serving.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not (home / "serving.json").exists()
