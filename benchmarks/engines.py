"""The engines beside one another in one run: tokens a second by streams, the client's overhead, what a shared prompt saves.

    python -m benchmarks.engines [--model qwen2.5-coder-0.5b] [--engine embedded --engine native --engine sglang]
                                 [--streams 1 8 32] [--tokens 64] [--repeat 3] [--json FILE]

Every stream asks the same thing with a seed of its own, at temperature 0.8, and writes `--tokens` tokens (fewer where the
model ends). Rates are generated tokens over wall seconds: the median of `--repeat` runs and their spread. Overhead: the same
requests sent by a bare httpx client to the same server, in turns with ours. Prefix: a prompt of about 600 tokens asked for
again with another ending, against one that begins with another word.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from crucible.config import load_settings
from crucible.models import load_model
from crucible.models.base import Model
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.remote.openai import OpenAIModel
from crucible.models.sglang.engine import SglangModel
from crucible.models.transport.chat import chat_request
from crucible.models.transport.dialects import dialects
from crucible.types import Message, Sampling

ASK = [Message(role="user", content="Write a Python module with ten small functions on lists, each with a docstring.")]
STORY = "The fox met the crow and said hello, and the crow said nothing at all. " * 40
BOUND = 0.03
ENGINES = {
    "embedded": {"engine": "embedded", "build": "prebuilt"},
    "native": {"engine": "embedded"},
    "sglang": {"engine": "sglang"},
}


def samplings(streams: int, tokens: int, run: int) -> list[Sampling]:
    return [Sampling(max_tokens=tokens, temperature=0.8, seed=1000 * run + number) for number in range(streams)]


def rate(draw: Callable[[], int]) -> float:
    began = time.perf_counter()
    return draw() / (time.perf_counter() - began)


def ours(model: Model, asked: list[Sampling]) -> int:
    return sum(each.completion_tokens for each in model.generate(ASK, asked))


def bare(url: str, key: str, bodies: list[dict[str, Any]]) -> int:
    """The same requests by a client that only counts: tokens are the server's own count."""

    def one(body: dict[str, Any]) -> int:
        with httpx.stream(
            "POST", f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=600
        ) as reply:
            tokens = 0
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    tokens = (json.loads(line[6:]).get("usage") or {}).get("completion_tokens", tokens)
            return tokens

    with ThreadPoolExecutor(len(bodies)) as threads:
        return sum(threads.map(one, bodies))


def overhead(served: EmbeddedModel | SglangModel, streams: int, tokens: int, repeat: int) -> dict[str, float]:
    """Our OpenAI client over a bare one: the median of the ratios of their rates, run in turns."""
    url, key = served.endpoint()
    ratios = []
    with OpenAIModel(url, "m", api_key=key) as client:
        for run in range(repeat):
            asked = samplings(streams, tokens, run)
            bodies = [chat_request(ASK, each, "m", dialects()["any"]).body for each in asked]
            pair = (partial(ours, client, asked), partial(bare, url, key, bodies))
            order = (0, 1) if run % 2 else (1, 0)
            rates = {which: rate(pair[which]) for which in order}
            ratios.append(rates[0] / rates[1])
    return {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def prefix(model: Model) -> dict[str, float]:
    """Seconds to the end of a one-token answer: a prompt that begins as another did, and one that does not."""

    def seconds(text: str) -> float:
        began = time.perf_counter()
        model.generate([Message(role="user", content=text)], [Sampling(max_tokens=1)])
        return time.perf_counter() - began

    fresh = seconds(f"A: {STORY} Who spoke?")
    shared = [seconds(f"A: {STORY} {ending}") for ending in ("Where?", "When?", "Why not?")]
    return {"fresh_s": fresh, "shared_s": statistics.median(shared), "ratio": statistics.median(shared) / fresh}


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    changes = {**ENGINES[name], "name": options.model, "slots": max(options.streams)}
    settings = load_settings(overrides={"model": changes})
    with load_model(settings.model, settings.paths, progress=lambda text: print(f"  {text}", file=sys.stderr)) as model:
        found: dict[str, Any] = {"build": model.identity.build, "tokens_per_s": {}}
        ours(model, samplings(1, 8, 99))  # what is done once is done
        for streams in options.streams:
            asked = [samplings(streams, options.tokens, run) for run in range(options.repeat)]
            rates = [rate(partial(ours, model, each)) for each in asked]
            found["tokens_per_s"][streams] = {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}
            print(
                f"{name:<9} {streams:>3} streams {statistics.median(rates):7.1f} tokens/s ({min(rates):.1f} to {max(rates):.1f})"
            )
        found["prefix"] = prefix(model)
        print(f"{name:<9} a prompt begun alike takes {found['prefix']['ratio']:.2f} x the time of a new one")
        if isinstance(model, EmbeddedModel | SglangModel):
            found["overhead"] = overhead(model, 8, options.tokens, options.repeat)
            print(f"{name:<9} our client's rate is {found['overhead']['ratio']:.3f} x a bare client's")
        return found


def usable(names: list[str]) -> Iterator[str]:
    from crucible.models.llama import native
    from crucible.models.sglang import environment as sglang_env

    models = load_settings().paths.models
    missing = {
        "native": native.program(models) is None and "not compiled here (crucible models build)",
        "sglang": sglang_env.python(models) is None and "not installed here (crucible models serve --engine sglang)",
    }
    for name in names:
        if missing.get(name):
            print(f"{name:<9} left out: {missing[name]}")
        else:
            yield name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--engine", action="append", choices=list(ENGINES))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {name: measure(name, options) for name in usable(options.engine or list(ENGINES))}
    if options.json:
        said = {"command": " ".join(["python -m benchmarks.engines", *sys.argv[1:]]), **results}
        options.json.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    slow = [name for name, found in results.items() if found.get("overhead", {"ratio": 1.0})["ratio"] < 1 - BOUND]
    for name in slow:
        print(f"{name}: our client costs more than {BOUND:.0%}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
