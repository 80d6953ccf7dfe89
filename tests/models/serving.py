"""The smallest model that serves, for tests of real engines."""

from __future__ import annotations

from pathlib import Path

from crucible.config.paths import find_paths
from crucible.models.embedded import EmbeddedModel
from crucible.models.pull import pull

NAME = "smollm2-135m"


def small_model() -> Path:
    """Fetched by the product's own pull into the cache every test run shares."""
    return pull(NAME, find_paths().models)


def serve(
    path: Path, *, slots: int = 2, context_length: int = 1024, port: int = 0, log_dir: Path | None = None
) -> EmbeddedModel:
    """One thread, so that a busy machine slows the tests down and no more."""
    return EmbeddedModel(
        path,
        name=NAME,
        slots=slots,
        context_length=context_length,
        threads=1,
        port=port,
        log_dir=log_dir,
        timeout_s=120.0,
    )
