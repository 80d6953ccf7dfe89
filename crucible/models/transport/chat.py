"""A Sampling in the form of the OpenAI chat-completions API, as llama.cpp, vLLM, SGLang and hosted services speak it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from crucible.models.transport.answer import Answer, Request
from crucible.models.transport.dialects import Dialect
from crucible.models.transport.payload import choice, usage
from crucible.types import Message, Sampling

_SPECIAL = re.compile(
    r"<(?P<inner>"
    r"\|[^\[\]<>|\s]{1,64}\||\uff5c[^\[\]<>\uff5c\s]{1,64}\uff5c"  # ChatML and its like, Llama 3, Phi, FIM marks; DeepSeek
    r"|(?:start|end)_of_turn|bos|eos|</?SYS>"  # Gemma; Llama 2, of which the outer brackets remain
    r"|/?(?:repo_?name|file_?(?:name|sep)|gh_stars|empty_output|fim[-_][a-z]+|(?:issue|jupyter)_[a-z]+)"  # StarCoder, SmolLM
    r")>|\[(?P<mark>/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT))\]"  # Mistral
)
"""Marks of the chat templates in use. A server reads them as its own wherever they stand, in what a user wrote too.
</s> is left alone: it is HTML, and marks no turn by itself."""


def as_text(content: str) -> str:
    """`content` with every mark that could end or begin a turn spelled apart: `<|im_end|>` becomes `<| im_end |>`."""
    return _SPECIAL.sub(_apart, content)


def _apart(match: re.Match[str]) -> str:
    inner, mark = match["inner"], match["mark"]
    if inner is None:
        return f"[ {mark} ]"
    bar = inner[0] if inner[0] in "|\uff5c" else ""
    return f"<{bar} {inner.strip(bar) if bar else inner} {bar}>"


def chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The messages as a server takes them; only its template marks the turns."""
    return [{"role": message.role, "content": as_text(message.content)} for message in messages]


def chat_request(messages: Sequence[Message], sampling: Sampling, model: str, dialect: Dialect) -> Request:
    """`messages` may end with the assistant's only where the server continues it."""
    body: dict[str, Any] = {
        "model": model,
        "messages": chat(messages),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if messages and messages[-1].role == "assistant":
        body |= dialect.prefill
    dialect.constrain(body, sampling)
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return Request("/v1/chat/completions", body, ChatAnswer(sampling))


class ChatAnswer(Answer):
    def __init__(self, sampling: Sampling) -> None:
        super().__init__(sampling)
        self._instead = ""

    def read(self, event: dict[str, Any]) -> str:
        said = choice(event)
        self.think(said.thinking)
        self.logprobs += said.logprobs
        self._instead += said.instead
        self.count(usage(event.get("usage")))
        text = said.text
        if said.whole and not self.spoke:
            text = said.whole
        self.end_with(said.finish)
        if self.finish and not text and not self.spoke:
            text, self._instead = self._instead, ""  # a refusal, or a tool's call: all that the model said
        return text
