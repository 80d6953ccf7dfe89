"""The one contract every engine keeps. `tests/contracts/test_model.py` runs it over all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NoReturn, Protocol, Self, runtime_checkable

from crucible.errors import InputError
from crucible.types import Completion, Message, ModelIdentity, Sampling

OnDelta = Callable[[int, str], None]
"""Called with (index of the sampling, new text) as text arrives: one call at a time, from whichever thread."""

Feature = Literal["seed", "json_schema", "regex", "grammar", "logprobs", "prefill", "adapters", "syntax"]
"""What an engine may be able to do beyond drawing text with stop words. seed: the same seed draws the same text."""


AdapterForm = Literal["gguf", "peft"]


def refuse_beyond(engine: str, features: frozenset[Feature], samplings: Sequence[Sampling]) -> None:
    """Raises InputError where a sampling asks for what the engine declares it cannot do."""
    for sampling in samplings:
        asked: dict[Feature, bool] = {
            "json_schema": sampling.json_schema is not None,
            "regex": sampling.regex is not None,
            "grammar": sampling.grammar is not None,
            "logprobs": sampling.logprobs > 0,
            "adapters": bool(sampling.adapter),
            "syntax": sampling.syntax is not None,
        }
        if beyond := [feature for feature, wanted in asked.items() if wanted and feature not in features]:
            raise InputError(
                f"the {engine} engine has no {beyond[0]} here; what it has: {', '.join(sorted(features)) or 'text alone'}"
            )


def refuse_unloaded(name: str, loaded: Collection[str]) -> None:
    """Raises InputError for an adapter that is not among `loaded`."""
    if name not in loaded:
        raise InputError(f"adapter {name!r} is not loaded; there are: {', '.join(loaded) or 'none'}")


def leaves_machine(model: Model) -> bool:
    """Return whether what `model` is sent may leave this machine. A model of a third party that does not say so may be anywhere."""
    return getattr(model, "remote", True) is not False


def refuse_adapters(engine: str) -> NoReturn:
    """Raise the InputError of an engine whose `adapter_form` is None."""
    raise InputError(
        f"the {engine} engine takes no adapters while it runs; those that do: embedded, and sglang on a GPU of this machine"
    )


@runtime_checkable
class Model(Protocol):
    """A chat model that draws several completions of one prompt in one batch."""

    @property
    def remote(self) -> bool:
        """Return whether what it is sent leaves this machine. Then no secrets are sent; what has no `remote` counts as remote."""
        ...

    @property
    def identity(self) -> ModelIdentity: ...

    @property
    def features(self) -> frozenset[Feature]:
        """Return what may be asked of it; a prefill it has not is left out, a seed it has not is no promise."""
        ...

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        """Draw one completion per sampling, in the samplings' order.

        A last message of role `assistant` is continued; its text is not repeated in the completion.
        `cancel` set: what was written so far comes back with finish_reason "cancelled".

        Raises InputError (asked for what `features` lacks, or for an adapter that is not loaded), ContextOverflowError,
        EngineTimeoutError (after `deadline_s`), EngineCrashedError, EngineError.
        """
        ...

    @property
    def adapter_form(self) -> AdapterForm | None:
        """The form in which `load_adapters` takes adapters: GGUF files, or PEFT folders. None: it takes none."""
        ...

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Hold these adapters too, by name, so that `Sampling.adapter` may ask for them, several at a time.

        Raises InputError where `adapter_form` is None, or one is no adapter of this model; EngineError."""
        ...

    def count_tokens(self, text: str) -> int:
        """Exact number of tokens of plain text, no special tokens added."""
        ...

    def notices(self) -> list[str]:
        """Return what happened since the last call that a user should know (an engine restart, say)."""
        ...

    def close(self) -> None:
        """Free the engine; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Serving(Protocol):
    """A model whose engine is a server of this machine that others may ask."""

    def endpoint(self) -> tuple[str, str]:
        """(base URL, API key), for anything that speaks the OpenAI API."""
        ...
