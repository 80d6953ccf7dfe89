"""Other programs' JSON, read leniently into types of ours: what servers send is theirs, and no two send the same.

A value that is missing, null or of another type than expected counts as not sent. Nothing here raises.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from crucible.types import TokenLogprob


class Usage(NamedTuple):
    """Tokens as the server counts them; None where it does not say."""

    prompt: int | None = None
    completion: int | None = None


class Parts(NamedTuple):
    """A content field: what is answer and what is thinking."""

    text: str = ""
    thinking: str = ""


class Choice(NamedTuple):
    """One event of a chat completion."""

    text: str = ""
    thinking: str = ""
    instead: str = ""
    """What stands in the place of text: a refusal, or the arguments of a tool call."""
    whole: str = ""
    """The complete text, from a server that does not stream or repeats it in the end."""
    finish: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:  # noqa: ANN401 - JSON
    return value if isinstance(value, list) else []


def string(value: Any) -> str:  # noqa: ANN401 - JSON
    return value if isinstance(value, str) else ""


def count(value: Any) -> int | None:  # noqa: ANN401 - JSON
    """A number of tokens, also where it is written as a text or with a fraction."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None
    if isinstance(value, float):
        value = int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else None


def usage(value: Any) -> Usage:  # noqa: ANN401 - JSON
    said = mapping(value)
    prompt = _first(said, "prompt_tokens", "input_tokens")
    completion = _first(said, "completion_tokens", "output_tokens")
    total = count(said.get("total_tokens"))
    if total is not None and (prompt is None) != (completion is None):
        rest = max(0, total - (prompt or 0) - (completion or 0))
        prompt, completion = (rest, completion) if prompt is None else (prompt, rest)
    return Usage(prompt, completion)


def _first(said: dict[str, Any], *names: str) -> int | None:
    return next((number for name in names if (number := count(said.get(name))) is not None), None)


def content(value: Any) -> Parts:  # noqa: ANN401 - JSON
    """A text, or a list of typed parts as some servers send it."""
    if isinstance(value, str):
        return Parts(text=value)
    text = thinking = ""
    for part in sequence(value):
        if isinstance(part, str):
            text += part
            continue
        said = mapping(part)
        kind = string(said.get("type"))
        if kind in ("thinking", "reasoning") or "thinking" in said:
            inner = content(said.get("thinking") or said.get("text") or said.get("reasoning"))
            thinking += inner.text + inner.thinking
        else:
            text += string(said.get("text"))
    return Parts(text, thinking)


def choice(event: dict[str, Any]) -> Choice:
    """The choices of one event as one; an event without any says nothing."""
    found = Choice()
    for item in map(mapping, sequence(event.get("choices"))):
        delta, message = mapping(item.get("delta")), mapping(item.get("message"))
        said = content(delta.get("content"))
        full = content(message.get("content"))
        found = Choice(
            text=found.text + (said.text or string(item.get("text"))),
            thinking=found.thinking + said.thinking + full.thinking + _reasoning(delta) + _reasoning(message),
            instead=found.instead + _instead(delta) + _instead(message),
            whole=found.whole + full.text,
            finish=_finish(item.get("finish_reason")) or found.finish,
            logprobs=found.logprobs + logprobs(mapping(item.get("logprobs")).get("content")),
        )
    return found


def _reasoning(said: dict[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning", "thinking"):
        parts = content(said.get(name))
        if parts.text or parts.thinking:
            return parts.text + parts.thinking
    return ""


def _instead(said: dict[str, Any]) -> str:
    calls = map(mapping, sequence(said.get("tool_calls")))
    arguments = "".join(string(mapping(call.get("function")).get("arguments")) for call in calls)
    return arguments + string(mapping(said.get("function_call")).get("arguments")) + string(said.get("refusal"))


def _finish(value: Any) -> str:  # noqa: ANN401 - JSON
    return string(mapping(value).get("type") if isinstance(value, dict) else value)


def logprobs(value: Any) -> tuple[TokenLogprob, ...]:  # noqa: ANN401 - JSON
    """Tokens as both the OpenAI API and llama.cpp write them; those without a token or a number are left out."""
    found = []
    for item in map(mapping, sequence(value)):
        pair = _token(item)
        if pair is not None:
            top = tuple(other for each in map(mapping, sequence(item.get("top_logprobs"))) if (other := _token(each)))
            found.append(TokenLogprob(token=pair[0], logprob=pair[1], top=top))
    return tuple(found)


def _token(item: dict[str, Any]) -> tuple[str, float] | None:
    token, value = item.get("token"), item.get("logprob")
    if isinstance(token, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return token, float(value)
    return None


def tokens(value: Any) -> int | None:  # noqa: ANN401 - JSON
    """Return how many tokens the answer of a /tokenize counts; None where it is no such answer."""
    said = mapping(value)
    return len(said["tokens"]) if isinstance(said.get("tokens"), list) else count(said.get("count"))
