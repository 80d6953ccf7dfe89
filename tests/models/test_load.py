"""Which engine the settings mean, and what is said when it cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible.config import ModelSettings, load_settings
from crucible.errors import InputError, ModelUnavailableError
from crucible.models import find_model, load_model


def settings(**changes: object) -> ModelSettings:
    return load_settings(overrides={"model": changes}).model


def test_auto_is_the_server_where_one_is_set_else_the_embedded_engine(tmp_path: Path) -> None:
    with load_model(settings(base_url="http://127.0.0.1:9", name="m"), cache_dir=tmp_path) as model:
        assert (model.identity.engine, model.identity.name) == ("openai", "m")
    with pytest.raises(ModelUnavailableError, match="crucible models pull qwen2"):
        load_model(settings(name="qwen2.5-coder-0.5b"), cache_dir=tmp_path)


def test_the_scripted_engine_takes_its_file(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('["hi"]')
    with load_model(settings(engine="scripted", script=tmp_path / "s.json"), cache_dir=tmp_path) as model:
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
        load_model(settings(**changes), cache_dir=tmp_path)


def test_sglang_is_not_built_and_says_so(tmp_path: Path) -> None:
    for call in (load_model, find_model):
        with pytest.raises(ModelUnavailableError, match="sglang"):
            call(settings(engine="sglang", base_url="http://127.0.0.1:9"), cache_dir=tmp_path)


def test_finding_a_model_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="models pull"):
        find_model(settings(name="smollm2-135m"), cache_dir=tmp_path)
    assert (
        find_model(settings(base_url="http://127.0.0.1:9", name="m"), cache_dir=tmp_path) == "m at http://127.0.0.1:9"
    )
