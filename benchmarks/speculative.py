"""Speculative decoding by the embedded engine: what a draft model or n-grams of the text so far gain, or cost.

    python -m benchmarks.speculative [--model qwen2.5-coder-1.5b] [--draft qwen2.5-coder-0.5b] [--streams 1 8]
                                     [--tokens 96] [--repeat 3] [--json FILE]

Two kinds of answers: `new` programs, and `edits`, programs given in the prompt that are to be written again with one change, of
which most can be guessed. Greedy. Rates are generated tokens over wall seconds, the median of `--repeat` runs, and their
ratio to the plain engine's of the same run; `same` says how many answers are letter for letter the plain engine's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crucible.config import load_settings
from crucible.models import NGRAMS, load_model
from crucible.models.base import Model
from crucible.types import Message, Sampling

WISHES = (
    "merges two sorted lists", "counts the words of a text", "tells whether a number is prime", "reverses the words of a line",
    "gives the n-th Fibonacci number", "removes duplicates and keeps the order", "turns a number into Roman numerals",
    "finds the longest common prefix",
)  # fmt: skip
GIVEN = """def summary(orders):
    total, count, largest = 0, 0, None
    for order in orders:
        price = order["price"] * order["amount"]
        total += price
        count += 1
        if largest is None or price > largest:
            largest = price
    average = total / count if count else 0
    return {"total": total, "count": count, "largest": largest, "average": average}
"""
KINDS = {
    "new": [f"Write a Python function that {wish}." for wish in WISHES],
    "edits": [
        f"Write this Python function again with the name {name}, and change nothing else:\n```python\n{GIVEN}```"
        for name in ("report", "figures", "overview", "digest", "outline", "result", "account", "statement")
    ],
}


def run(model: Model, prompts: list[str], streams: int, tokens: int) -> tuple[float, list[str]]:
    sampling = Sampling(max_tokens=tokens)
    began = time.perf_counter()
    with ThreadPoolExecutor(streams) as threads:
        drawn = list(
            threads.map(lambda prompt: model.generate([Message(role="user", content=prompt)], [sampling])[0], prompts)
        )
    return sum(each.completion_tokens for each in drawn) / (time.perf_counter() - began), [each.text for each in drawn]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    plain: dict[str, tuple[float, list[str]]] = {}
    for guess in (None, NGRAMS, options.draft):
        settings = load_settings(
            overrides={
                "model": {"name": options.model, "engine": "embedded", "draft": guess, "slots": max(options.streams)}
            }
        )
        with load_model(settings.model, settings.paths) as model:
            for kind, prompts in KINDS.items():
                for streams in options.streams:
                    runs = [run(model, prompts, streams, options.tokens) for _ in range(options.repeat)]
                    rates, texts = sorted(rate for rate, _ in runs), runs[0][1]
                    key = f"{kind}, {streams} streams"
                    plain.setdefault(key, (statistics.median(rates), texts))
                    median, reference = plain[key]
                    found[f"{guess or 'plain'}: {key}"] = row = {
                        "tokens_per_s": round(statistics.median(rates), 1),
                        "spread": [round(rates[0], 1), round(rates[-1], 1)],
                        "ratio": round(statistics.median(rates) / median, 2),
                        "same": f"{sum(one == other for one, other in zip(texts, reference, strict=True))}/{len(texts)}",
                    }
                    print(f"{guess or 'plain'}: {key}: {json.dumps(row)}", flush=True)
    if options.json:
        said = {"command": " ".join(["python -m benchmarks.speculative", *sys.argv[1:]]), **found}
        options.json.write_text(json.dumps(said, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
