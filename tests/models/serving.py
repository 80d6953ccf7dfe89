"""The smallest model that serves, for tests of real engines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from crucible.config.paths import find_paths
from crucible.models.llama import native
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.weights.pull import pull

NAME = "smollm2-135m"


def small_model() -> Path:
    """Fetched by the product's own pull into the cache every test run shares."""
    return pull(NAME, find_paths().models)


def native_program() -> Path:
    """llama.cpp compiled for this machine; the test is skipped where nobody built it."""
    found = native.program(find_paths().models)
    if found is None:
        pytest.skip("the engine was not compiled here (crucible models build)")
    return found


def serve(
    path: Path,
    *,
    slots: int = 2,
    context_length: int = 1024,
    port: int = 0,
    program: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    adapter: str | None = None,
    draft: Path | None = None,
    ngrams: bool = False,
    log_dir: Path | None = None,
) -> EmbeddedModel:
    """One thread, so that a busy machine slows the tests down and no more."""
    return EmbeddedModel(
        path,
        name=NAME,
        slots=slots,
        context_length=context_length,
        threads=1,
        port=port,
        program=program,
        adapters=adapters,
        adapter=adapter,
        draft=draft,
        ngrams=ngrams,
        log_dir=log_dir,
        timeout_s=120.0,
    )
