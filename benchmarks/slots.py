"""What gaps between llama.cpp's busy slots cost: the same requests to slots side by side, and to every other one.

    python -m benchmarks.slots [--model qwen2.5-coder-0.5b] [--slots 16] [--tokens 60] [--repeat 3] [--json FILE]

Rates are decoded tokens over wall seconds, prompts read before; the median of `--repeat` runs. `free`: as Crucible chooses slots
for as many requests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from crucible.config import load_settings
from crucible.models import load_model
from crucible.models.embedded import EmbeddedModel
from crucible.types import Message, Sampling

PROMPT = "def merged(left, right):\n" + "    # Two sorted lists become one, and nothing is lost on the way.\n" * 20


def pinned(model: EmbeddedModel, slots: Sequence[int], tokens: int) -> float:
    url, key = model.endpoint()

    def one(slot: int, count: int) -> int:
        body = {
            "prompt": PROMPT + f"    # {slot}\n",
            "n_predict": count,
            "ignore_eos": True,
            "temperature": 0.8,
            "seed": slot,
            "id_slot": slot,
        }
        reply = httpx.post(f"{url}/completion", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=300)
        return int(reply.json()["tokens_predicted"])

    with ThreadPoolExecutor(len(slots)) as threads:
        list(threads.map(lambda slot: one(slot, 1), slots))
        began = time.perf_counter()
        drawn = sum(threads.map(lambda slot: one(slot, tokens), slots))
        return drawn / (time.perf_counter() - began)


def free(model: EmbeddedModel, count: int, tokens: int) -> float:
    def one(number: int, most: int) -> int:
        asked = [Message(role="user", content=PROMPT + f"    # {number}\n")]
        return model.generate(asked, [Sampling(max_tokens=most, temperature=0.8, seed=number)])[0].completion_tokens

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(lambda number: one(number, 1), range(count)))
        began = time.perf_counter()
        drawn = sum(threads.map(lambda number: one(number, tokens), range(count)))
        return drawn / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = load_settings(overrides={"model": {"name": options.model, "engine": "embedded", "slots": options.slots}})
    half = options.slots // 2
    found: dict[str, Any] = {}
    with load_model(settings.model, settings.paths) as model:
        assert isinstance(model, EmbeddedModel)
        runs: dict[str, Callable[[], float]] = {
            f"all {options.slots}": lambda: pinned(model, range(options.slots), options.tokens),
            f"{half} side by side": lambda: pinned(model, range(half), options.tokens),
            f"{half} with gaps": lambda: pinned(model, range(0, options.slots, 2), options.tokens),
            f"{half} free": lambda: free(model, half, options.tokens),
        }
        for name, run in runs.items():
            rates = sorted(run() for _ in range(options.repeat))
            found[name] = {
                "tokens_per_s": round(statistics.median(rates), 1),
                "spread": [round(rates[0], 1), round(rates[-1], 1)],
            }
            print(name, json.dumps(found[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
