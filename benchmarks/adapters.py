"""One adapter in three engines: the same greedy text? And what choosing adapters per request costs the embedded engine.

    python -m benchmarks.adapters [--model qwen2.5-coder-0.5b] [--prompts 20] [--tokens 64] [--rounds 3]
                                  [--no-sglang] [--only-switching] [--json FILE]

The adapter is a random one from PEFT (rank 8 on all seven projections, seeded). Compared is fp32 with fp32: transformers with
the adapter merged in fp32; the embedded engine with the same weights as an fp32 GGUF file and the adapter as a GGUF adapter;
SGLang in fp32 with the merged weights, and with the adapter beside the plain ones. A text that differs is shown with the
place where it does.

Switching, in both engines: batches of 8 samples (the embedded engine's over the quantised model, SGLang's in bfloat16), in
turns: always the same adapter, then another one for each batch, then two mixed within every batch. Tokens a second, as ratios
to the first. For SGLang also without any adapter, on a server that was started without room for some and on one with it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crucible.config import load_settings
from crucible.models.llama import native
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.sglang import environment as sglang_env
from crucible.models.sglang.engine import SglangModel
from crucible.models.sglang.process import SglangOptions
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, locate
from crucible.models.weights.gguf import requantise
from crucible.models.weights.lora import convert
from crucible.models.weights.merged import to_safetensors
from crucible.types import Message, Sampling

THINGS = (
    "a list",
    "a string",
    "two numbers",
    "a dictionary",
    "a tree",
    "a file",
    "a matrix",
    "a date",
    "a word",
    "a set",
)
ASKS = ("Write a Python function that reverses {}.", "Explain in two sentences what {} is in Python.")
RANK, SPREAD = 8, 0.02
SWITCHING_BOUND = 0.95
ENGINES = ("embedded", "sglang, merged", "sglang, beside")


def prompts(count: int) -> list[str]:
    return [ask.format(thing) for ask in ASKS for thing in THINGS][:count]


def random_adapter(weights: Path, folder: Path, seed: int) -> Path:
    """A LoRA adapter whose B is not zero, as after training."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    adapted = get_peft_model(
        model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, matrix in adapted.named_parameters():
            if "lora_B" in name:
                matrix.normal_(std=SPREAD)
    adapted.save_pretrained(str(folder))
    return folder


def by_transformers(weights: Path, asked: Sequence[str], tokens: int) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(weights)
    model: Any = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
    texts = []
    for prompt in asked:
        chat = [{"role": "user", "content": prompt}]
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        out = model.generate(ids, max_new_tokens=tokens, do_sample=False)
        texts.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


def by_engine(model: EmbeddedModel | SglangModel, asked: Sequence[str], tokens: int) -> list[str]:
    chats = [[Message(role="user", content=prompt)] for prompt in asked]
    return [model.generate(chat, [Sampling(max_tokens=tokens)])[0].text for chat in chats]


def same(name: str, texts: list[str], wanted: list[str]) -> int:
    """How many are equal; says where the others part."""
    for number, (text, want) in enumerate(zip(texts, wanted, strict=True)):
        if text != want:
            at = next(
                (i for i, (a, b) in enumerate(zip(text, want, strict=False)) if a != b), min(len(text), len(want))
            )
            print(
                f"  {name}, prompt {number}: parts at character {at}: {text[at : at + 30]!r}, not {want[at : at + 30]!r}"
            )
    equal = sum(text == want for text, want in zip(texts, wanted, strict=True))
    print(f"{name:<12} {equal} of {len(wanted)} texts equal those of transformers")
    return equal


def equality(options: argparse.Namespace, file: ModelFile, work: Path, plain: Path) -> dict[str, int]:
    """Texts equal to those of transformers, by engine."""
    paths, asked, found = load_settings().paths, prompts(options.prompts), dict[str, int]()
    merged = to_safetensors(file, work, "float32", adapter=work / "one")
    wanted = by_transformers(merged, asked, options.tokens)
    changed = sum(a != b for a, b in zip(wanted, by_transformers(plain, asked[:5], options.tokens), strict=False))
    print(f"the adapter changes {changed} of the first {min(5, len(asked))} texts")
    requantise(file.path, work / "base.gguf", "F32")
    with engine(work / "base.gguf", {"one": work / "one.gguf"}, adapter="one", slots=1) as model:
        found["embedded"] = same("embedded", by_engine(model, asked, options.tokens), wanted)
    (work / "base.gguf").unlink()
    if not options.no_sglang and (python := sglang_env.python(paths.models)):
        served = SglangOptions(
            python=python, weights=merged, context_length=1024, slots=4, extra=("--dtype", "float32")
        )
        beside = served.model_copy(update={"weights": plain, "adapters": {"one": work / "one"}})
        for name, how in (("sglang, merged", served), ("sglang, beside", beside)):
            with sglang(how, options.model, "one" if how.adapters else None) as other:
                found[name] = same(name, by_engine(other, asked, options.tokens), wanted)
    return found


def sglang(options: SglangOptions, name: str, adapter: str | None = None) -> SglangModel:
    return SglangModel(
        options, name=name, adapter=adapter, progress=lambda text: print(f"  {text}", file=sys.stderr, flush=True)
    )


def engine(path: Path, adapters: dict[str, Path], *, slots: int, adapter: str | None = None) -> EmbeddedModel:
    program = native.program(load_settings().paths.models)
    return EmbeddedModel(
        path, name=path.stem, context_length=1024, slots=slots, program=program, adapters=adapters, adapter=adapter
    )


def switching(model: EmbeddedModel | SglangModel, batches: int, tokens: int) -> dict[str, float]:
    """Tokens a second, medians over rounds in which the kinds take turns."""
    ask = [Message(role="user", content=ASKS[0].format("a list of lists, keeping the order of the inner ones"))]
    kinds: dict[str, list[tuple[str | None, str | None]]] = {
        "none": [(None, None), (None, None)],
        "same": [("one", "one"), ("one", "one")],
        "by batch": [("one", "one"), ("two", "two")],
        "mixed": [("one", "two"), ("one", "two")],
    }
    if "adapters" not in model.features:
        kinds = {"none": kinds["none"]}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for run in range(batches):
        for kind, pairs in kinds.items():
            began, drawn = time.perf_counter(), 0
            for turn, pair in enumerate(pairs):
                asked = [
                    Sampling(
                        max_tokens=tokens,
                        temperature=0.8,
                        seed=100 * run + 10 * turn + number,
                        adapter=pair[number % 2],
                    )
                    for number in range(8)
                ]
                drawn += sum(each.completion_tokens for each in model.generate(ask, asked))
            rates[kind].append(drawn / (time.perf_counter() - began))
    return {kind: statistics.median(rates[kind]) for kind in kinds}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="of the switching measurement")
    parser.add_argument("--no-sglang", action="store_true")
    parser.add_argument("--only-switching", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    paths = load_settings().paths
    file: ModelFile = locate(resolve(options.model), paths.models)
    found: dict[str, Any] = {"command": " ".join(["python -m benchmarks.adapters", *sys.argv[1:]])}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        plain = to_safetensors(file, paths.models, "float32")
        for seed, name in enumerate(("one", "two")):
            convert(random_adapter(plain, work / name, seed), file.path, work / f"{name}.gguf")
        if not options.only_switching:
            found |= equality(options, file, work, plain)
        both = {name: work / f"{name}.gguf" for name in ("one", "two")}
        rates: dict[str, dict[str, float]] = {}
        with engine(file.path, both, slots=8) as model:
            rates["embedded"] = switching(model, options.rounds, options.tokens)
        if not options.no_sglang and (python := sglang_env.python(paths.models)):
            weights = to_safetensors(file, paths.models)
            without = SglangOptions(python=python, weights=weights, context_length=1024, slots=8)
            room = without.model_copy(update={"adapters": {name: work / name for name in ("one", "two")}})
            for name, how in (("sglang without room", without), ("sglang", room)):
                with sglang(how, options.model) as other:
                    rates[name] = switching(other, options.rounds, options.tokens)
    found["tokens_per_s"] = rates
    for name, kinds in rates.items():
        for kind, rate in kinds.items():
            beside = f", {rate / kinds['same']:.2f} x always the same" if "same" in kinds else ""
            print(f"{name:<20} adapters: {kind:<9} {rate:6.1f} tokens/s{beside}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    equal = all(found.get(name, options.prompts) == options.prompts for name in ENGINES)
    dear = [
        name for name, kinds in rates.items() if "same" in kinds and kinds["by batch"] < SWITCHING_BOUND * kinds["same"]
    ]
    return 0 if equal and not dear else 1


if __name__ == "__main__":
    sys.exit(main())
