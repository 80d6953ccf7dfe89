"""A model small enough to train and to serve in a test: two layers of random weights under a real tokenizer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from crucible.config.paths import find_paths
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.merged import to_safetensors
from tests.models.serving import small_model

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 64, 128, 2, 4, 2


@cache
def tokenizer_folder() -> Path:
    path = small_model()
    return to_safetensors(ModelFile(path, hash_file(path)), find_paths().models, "float32")


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A folder as `to_safetensors` writes it."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder())
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_gguf(folder: Path, seed: int = 0) -> Path:
    """The same shape as the engine's file: the small model's settings and tokenizer, and other weights."""
    import gguf
    import numpy as np

    random = np.random.default_rng(seed)
    head, out = WIDTH // HEADS, folder / "tiny.gguf"
    sizes: dict[str, Any] = {
        "llama.block_count": LAYERS,
        "llama.context_length": 512,
        "llama.embedding_length": WIDTH,
        "llama.feed_forward_length": INNER,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": KV_HEADS,
        "llama.rope.dimension_count": head,
    }
    given = gguf.GGUFReader(small_model())
    writer = gguf.GGUFWriter(out, "llama")
    for name, field in given.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, sizes.get(name, field.contents()), kind, sub_type=items)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    words = next(int(tensor.shape[1]) for tensor in given.tensors if tensor.name == "token_embd.weight")
    shapes = {"token_embd": (words, WIDTH)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_q": (WIDTH, WIDTH),
            f"blk.{layer}.attn_k": (KV_HEADS * head, WIDTH),
            f"blk.{layer}.attn_v": (KV_HEADS * head, WIDTH),
            f"blk.{layer}.attn_output": (WIDTH, WIDTH),
            f"blk.{layer}.ffn_gate": (INNER, WIDTH),
            f"blk.{layer}.ffn_up": (INNER, WIDTH),
            f"blk.{layer}.ffn_down": (WIDTH, INNER),
        }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))
    for name in ("output_norm", *(f"blk.{layer}.{norm}_norm" for layer in range(LAYERS) for norm in ("attn", "ffn"))):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out
