"""Any server that speaks the OpenAI chat-completions API: llama.cpp, SGLang, vLLM, TensorRT-LLM, LM Studio, Ollama, hosted.

What such a server can do, and how it is asked, is its dialect's (`dialects.yaml`). A prefill is sent only where both the
dialect and the settings say that the server continues a last assistant message; elsewhere it is left out, and the model
begins its answer itself. llama.cpp's server refuses a JSON schema or a grammar together with a prefill.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from crucible.errors import EngineError, InputError, ModelUnavailableError
from crucible.models.base import AdapterForm, Feature, OnDelta, refuse_adapters, refuse_beyond
from crucible.models.transport.chat import as_text, chat_request
from crucible.models.transport.client import this_machine
from crucible.models.transport.dialects import dialects
from crucible.models.transport.http import ConnectionLostError, StreamClient, unavailable
from crucible.models.transport.payload import tokens
from crucible.models.transport.stop import Stop
from crucible.types import Completion, Message, ModelIdentity, Sampling

MAX_STREAMS = 64
"""Requests of one batch in flight at a time; the server queues what it cannot decode at once."""


class OpenAIModel:
    """`base_url` with or without the trailing /v1. `model` is the server's name for it. Nothing is sent before first use.

    engine, sha256: for its identity. dialect: which kind of server it is, from `dialects.yaml`. adapter: what to draw
    with where a sampling names none, as the server calls it. merged: an adapter that the weights it serves hold already.
    retries: how often a request that fails for a passing reason is sent again.

    Raises InputError for an unknown dialect, and for an adapter where it serves none.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        engine: str = "openai",
        sha256: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        prefill: bool = False,
        dialect: str = "any",
        adapter: str | None = None,
        merged: str | None = None,
        context_length: int = 0,
        retries: int = 0,
    ) -> None:
        if (spoken := dialects().get(dialect)) is None:
            raise InputError(f"unknown kind of server {dialect!r}; known: {', '.join(dialects())}")
        self._dialect, self._adapter = spoken, adapter
        self.features: frozenset[Feature] = spoken.features if prefill else spoken.features - {"prefill"}
        if adapter:
            refuse_beyond(dialect, self.features, [Sampling(adapter=adapter)])
        self._client = StreamClient(
            base_url,
            model,
            api_key=api_key,
            timeout_s=timeout_s,
            streams=MAX_STREAMS,
            retries=retries,
        )
        self._identity = ModelIdentity(
            name=model,
            engine=engine,
            build=dialect,
            sha256=sha256,
            adapter=merged or adapter,
            context_length=context_length,
        )

    @property
    def remote(self) -> bool:
        """Return whether what is sent leaves this machine."""
        return not this_machine(urlsplit(self._client.base_url).hostname)

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    adapter_form: AdapterForm | None = None

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        refuse_adapters(self._identity.engine)

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        refuse_beyond(self._identity.build, self.features, samplings)
        if messages and messages[-1].role == "assistant" and "prefill" not in self.features:
            messages = messages[:-1]
        if adapter := self._adapter:
            samplings = [
                each if each.adapter is not None else each.model_copy(update={"adapter": adapter}) for each in samplings
            ]
        done: dict[int, Completion] = {}
        try:
            with Stop(cancel, deadline_s, self._client.timeout_s) as stop:
                self._client.batch(
                    lambda index: chat_request(messages, samplings[index], self._client.model, self._dialect),
                    len(samplings),
                    stop,
                    done,
                    on_delta,
                )
        except ConnectionLostError as error:
            raise unavailable(error) from error
        return [done[index] for index in range(len(samplings))]

    def count_tokens(self, text: str) -> int:
        """From the server's /tokenize (llama.cpp, vLLM, SGLang); else what `text` adds to a prompt's count.

        The latter asks for a one-token answer and can be off by one where texts grow together at the seam. A chat
        template's marks are counted as a message's are sent, spelled apart: some servers count them as marks else.
        """
        text = as_text(text)
        fields = {"content": text, "prompt": text, "model": self._client.model}
        plain = {"add_special": False, "parse_special": False, "add_special_tokens": False}
        try:
            counted = tokens(self._client.post("/tokenize", {**fields, **plain}))
        except ConnectionLostError as error:
            raise unavailable(error) from error
        except (EngineError, ModelUnavailableError):
            counted = None  # no such endpoint there; a server that is out of order will refuse the next request too
        if counted is not None:
            return counted
        alone = self._prompt_tokens("x")
        if not alone:
            raise EngineError(f"{self._client.base_url} does not say how many tokens a prompt has")
        return max(0, self._prompt_tokens(f"x{text}") - alone)

    def _prompt_tokens(self, text: str) -> int:
        (drawn,) = self.generate([Message(role="user", content=text)], [Sampling(max_tokens=1)])
        return drawn.prompt_tokens

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """The server's answer to a request of its own API. Raises EngineError and ModelUnavailableError."""
        try:
            return self._client.post(path, body)
        except ConnectionLostError as error:
            raise unavailable(error) from error

    def notices(self) -> list[str]:
        retried, self._client.retried = self._client.retried, 0
        return [f"{self._client.base_url} had to be asked again {retried} times"] if retried else []

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
