"""A Sampling in the form of the OpenAI chat-completions API, as llama.cpp, vLLM, SGLang and hosted services speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crucible.models.answer import Answer, Request, logprob
from crucible.types import Message, Sampling


def chat_request(messages: Sequence[Message], sampling: Sampling, model: str) -> Request:
    """`grammar` is llama.cpp's extension and only sent when asked for."""
    body: dict[str, Any] = {
        "model": model,
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
    return Request("/v1/chat/completions", body, ChatAnswer(sampling))


class ChatAnswer(Answer):
    def read(self, event: dict[str, Any]) -> str:
        text = ""
        for choice in event.get("choices", []):
            text += (choice.get("delta") or {}).get("content") or ""
            self.logprobs += map(logprob, (choice.get("logprobs") or {}).get("content") or [])
            if choice.get("finish_reason"):
                self.finish = "length" if choice["finish_reason"] == "length" else "stop"
        usage = event.get("usage")
        if usage:  # with the last event, and exact
            self.prompt_tokens, self.completion_tokens = usage["prompt_tokens"], usage.get("completion_tokens", 0)
        elif text:  # a cancelled answer gets no usage; one event brings one token, as a rule
            self.completion_tokens += 1
        return text
