"""The OpenAI chat-completions form: a Sampling as a request, and a streamed answer as a Completion. Pure functions of data.

The answer is read as llama.cpp, vLLM, SGLang and the hosted services send it; llama.cpp's additions are used where present.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from crucible.errors import ContextOverflowError, EngineError, ModelUnavailableError
from crucible.types import Completion, Message, Sampling, TokenLogprob

_OVERFLOW = re.compile(r"context.{0,12}(size|length|window)|exceed_context|context_length", re.IGNORECASE)


def request_body(messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """The request; `grammar` is llama.cpp's extension and only sent when asked for."""
    body: dict[str, Any] = {
        "messages": [message.model_dump() for message in messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": sampling.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.grammar is not None:
        body["grammar"] = sampling.grammar
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return body


def llama_sampling(sampling: Sampling) -> dict[str, Any]:
    """What llama.cpp must be told beside the OpenAI fields to draw as everyone else understands them.

    Of itself it also cuts by top-k and min-p, and by top-p before the temperature is applied.
    """
    if sampling.temperature == 0:
        return {"samplers": ["top_k"], "top_k": 1}
    return {"samplers": ["temperature", "top_p"]}


def events(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON events of a server-sent stream.

    Lines end at \\n alone: text-mode readers also cut at U+2028 and its like, which JSON strings may hold as they are.
    """
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if line.startswith(b"data:") and data != b"[DONE]":
                yield json.loads(data)


class Answer:
    """Puts one completion together from its events."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self._began = sampling, time.monotonic()
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt_tokens = self._completion_tokens = 0
        self.finish: str | None = None

    def take(self, event: dict[str, Any]) -> str:
        """Adds one event; returns the text it brought."""
        if event.get("error"):
            raise EngineError(f"the engine failed while generating: {event['error']}")
        text = ""
        for choice in event.get("choices", []):
            text += choice.get("delta", {}).get("content") or ""
            for item in (choice.get("logprobs") or {}).get("content") or []:
                top = tuple((other["token"], other["logprob"]) for other in item.get("top_logprobs", []))
                self._logprobs.append(TokenLogprob(token=item["token"], logprob=item["logprob"], top=top))
            self.finish = choice.get("finish_reason") or self.finish
        self._count(event, text)
        if text:
            self._text.append(text)
        return text

    def _count(self, event: dict[str, Any], text: str) -> None:
        """The last event's usage is exact. Until then llama.cpp's running counts are, else one text is one token."""
        usage, running = event.get("usage"), event.get("timings")
        if usage:
            self._prompt_tokens = usage["prompt_tokens"]
            self._completion_tokens = usage.get("completion_tokens", 0)
        elif running and "predicted_n" in running:
            self._prompt_tokens = running.get("prompt_n", 0) + running.get("cache_n", 0)
            self._completion_tokens = running["predicted_n"]
        elif text:
            self._completion_tokens += 1

    def completion(self) -> Completion:
        """What there is; an answer that has not finished was cancelled."""
        finish: Literal["stop", "length", "cancelled"] = "stop"
        if self.finish in (None, "length"):
            finish = "length" if self.finish else "cancelled"
        return Completion(
            text="".join(self._text),
            finish_reason=finish,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
            seed=self._sampling.seed,
            wall_s=time.monotonic() - self._began,
            logprobs=tuple(self._logprobs) if self._sampling.logprobs else None,
        )


def refusal(status: int, text: str, *, url: str, model: str) -> EngineError | ModelUnavailableError:
    """The error that a server's HTTP error means."""
    problem: Any = {}
    message = text.strip()[:300]
    try:
        document = json.loads(text)
        problem = document.get("error", document)
        message = problem if isinstance(problem, str) else str(problem.get("message", message))
    except (ValueError, AttributeError):
        message = message or "no reason given"  # not JSON, or not the OpenAI form: the text itself is the reason
    kind = f"{problem.get('type')} {problem.get('code')}" if isinstance(problem, dict) else ""
    if _OVERFLOW.search(kind) or (status == 400 and _OVERFLOW.search(message)):
        return ContextOverflowError(f"{message}; shorten the task or raise model.context_length")
    if status in (401, 403):
        return ModelUnavailableError(f"{url} refuses the key (HTTP {status}); set model.api_key")
    if status == 404:
        return ModelUnavailableError(
            f"{url} has no model {model!r}, or no chat completions there (HTTP 404: {message})"
        )
    if status in (502, 503, 504):
        return ModelUnavailableError(f"{url} is not ready (HTTP {status}: {message}); try again later")
    return EngineError(f"{url} answers HTTP {status}: {message}")
