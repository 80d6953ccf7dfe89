"""Any server that speaks the OpenAI chat-completions API: llama.cpp, vLLM, LM Studio, Ollama, hosted services.

What such a server promises is its own affair: many ignore seeds, some know neither JSON schemas nor log-probabilities.
A prefill is sent only where the settings say that the server continues a last assistant message.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Self

from crucible.errors import EngineError, ModelUnavailableError
from crucible.models.base import OnDelta
from crucible.models.http import ChatClient, ConnectionLostError
from crucible.types import Completion, Message, ModelIdentity, Sampling


class OpenAIModel:
    """`base_url` without the trailing /v1."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        prefill: bool = False,
        context_length: int = 0,
    ) -> None:
        self._client = ChatClient(base_url.rstrip("/").removesuffix("/v1"), model, api_key=api_key, timeout_s=timeout_s)
        self._prefill = prefill
        self._identity = ModelIdentity(name=model, engine="openai", context_length=context_length)

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        if messages[-1].role == "assistant" and not self._prefill:
            messages = messages[:-1]
        try:
            return self._client.batch(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        except ConnectionLostError as error:
            raise ModelUnavailableError(str(error)) from error

    def count_tokens(self, text: str) -> int:
        """From the server's /tokenize (llama.cpp, vLLM), else from the usage of a one-token request.

        The latter counts the chat template's own tokens too; their number is taken off with an empty request."""
        try:
            return len(self._client.post("/tokenize", {"content": text, "prompt": text, "model": self._client.model})["tokens"])
        except ConnectionLostError as error:
            raise ModelUnavailableError(str(error)) from error
        except (EngineError, ModelUnavailableError, KeyError, TypeError):
            return self._prompt_tokens(f"x{text}") - self._prompt_tokens("x")

    def _prompt_tokens(self, text: str) -> int:
        (drawn,) = self.generate([Message(role="user", content=text)], [Sampling(max_tokens=1)])
        return drawn.prompt_tokens

    def notices(self) -> list[str]:
        return []

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
