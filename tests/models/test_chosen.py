"""`engine: auto` says which engine it means and why, and SGLang's line says what it needs and how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible.config.paths import Paths
from crucible.errors import ModelUnavailableError
from crucible.models import chosen_because, engine_of
from crucible.models.sglang import environment as sglang_env
from tests.conftest import settings_at


@pytest.mark.parametrize(
    ("model", "engine", "why"),
    [
        ({"engine": "embedded"}, "embedded", "model.engine says so"),
        ({"engine": "auto"}, "embedded", "auto: SGLang is not installed"),
        ({"engine": "auto", "base_url": "http://127.0.0.1:1"}, "openai", "auto: model.base_url names a server"),
    ],
)
def test_auto_says_what_it_chose_and_why(tmp_path: Path, model: dict[str, object], engine: str, why: str) -> None:
    settings = settings_at(tmp_path, model=model).model
    paths = Paths(home=tmp_path, cache=tmp_path / "cache")
    assert (engine_of(settings, paths), chosen_because(settings, paths)) == (engine, why)


def test_what_sglang_needs_and_the_command_that_installs_it(tmp_path: Path) -> None:
    said = sglang_env.serveable(tmp_path / "cache")
    assert said.startswith("not installed, ") and "needs 14 GB" in said and sglang_env.INSTALL in said
    with pytest.raises(ModelUnavailableError, match=sglang_env.INSTALL):
        sglang_env.need(tmp_path / "cache")
