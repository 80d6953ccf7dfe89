"""A model small enough to train in a test: two layers of random weights under a real tokenizer."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from crucible.config.paths import find_paths
from crucible.models.files import ModelFile, hash_file
from crucible.models.weights import to_safetensors
from tests.models.serving import small_model


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
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
