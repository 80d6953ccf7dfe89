"""The engines that run a code model, behind one protocol (`base.Model`).

An engine is imported when it is chosen: this module is light.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crucible.errors import InputError, ModelUnavailableError
from crucible.models.base import Model, OnDelta

if TYPE_CHECKING:
    from crucible.config import ModelSettings

__all__ = ["Model", "OnDelta", "find_model", "load_model"]

NO_URL = "the openai engine needs model.base_url, for instance http://127.0.0.1:8080"
NO_SGLANG = "the sglang engine is not part of this version; an SGLang server can be used as model.engine openai"


def engine_of(settings: ModelSettings) -> str:
    """The engine that `auto` means here: a configured server, else the embedded one."""
    if settings.engine != "auto":
        return settings.engine
    return "openai" if settings.base_url else "embedded"


def load_model(settings: ModelSettings, *, cache_dir: Path, log_dir: Path | None = None) -> Model:
    """Start or reach the configured engine.

    cache_dir: where pulled models and the compiled engine lie. log_dir: where the embedded engine's log goes, default nowhere.
    Raises InputError (unknown model, adapter or engine) and ModelUnavailableError (not pulled, not startable)."""
    engine = engine_of(settings)
    if settings.adapter is not None:
        raise InputError(f"there is no adapter {settings.adapter!r}; none has been trained yet")
    if engine == "scripted":
        from crucible.models.scripted import ScriptedModel

        if settings.script is None:
            raise InputError("the scripted engine needs model.script: a JSON file with a list of replies")
        return ScriptedModel.from_file(settings.script)
    if engine == "openai":
        from crucible.models.openai import OpenAIModel

        if settings.base_url is None:
            raise InputError(NO_URL)
        return OpenAIModel(
            settings.base_url,
            settings.name,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            timeout_s=settings.timeout_s,
            prefill=settings.prefill,
            context_length=settings.context_length,
        )
    if engine == "sglang":
        raise ModelUnavailableError(NO_SGLANG)
    from crucible.models.catalogue import resolve
    from crucible.models.embedded import EmbeddedModel
    from crucible.models.files import locate
    from crucible.models.native import program

    source = resolve(settings.name)
    file = locate(source, cache_dir)
    return EmbeddedModel(
        file.path,
        name=source.name,
        sha256=file.sha256,
        context_length=settings.context_length,
        slots=settings.slots,
        threads=settings.threads,
        port=settings.port,
        timeout_s=settings.timeout_s,
        program=None if settings.build == "prebuilt" else program(cache_dir),
        log_dir=log_dir,
    )


def find_model(settings: ModelSettings, *, cache_dir: Path) -> str:
    """What would serve, in words, without starting or reaching it. Raises like `load_model`."""
    engine = engine_of(settings)
    if engine == "sglang":
        raise ModelUnavailableError(NO_SGLANG)
    if engine == "openai":
        if settings.base_url is None:
            raise InputError(NO_URL)
        return f"{settings.name} at {settings.base_url}"
    if engine == "scripted":
        return f"scripted answers from {settings.script}"
    from crucible.models.catalogue import resolve
    from crucible.models.files import locate

    return f"{settings.name}, {locate(resolve(settings.name), cache_dir).path}"
