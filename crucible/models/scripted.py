"""A deterministic engine that answers from a script: for tests and demonstrations of the loop's flow, not of a model.

A script is a list of replies, drawn in order over all samples of all calls, the last repeated. A reply that is asked for
with a JSON schema is given as it is if it is JSON; else the smallest object that fits the schema is made.
Tokens are runs of word characters, runs of spaces and single other characters; every logprob is 0.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from crucible.errors import ContextOverflowError, InputError
from crucible.models.base import OnDelta
from crucible.types import Completion, Message, ModelIdentity, Sampling, TokenLogprob

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


class ScriptedModel:
    """`replies` as described above. Thread-safe."""

    def __init__(self, replies: Sequence[str], *, name: str = "scripted", context_length: int = 1 << 20) -> None:
        if not replies:
            raise InputError("a script needs at least one reply")
        self._replies = list(replies)
        self._next = 0
        self._lock = threading.Lock()
        self.identity = ModelIdentity(name=name, engine="scripted", context_length=context_length)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"script {path}: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"script {path}: not valid JSON ({error})") from error
        if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
            raise InputError(f"script {path}: must be a list of texts")
        return cls(data)

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        prompt_tokens = sum(self.count_tokens(message.content) for message in messages)
        if prompt_tokens >= self.identity.context_length:
            raise ContextOverflowError(
                f"the prompt has {prompt_tokens} tokens, the context {self.identity.context_length}; shorten the task"
            )
        return [
            self._draw(index, sampling, prompt_tokens, on_delta, cancel) for index, sampling in enumerate(samplings)
        ]

    def count_tokens(self, text: str) -> int:
        return len(_TOKEN.findall(text))

    def notices(self) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _draw(
        self,
        index: int,
        sampling: Sampling,
        prompt_tokens: int,
        on_delta: OnDelta | None,
        cancel: threading.Event | None,
    ) -> Completion:
        began = time.monotonic()
        with self._lock:
            reply = self._replies[min(self._next, len(self._replies) - 1)]
            self._next += 1
        if sampling.json_schema is not None and not _is_json(reply):
            reply = json.dumps(_smallest(sampling.json_schema))
        for stop in sampling.stop:
            reply = reply.split(stop)[0]
        tokens: list[str] = []
        finish = "stop"
        for token in _TOKEN.findall(reply):
            if len(tokens) == sampling.max_tokens:
                finish = "length"
                break
            if cancel is not None and cancel.is_set():
                finish = "cancelled"
                break
            tokens.append(token)
            if on_delta is not None:
                on_delta(index, token)
        return Completion(
            text="".join(tokens),
            finish_reason=finish,  # type: ignore[arg-type]
            prompt_tokens=prompt_tokens,
            completion_tokens=len(tokens),
            seed=sampling.seed,
            wall_s=time.monotonic() - began,
            logprobs=tuple(TokenLogprob(token=token, logprob=0.0) for token in tokens) if sampling.logprobs else None,
        )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _smallest(schema: dict[str, Any]) -> Any:  # noqa: ANN401
    """The plainest value the schema allows, for the JSON Schema types Crucible's own schemas use."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if kind == "object":
        return {name: _smallest(part) for name, part in schema.get("properties", {}).items()}
    return {"array": [], "string": "", "integer": 0, "number": 0, "boolean": False, "null": None}[kind]
