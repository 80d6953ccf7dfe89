"""A streamed answer as a Completion. Pure functions of data, for every server."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

from crucible.errors import ContextOverflowError, EngineError
from crucible.models.transport.payload import Usage, mapping
from crucible.models.transport.quoting import quote
from crucible.models.transport.thinking import Thinking
from crucible.types import Completion, Sampling, TokenLogprob

STOPPED = (
    *(
        "stop",
        "eos",
        "eos_token",
        "end",
        "end_turn",
        "end_of_turn",
        "stop_sequence",
        "stop_token",
        "complete",
        "completed",
    ),
    *("done", "finished", "tool_calls", "tool_call", "tool_use", "function_call"),
)
CUT = ("length", "max_tokens", "max_length", "max_output_tokens", "model_length", "token_limit", "limit")
"""Finish reasons, as servers name them, of an answer that is whole and of one that reached its length. Any other is a failure."""
PASSING = ("error", "abort", "cancelled", "canceled")
"""Failures that asking again may mend."""


class Answer(ABC):
    """Puts one completion together from its events. A subclass knows one server's form of them."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling, self._began = sampling, time.monotonic()
        self._thinking, self._half = Thinking(), ""
        self._apart: list[str] = []
        self._events = 0
        self._usage = Usage()
        self.logprobs: list[TokenLogprob] = []
        self.finish: Literal["stop", "length"] | None = None
        """None while the answer is not complete."""
        self.empty, self.spoke = True, False
        """Whether nothing of an answer came yet, and whether text came."""

    @abstractmethod
    def read(self, event: dict[str, Any]) -> str:
        """The text an event brought; the rest of it is handed to `think`, `count` and `end_with`."""

    def take(self, event: Any) -> str:  # noqa: ANN401 - JSON
        """Adds one event; returns what of the answer's own text, thinking left out, is certain by now."""
        said = mapping(event)
        text = self.read(said) if said else ""
        if text:
            self._events += 1
            self.empty, self.spoke = False, True
        return self._thinking.feed(self._joined(text))

    def done(self) -> None:
        """The server said that the answer is complete, whether or not it said why."""
        if self.finish is None and not self.empty:
            self.finish = "length" if (self._usage.completion or 0) >= self._sampling.max_tokens else "stop"

    def end(self) -> str:
        """No more events come. Returns the rest of the text."""
        half, self._half = self._half, ""
        return self._thinking.feed("\ufffd" * len(half)) + self._thinking.end()

    def think(self, text: str) -> None:
        """Thinking that the server itself keeps apart."""
        if text:
            self._apart.append(text)
            self._events += 1
            self.empty = False

    def count(self, usage: Usage) -> None:
        """The last count of a server is the exact one."""
        prompt, completion = usage
        self._usage = Usage(
            self._usage.prompt if prompt is None else prompt,
            self._usage.completion if completion is None else completion,
        )

    def end_with(self, reason: str) -> None:
        """The server's finish reason; an empty one says nothing. Raises EngineError for a failure."""
        said = reason.strip().lower()
        if not said:
            return
        self.empty = False
        if said in STOPPED:
            self.finish = "stop"
        elif said in CUT:
            self.finish = "length"
        else:
            error = EngineError(f"the server gave an answer up half-way (finish reason {quote(reason, 40)!r})")
            error.transient_s = 0.0 if said in PASSING else None
            raise error

    def completion(self) -> Completion:
        """Return the answer so far; one not complete was cancelled. Raises ContextOverflowError where the prompt took all."""
        counted = self._usage.completion or self._events
        text, thoughts = self._thinking.text, "".join(self._apart) + self._thinking.thoughts
        if self.finish == "length" and not (text.strip() or thoughts) and counted <= 1 < self._sampling.max_tokens:
            raise ContextOverflowError(
                f"the prompt ({self._usage.prompt or 'too many'} tokens) leaves the model no room to answer; "
                "shorten the task or raise the server's context length"
            )
        return Completion(
            text=text,
            thinking=thoughts,
            finish_reason=self.finish or "cancelled",
            prompt_tokens=self._usage.prompt or 0,
            completion_tokens=counted,
            seed=self._sampling.seed,
            wall_s=time.monotonic() - self._began,
            logprobs=tuple(self.logprobs) if self._sampling.logprobs else None,
        )

    def _joined(self, text: str) -> str:
        """`text` with halves of surrogate pairs joined, also across events; a half that stays alone becomes U+FFFD."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if text.isascii():
            return text
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Request(NamedTuple):
    """One sampling on its way: where to, with what, and who reads the answer."""

    path: str
    body: dict[str, Any]
    answer: Answer
