"""A model around another one, for what is added to any engine; a subclass changes what it must."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from crucible.models.base import AdapterForm, Feature, Model, OnDelta, leaves_machine, refuse_adapters
from crucible.types import Completion, Message, ModelIdentity, Sampling


class WrappedModel:
    """Passes everything on to `inner`."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    @property
    def identity(self) -> ModelIdentity:
        return self.inner.identity

    @property
    def features(self) -> frozenset[Feature]:
        return self.inner.features

    @property
    def remote(self) -> bool:
        return leaves_machine(self.inner)

    @property
    def adapter_form(self) -> AdapterForm | None:
        return getattr(self.inner, "adapter_form", None)

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        if self.adapter_form is None:
            refuse_adapters(self.identity.engine)
        self.inner.load_adapters(adapters)

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        return self.inner.generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(text)

    def notices(self) -> list[str]:
        return self.inner.notices()

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
