"""Adapters for tests: random ones, large enough that they change what a model says."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, KEYS, INNER, LAYERS = 576, 192, 1536, 30
"""Sizes of the smallest model (SmolLM2-135M): hidden, of all key heads, of the feed-forward layer."""
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


def key(layer: int, module: str, side: str) -> str:
    return f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"


def random_tensors(seed: int = 0, rank: int = 4, spread: float = 0.05) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for module, (out, into) in SHAPES.items():
            tensors[key(layer, module, "A")] = torch.randn(rank, into, generator=draw) / into**0.5
            tensors[key(layer, module, "B")] = torch.randn(out, rank, generator=draw) * spread
    return tensors


def config(rank: int = 4, **changes: object) -> dict[str, object]:
    targets = sorted(module.rpartition(".")[2] for module in SHAPES)
    said = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    return said | {"target_modules": targets} | changes


def random_adapter(folder: Path, seed: int = 0, **changes: object) -> Path:
    """A PEFT adapter for the smallest model."""
    return save_adapter(folder, random_tensors(seed), config(**changes))


def save_adapter(folder: Path, tensors: dict[str, torch.Tensor], said: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder
