"""A streamed answer as a Completion, and a refused request as an error. Pure functions of data, for every server."""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from crucible.errors import ContextOverflowError, EngineError, ModelUnavailableError
from crucible.types import Completion, Sampling, TokenLogprob

_OVERFLOW = re.compile(r"context.{0,12}(size|length|window)|exceed_context|context_length", re.IGNORECASE)


class Answer(ABC):
    """Puts one completion together from its events. A subclass knows one server's form of them."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self._began = sampling, time.monotonic()
        self._text: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.prompt_tokens = self.completion_tokens = 0
        self.finish: Literal["stop", "length"] | None = None
        """None while the answer is not complete."""

    @abstractmethod
    def read(self, event: dict[str, Any]) -> str:
        """The text an event brought; the rest of it is put into the fields above."""

    def take(self, event: dict[str, Any]) -> str:
        """Adds one event; returns the text it brought."""
        if event.get("error"):
            raise EngineError(f"the engine failed while generating: {event['error']}")
        text = self.read(event)
        if text:
            self._text.append(text)
        return text

    def completion(self) -> Completion:
        """What there is; an answer that is not complete was cancelled."""
        return Completion(
            text="".join(self._text),
            finish_reason=self.finish or "cancelled",
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seed=self._sampling.seed,
            wall_s=time.monotonic() - self._began,
            logprobs=tuple(self.logprobs) if self._sampling.logprobs else None,
        )


class Request(NamedTuple):
    """One sampling on its way: where to, with what, and who reads the answer."""

    path: str
    body: dict[str, Any]
    answer: Answer


def logprob(item: dict[str, Any]) -> TokenLogprob:
    """A token as both the OpenAI API and llama.cpp write it."""
    top = tuple((other["token"], other["logprob"]) for other in item.get("top_logprobs", []))
    return TokenLogprob(token=item["token"], logprob=item["logprob"], top=top)


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


TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


def refusal(
    status: int, text: str, *, url: str, model: str, retry_after: str | None = None
) -> EngineError | ModelUnavailableError:
    """The error that a server's HTTP error means. retry_after: the header of that name."""
    error = _refusal(status, text, url, model)
    if status in TRANSIENT and not isinstance(error, ContextOverflowError):
        said = retry_after or ""
        error.transient_s = float(said) if said.isdigit() else 0.0
    return error


def _refusal(status: int, text: str, url: str, model: str) -> EngineError | ModelUnavailableError:
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
