"""A Sampling in the form of llama.cpp's own completion API (tools/server/README.md of llama.cpp).

The embedded engine uses it in place of the chat API: there a prefilled answer excludes JSON schemas and grammars, and
llama.cpp parses what the model writes. Here a completion is the text that was written, and every event counts its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crucible.models.transport.answer import Answer, Request
from crucible.models.transport.payload import Usage, count, logprobs, string
from crucible.types import Sampling


def llama_request(prompt: str, sampling: Sampling, *, slot: int | None = None, scales: Sequence[float] = ()) -> Request:
    """`prompt` is the chat as the model's template renders it; `slot` asks for a certain slot of the server.

    scales: of every adapter the server has loaded. None may be left out: without the list llama.cpp goes on with a slot's
    cache as another adapter left it.
    """
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(sampling.stop),
        "n_probs": sampling.logprobs,
        "cache_prompt": True,
        "stream": True,
    }
    # Of itself llama.cpp also cuts by top-k and min-p, and by top-p before the temperature is applied: not what
    # `Sampling` promises.
    if sampling.temperature == 0:
        body |= {"samplers": ["top_k"], "top_k": 1}
    else:
        # Sorting the whole vocabulary takes 3 ms a token. What is 10^7 times less likely than the first choice (a vocabulary
        # of 150,000 has 1.5 % of its probability at the very most) has no place in a nucleus of 0.98 or less.
        body |= {"samplers": ["temperature", "min_p", "top_p"], "min_p": 1e-7 if sampling.top_p <= 0.98 else 0.0}
    if sampling.json_schema is not None:
        body["json_schema"] = sampling.json_schema
    if sampling.grammar is not None:
        body["grammar"] = sampling.grammar
    if slot is not None:
        body["id_slot"] = slot
    if scales:
        body["lora"] = [{"id": number, "scale": scale} for number, scale in enumerate(scales)]
    return Request("/completion", body, LlamaAnswer(sampling))


class LlamaAnswer(Answer):
    def read(self, event: dict[str, Any]) -> str:
        self.count(Usage(count(event.get("tokens_evaluated")), count(event.get("tokens_predicted"))))
        if event.get("stop") is True:
            self.end_with("length" if event.get("stop_type") == "limit" else "stop")
        else:
            # The last event repeats all of them.
            self.logprobs += logprobs(event.get("completion_probabilities"))
        return string(event.get("content"))
