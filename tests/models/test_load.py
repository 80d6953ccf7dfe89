"""Which engine the settings mean, and what is said when it cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crucible.config import ModelSettings, load_settings
from crucible.config.paths import Paths
from crucible.errors import InputError, ModelUnavailableError
from crucible.models import find_model, load_model
from crucible.models.serving import Served, announced, find
from tests.models.serving import NAME, small_model


def paths(root: Path) -> Paths:
    return Paths(home=root / "home", cache=root / "cache")


def settings(**changes: object) -> ModelSettings:
    return load_settings(overrides={"model": changes}).model


def test_auto_is_the_server_where_one_is_set_else_the_embedded_engine(tmp_path: Path) -> None:
    with load_model(settings(base_url="http://127.0.0.1:9", name="m"), paths(tmp_path)) as model:
        assert (model.identity.engine, model.identity.name) == ("openai", "m")
    with pytest.raises(ModelUnavailableError, match="crucible models pull qwen2"):
        load_model(settings(name="qwen2.5-coder-0.5b"), paths(tmp_path))


def test_the_scripted_engine_takes_its_file(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('["hi"]')
    with load_model(settings(engine="scripted", script=tmp_path / "s.json"), paths(tmp_path)) as model:
        assert model.identity.engine == "scripted"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "scripted"}, r"model\.script"),
        ({"engine": "openai"}, r"model\.base_url"),
        ({"adapter": "mine"}, "no adapter 'mine'"),
        ({"name": "nonsense"}, "unknown model 'nonsense'"),
    ],
)
def test_what_the_user_must_mend_is_an_input_error(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_model(settings(**changes), paths(tmp_path))


def test_sglang_is_a_server_where_one_is_set(tmp_path: Path) -> None:
    set_ = settings(engine="sglang", base_url="http://127.0.0.1:9", name="m")
    with load_model(set_, paths(tmp_path)) as model:
        assert (model.identity.engine, model.identity.build) == ("sglang", "sglang")
        assert "regex" in model.features
    assert find_model(set_, paths(tmp_path)) == "m at http://127.0.0.1:9"


@pytest.mark.model
def test_sglang_that_is_not_installed_is_said(tmp_path: Path) -> None:
    there = paths(tmp_path)
    there.models.mkdir(parents=True)
    (there.models / small_model().name).symlink_to(small_model())
    for call in (load_model, find_model):
        with pytest.raises(ModelUnavailableError, match="models serve --engine sglang"):
            call(settings(engine="sglang", name=NAME), there)


def test_a_running_server_is_found_by_its_note(tmp_path: Path) -> None:
    there = paths(tmp_path)
    served = Served(
        engine="sglang", model=NAME, sha256="5" * 64, url="http://127.0.0.1:9", api_key="k", pid=os.getpid()
    )
    with announced(there.serving, served):
        assert there.serving.stat().st_mode & 0o077 == 0  # it holds the key
        with load_model(settings(engine="sglang", name=NAME), there) as model:
            assert (model.identity.engine, model.identity.sha256) == ("sglang", "5" * 64)
    assert find(there.serving) is None
    there.serving.write_text(served.model_copy(update={"pid": 2**22 + 1}).model_dump_json())
    assert find(there.serving) is None  # whoever served has ended
    there.serving.write_text("{")
    assert find(there.serving) is None


def test_finding_a_model_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="models pull"):
        find_model(settings(name="smollm2-135m"), paths(tmp_path))
    assert find_model(settings(base_url="http://127.0.0.1:9", name="m"), paths(tmp_path)) == "m at http://127.0.0.1:9"
