"""The engines that run a code model, behind one protocol (`base.Model`).

An engine is imported when it is chosen: this module is light.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from crucible.errors import InputError
from crucible.models.base import Model, OnDelta

if TYPE_CHECKING:
    from pathlib import Path

    from crucible.config import ModelSettings
    from crucible.config.paths import Paths
    from crucible.models.weights.adapters import AdapterCard
    from crucible.models.weights.files import ModelFile

__all__ = ["Model", "OnDelta", "find_model", "load_model"]

NGRAMS = "ngrams"
"""As `model.draft`: what was written before, and no model."""
NO_URL = "the openai engine needs model.base_url, for instance http://127.0.0.1:8080"


def engine_of(settings: ModelSettings, paths: Paths) -> str:
    """The engine that `auto` means here: a configured server, SGLang where it is installed and a GPU is, else embedded."""
    if settings.engine != "auto":
        return settings.engine
    if settings.base_url:
        return "openai"
    from crucible.models.sglang import environment as sglang_env

    if sglang_env.python(paths.models) is not None:
        from crucible.models.sglang.process import gpus

        if gpus():
            return "sglang"
    return "embedded"


def chosen_because(settings: ModelSettings, paths: Paths) -> str:
    """Return why the engine is the one that `engine_of` gives, in words."""
    if settings.engine != "auto":
        return "model.engine says so"
    if settings.base_url:
        return "auto: model.base_url names a server"
    from crucible.models.sglang import environment as sglang_env

    if engine_of(settings, paths) == "sglang":
        return "auto: SGLang is installed and there is a GPU"
    if sglang_env.python(paths.models) is None:
        return "auto: SGLang is not installed"
    return "auto: SGLang is installed, and there is no GPU for it"


def load_model(settings: ModelSettings, paths: Paths, *, progress: Callable[[str], None] | None = None) -> Model:
    """Start or reach the configured engine. progress: hears what takes longer than a few seconds.

    Raises InputError (unknown model, adapter or engine) and ModelUnavailableError (not pulled, not startable).
    """
    from crucible.models.weights.adapters import NO_ADAPTER

    if settings.adapter == NO_ADAPTER:
        settings = settings.model_copy(update={"adapter": None})
    model = _engine(settings, paths, progress)
    if settings.cache and model.identity.engine in ("openai", "sglang"):
        from crucible.models.wrappers.cached import CachedModel

        model = CachedModel(model, paths.home / "completions.sqlite")
    if settings.fallback:
        from crucible.models.wrappers.fallback import FallbackModel

        local = [
            settings.model_copy(update={"engine": "embedded", "name": name, "adapter": None})
            for name in settings.fallback
        ]
        model = FallbackModel(model, [partial(_embedded, each, paths) for each in local])
    return model


def _engine(settings: ModelSettings, paths: Paths, progress: Callable[[str], None] | None) -> Model:
    engine = engine_of(settings, paths)
    if engine == "scripted":
        return _scripted(settings)
    if engine == "openai" or (engine == "sglang" and settings.base_url):
        return _remote(settings, engine)
    return _sglang(settings, paths, progress) if engine == "sglang" else _embedded(settings, paths)


def find_model(settings: ModelSettings, paths: Paths) -> str:
    """Return what would serve, in words, without starting or reaching it. Raises like `load_model`."""
    engine = engine_of(settings, paths)
    if engine == "scripted":
        return f"scripted answers from {settings.script}"
    if settings.base_url and engine in ("openai", "sglang"):
        from crucible.models.transport.quoting import shown

        return f"{settings.name} at {shown(settings.base_url)}"
    if engine == "openai":
        raise InputError(NO_URL)
    file = _file(settings, paths)
    if engine == "sglang":
        from crucible.models import serving
        from crucible.models.sglang import environment as sglang_env

        served = serving.find(paths.serving)
        if served is not None and served.engine == "sglang":
            return f"{served.model}, SGLang at {served.url}"
        return f"{settings.name}, SGLang at {sglang_env.need(paths.models)}"
    build = "prebuilt" if compiled(settings, paths) is None else "compiled here"
    return f"{settings.name}, {file.path}, llama.cpp {build}"


def compiled(settings: ModelSettings, paths: Paths) -> Path | None:
    """The embedded engine that was compiled for this machine, where there is one and it is to be taken."""
    from crucible.models.llama.native import program

    return None if settings.build == "prebuilt" else program(paths.models)


def base_sha256(settings: ModelSettings, paths: Paths) -> str | None:
    """Return the SHA-256 of the model's file, where an engine serves it that can apply an adapter of ours; None elsewhere.

    Raises like `load_model`."""
    engine = engine_of(settings, paths)
    if engine == "scripted" or settings.base_url:
        return None
    return _file(settings, paths).sha256


def _file(settings: ModelSettings, paths: Paths) -> ModelFile:
    from crucible.models.weights.catalogue import resolve
    from crucible.models.weights.files import locate

    return locate(resolve(settings.name), paths.models)


def _scripted(settings: ModelSettings) -> Model:
    from crucible.models.base import refuse_beyond
    from crucible.models.scripted import ScriptedModel
    from crucible.types import Sampling

    if settings.script is None:
        raise InputError("the scripted engine needs model.script: a JSON file with a list of replies")
    model = ScriptedModel.from_file(settings.script)
    refuse_beyond("scripted", model.features, [Sampling(adapter=settings.adapter)])
    return model


def _remote(settings: ModelSettings, engine: str) -> Model:
    from crucible.models.remote.openai import OpenAIModel

    if settings.base_url is None:
        raise InputError(NO_URL)
    return OpenAIModel(
        settings.base_url,
        settings.name,
        engine=engine,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout_s=settings.timeout_s,
        prefill=settings.prefill,
        dialect="sglang" if engine == "sglang" and settings.server != "sglang-lora" else settings.server,
        adapter=settings.adapter,
        context_length=settings.context_length,
        retries=settings.retries,
    )


def _sglang(settings: ModelSettings, paths: Paths, progress: Callable[[str], None] | None) -> Model:
    from crucible.models import serving
    from crucible.models.remote.openai import OpenAIModel
    from crucible.models.sglang import environment as sglang_env
    from crucible.models.sglang.engine import SglangModel
    from crucible.models.sglang.process import MAX_RANK, TARGETS, SglangOptions, gpus
    from crucible.models.weights.adapters import AdapterStore
    from crucible.models.weights.catalogue import resolve
    from crucible.models.weights.merged import to_safetensors

    card = _card(settings, paths)
    name, adapter = resolve(settings.name).name, card.id if card else None
    served = serving.find(paths.serving)
    if served is not None and (served.engine, served.model, served.adapter) == ("sglang", name, adapter):
        return OpenAIModel(
            served.url,
            name,
            engine="sglang",
            sha256=served.sha256,
            adapter=adapter if served.lora else None,
            merged=None if served.lora else adapter,
            api_key=served.api_key,
            timeout_s=settings.timeout_s,
            prefill=True,
            dialect="sglang-lora" if served.lora else "sglang",
            context_length=settings.context_length,
        )
    file = _file(settings, paths)
    python = sglang_env.need(paths.models)
    if progress is not None:
        progress(f"starting SGLang with {name}{f' and {adapter}' if adapter else ''}")
    folders = {card.id: AdapterStore(paths.adapters).weights(card).parent} if card else {}
    # On a CPU room for adapters costs speed, and one that does not fit into it cannot lie there: they are merged.
    beside = bool(gpus()) and (card is None or (card.rank <= MAX_RANK and set(card.targets) <= set(TARGETS)))
    options = SglangOptions(
        python=python,
        weights=to_safetensors(file, paths.models, adapter=None if beside or card is None else folders[card.id]),
        context_length=settings.context_length,
        slots=settings.slots,
        port=settings.port,
        adapters=folders if beside else None,
        extra=settings.sglang_args,
    )
    return SglangModel(
        options,
        name=name,
        sha256=file.sha256,
        merged=None if beside else adapter,
        adapter=adapter if beside else None,
        replicas=settings.replicas,
        timeout_s=settings.timeout_s,
        retries=settings.retries,
        log_dir=paths.logs,
        progress=progress,
    )


def _card(settings: ModelSettings, paths: Paths) -> AdapterCard | None:
    """The configured adapter. Raises InputError where there is none, or it is another model's."""
    from crucible.models.weights.adapters import AdapterStore

    if settings.adapter is None:
        return None
    card = AdapterStore(paths.adapters).get(settings.adapter)
    if card.base_sha256 != (file := _file(settings, paths)).sha256:
        raise InputError(
            f"adapter {card.id} was trained on {card.base}, not on {file.path.name}: set model.name to that"
        )
    return card


def _embedded(settings: ModelSettings, paths: Paths) -> Model:
    from crucible.models.llama.embedded import EmbeddedModel
    from crucible.models.weights.adapters import AdapterStore
    from crucible.models.weights.catalogue import resolve

    card, file = _card(settings, paths), _file(settings, paths)
    adapters = {card.id: AdapterStore(paths.adapters).gguf(card)} if card else {}
    return EmbeddedModel(
        file.path,
        name=resolve(settings.name).name,
        sha256=file.sha256,
        context_length=settings.context_length,
        slots=settings.slots,
        threads=settings.threads,
        port=settings.port,
        adapters=adapters,
        adapter=next(iter(adapters), None),
        draft=_draft(settings, paths),
        ngrams=settings.draft == NGRAMS,
        timeout_s=settings.timeout_s,
        program=compiled(settings, paths),
        log_dir=paths.logs,
    )


def _draft(settings: ModelSettings, paths: Paths) -> Path | None:
    if settings.draft in (None, NGRAMS):
        return None
    return _file(settings.model_copy(update={"name": settings.draft}), paths).path
