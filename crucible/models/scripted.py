"""A deterministic engine that answers from a script: for tests and demonstrations of the loop's flow, not of a model.

A script is either a list of replies, drawn in order over all samples of all calls, the last one repeated; or a list of
rules, of which the first whose pattern is found in the last user message answers: with the reply numbered seed modulo
their count, so that the same messages and seed give the same text. A request for JSON gets the rule's `json`, else a
reply that is JSON, else the smallest value that fits the schema. A prefill is not continued.

Tokens are runs of word characters, runs of spaces and single other characters; every logprob is 0, without alternatives.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError

from crucible.errors import ContextOverflowError, EngineTimeoutError, InputError
from crucible.models.base import AdapterForm, Feature, OnDelta, refuse_adapters, refuse_beyond
from crucible.reading import decode, parse_json, parse_yaml
from crucible.types import Completion, Frozen, Message, ModelIdentity, Sampling, TokenLogprob

_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")


class Rule(Frozen):
    """The answer to give when `match` (a regular expression) is found in the last user message."""

    match: str = ""
    replies: tuple[str, ...] = Field(min_length=1)
    json_reply: Any = Field(None, alias="json")


class ScriptedModel:
    """`script` as described above. Thread-safe. `token_s` makes every token take that long."""

    remote = False
    adapter_form: AdapterForm | None = None

    def __init__(
        self,
        script: Sequence[str] | Sequence[Rule],
        *,
        name: str = "scripted",
        context_length: int = 1 << 20,
        token_s: float = 0.0,
    ) -> None:
        if not script:
            raise InputError("a script needs at least one reply")
        self._replies = [item for item in script if isinstance(item, str)]
        self._rules = [(_pattern(item.match), item) for item in script if isinstance(item, Rule)]
        self._next = 0
        self._lock = threading.Lock()
        self._token_s = token_s
        self.features: frozenset[Feature] = frozenset({"seed", "json_schema", "logprobs"})
        self.identity = ModelIdentity(name=name, engine="scripted", context_length=context_length)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A script in YAML or JSON: a list of texts, or a list of {match, replies, json}."""
        name = f"script {path}"
        try:
            text = decode(path.read_bytes(), name)
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}") from error
        data = parse_json(text, name) if path.suffix == ".json" else parse_yaml(text, name)
        try:
            return cls(TypeAdapter(list[str] | list[Rule]).validate_python(data))
        except ValidationError as error:
            why = " ".join(str(error).split())[:200]
            raise InputError(f"{name}: a list of texts or of rules is wanted ({why})") from error

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        refuse_adapters("scripted")

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        refuse_beyond("scripted", self.features, samplings)
        prompt_tokens = sum(self.count_tokens(message.content) for message in messages)
        if prompt_tokens >= self.identity.context_length:
            raise ContextOverflowError(
                f"the prompt has {prompt_tokens} tokens, the context {self.identity.context_length}; shorten the task"
            )
        until = None if deadline_s is None else time.monotonic() + deadline_s
        return [
            self._draw(index, self._reply(messages, sampling), sampling, prompt_tokens, on_delta, cancel, until)
            for index, sampling in enumerate(samplings)
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

    def _reply(self, messages: Sequence[Message], sampling: Sampling) -> str:
        if not self._rules:
            with self._lock:
                reply = self._replies[min(self._next, len(self._replies) - 1)]
                self._next += 1
            fixed = None
        else:
            asked = next((message.content for message in reversed(messages) if message.role == "user"), "")
            rule = next((rule for pattern, rule in self._rules if pattern.search(asked)), None)
            if rule is None:
                raise InputError(f"no rule of the script matches {asked[:80]!r}; end it with a rule without `match`")
            reply, fixed = rule.replies[sampling.seed % len(rule.replies)], rule.json_reply
        if sampling.json_schema is None:
            return reply
        if fixed is not None:
            return json.dumps(fixed)
        return reply if _is_json(reply) else json.dumps(_smallest(sampling.json_schema))

    def _draw(
        self,
        index: int,
        reply: str,
        sampling: Sampling,
        prompt_tokens: int,
        on_delta: OnDelta | None,
        cancel: threading.Event | None,
        until: float | None,
    ) -> Completion:
        began = time.monotonic()
        for stop in sampling.stop:
            reply = reply.split(stop)[0]
        tokens: list[str] = []
        finish: Literal["stop", "length", "cancelled"] = "stop"
        for token in _TOKEN.findall(reply):
            if cancel is not None and cancel.is_set():
                finish = "cancelled"
                break
            if until is not None and time.monotonic() >= until:
                raise EngineTimeoutError("no complete answer within the deadline")
            if len(tokens) == sampling.max_tokens:
                finish = "length"
                break
            time.sleep(self._token_s)
            tokens.append(token)
            if on_delta is not None:
                on_delta(index, token)
        return Completion(
            text="".join(tokens),
            finish_reason=finish,
            prompt_tokens=prompt_tokens,
            completion_tokens=len(tokens),
            seed=sampling.seed,
            wall_s=time.monotonic() - began,
            logprobs=tuple(TokenLogprob(token=token, logprob=0.0) for token in tokens) if sampling.logprobs else None,
        )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"the script's pattern {text!r} is no regular expression: {error}") from error


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
