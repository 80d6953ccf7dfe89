"""What gaps between llama.cpp's busy slots cost, and what sharing the reading of a prompt saves.

    python -m benchmarks.slots [--model qwen2.5-coder-0.5b] [--slots 16] [--tokens 60] [--repeat 3] [--json FILE]

The same requests to slots side by side, and to every other one: rates are decoded tokens over wall seconds, prompts read
before. `as chosen`: where Crucible has placed as many requests after a hundred came and went. Then four prompts at once, with as
many samples as slots between them: once every sample by itself, once the samples of a prompt together; here the seconds hold
the reading. Medians of `--repeat` runs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import httpx

from crucible.config import load_settings
from crucible.models import load_model
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.llama.slots import Slots
from crucible.types import Message, Sampling

PROMPT = "def merged(left, right):\n" + "    # Two sorted lists become one, and nothing is lost on the way.\n" * 20
PROMPTS = 4


def asked(model: EmbeddedModel, slot: int, tokens: int) -> int:
    """Has `tokens` written by that slot; returns how many they were."""
    url, key = model.endpoint()
    body = {
        "prompt": PROMPT + f"    # {slot}\n",
        "n_predict": tokens,
        "ignore_eos": True,
        "temperature": 0.8,
        "seed": slot,
        "id_slot": slot,
    }
    reply = httpx.post(f"{url}/completion", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=300)
    return int(reply.json()["tokens_predicted"])


def rate(model: EmbeddedModel, slots: Sequence[int], tokens: int) -> float:
    with ThreadPoolExecutor(len(slots)) as threads:
        list(threads.map(lambda slot: asked(model, slot, 1), slots))
        began = time.perf_counter()
        drawn = sum(threads.map(lambda slot: asked(model, slot, tokens), slots))
        return drawn / (time.perf_counter() - began)


def chosen(slots: int, count: int) -> list[int]:
    """As Crucible places `count` requests after others have come and gone."""
    table, random = Slots(slots), Random(0)  # noqa: S311
    running: list[tuple[ExitStack, int]] = []
    for _ in range(100):
        while len(running) >= count:
            running.pop(random.randrange(len(running)))[0].close()
        stack = ExitStack()
        slot = stack.enter_context(table.taken(PROMPT))
        assert slot is not None
        running.append((stack, slot))
    return [slot for _, slot in running]


def answered(model: EmbeddedModel, samples: int, tokens: int, run: int, *, together: bool) -> float:
    """Tokens a second of `samples` answers to each of PROMPTS new prompts, reading included."""
    asked = [
        [Message(role="user", content=f"Say what this does, case {run}.{number}.{together}:\n\n{PROMPT}")]
        for number in range(PROMPTS)
    ]
    samplings = [Sampling(max_tokens=tokens, temperature=0.8, seed=seed) for seed in range(samples)]
    calls = [(each, some) for each in asked for some in ([samplings] if together else [[one] for one in samplings])]
    with ThreadPoolExecutor(len(calls)) as threads:
        began = time.perf_counter()
        drawn = list(threads.map(lambda call: model.generate(*call), calls))
        return sum(each.completion_tokens for some in drawn for each in some) / (time.perf_counter() - began)


def summary(rates: Sequence[float]) -> dict[str, Any]:
    return {
        "tokens_per_s": round(statistics.median(rates), 1),
        "spread": [round(min(rates), 1), round(max(rates), 1)],
    }


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
        runs = {
            f"all {options.slots}": range(options.slots),
            f"{half} side by side": range(half),
            f"{half} with gaps": range(0, options.slots, 2),
            f"{half} as chosen": chosen(options.slots, half),
        }
        for name, slots in runs.items():
            found[name] = summary([rate(model, slots, options.tokens) for _ in range(options.repeat)])
            print(name, json.dumps(found[name]), flush=True)
        samples, names = max(1, options.slots // PROMPTS), {False: "each reads", True: "one reads for all"}
        answers: dict[bool, list[float]] = {False: [], True: []}
        for run in range(options.repeat):
            for together in (run % 2 == 0, run % 2 == 1):
                answers[together].append(answered(model, samples, options.tokens, run, together=together))
        for together, rates in answers.items():
            name = f"{PROMPTS} prompts, {samples} samples each, {names[together]}"
            found[name] = summary(rates)
            print(name, json.dumps(found[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
