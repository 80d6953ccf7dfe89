"""The rotary embedding against transformers' own, in both orders of a pair; memory that is not pinned."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from crucible.models.sglang.plugin.crucible_sglang import rotary_embedding

HEADS, KEY_HEADS, HEAD, TOKENS, BASE = 14, 2, 64, 37, 1_000_000.0


def cache(rotary_dim: int, positions: int = 4096) -> torch.Tensor:
    """As SGLang computes it, in fp32: cosines, then sines, of every position."""
    frequencies = 1.0 / BASE ** (torch.arange(0, rotary_dim, 2, dtype=torch.float32) / rotary_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), frequencies)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def drawn(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    positions = torch.randint(0, 4096, (TOKENS,))
    return positions, *(torch.randn(TOKENS, heads * HEAD).to(dtype) for heads in (HEADS, KEY_HEADS))


def test_halves_are_turned_as_qwen2_turns_them() -> None:
    from transformers import Qwen2Config
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

    positions, query, key = drawn()
    config = Qwen2Config(
        hidden_size=HEADS * HEAD,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        rope_parameters={"rope_type": "default", "rope_theta": BASE},
    )
    cos, sin = Qwen2RotaryEmbedding(config)(query, positions.unsqueeze(0))
    apart = (tensor.view(1, TOKENS, -1, HEAD).transpose(1, 2) for tensor in (query, key))
    wanted = [tensor.transpose(1, 2).reshape(TOKENS, -1) for tensor in apply_rotary_pos_emb(*apart, cos, sin)]
    rotary_embedding(positions, query, key, HEAD, cache(HEAD), True)
    for ours, theirs in zip((query, key), wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5


def test_neighbours_are_turned_as_gptj_turns_them() -> None:
    from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb

    positions, query, key = drawn()
    sincos = cache(HEAD)[positions].unsqueeze(0)
    cos, sin = sincos.chunk(2, dim=-1)
    wanted = [
        apply_rotary_pos_emb(tensor.view(1, TOKENS, -1, HEAD).clone(), sin, cos).reshape(TOKENS, -1)
        for tensor in (query, key)
    ]
    rotary_embedding(positions, query, key, HEAD, cache(HEAD), False)
    for ours, theirs in zip((query, key), wanted, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize("is_neox", [True, False])
def test_what_is_beyond_the_rotary_part_stays(is_neox: bool) -> None:
    positions, query, key = drawn()
    before = query.clone().view(TOKENS, HEADS, HEAD)
    rotary_embedding(positions, query, key, HEAD, cache(HEAD // 4), is_neox)
    after = query.view(TOKENS, HEADS, HEAD)
    assert torch.equal(after[..., HEAD // 4 :], before[..., HEAD // 4 :])
    assert torch.allclose(after.norm(dim=-1), before.norm(dim=-1), atol=1e-4)  # a rotation changes no length
    assert not torch.equal(after[..., : HEAD // 4], before[..., : HEAD // 4])


def test_heads_apart_half_precision_and_no_key() -> None:
    positions, query, key = drawn(torch.bfloat16)
    exact = query.float()
    rotary_embedding(positions, exact, key.float(), HEAD, cache(HEAD), True)
    apart = query.view(TOKENS, HEADS, HEAD)
    rotary_embedding(positions, apart, None, HEAD, cache(HEAD), True)
    assert query.dtype == torch.bfloat16
    assert (query.float() - exact).abs().max() < 0.03  # bfloat16 has 8 bits


def test_position_zero_turns_nothing() -> None:
    _, query, key = drawn()
    before = query.clone()
    rotary_embedding(torch.zeros(TOKENS, dtype=torch.int64), query, key, HEAD, cache(HEAD), True)
    assert torch.equal(query, before)


UNPINNED = """
import torch
from crucible.models.sglang.plugin.crucible_sglang import without_pinning
without_pinning(torch)
made = [
    torch.tensor([0, 1], dtype=torch.int32, pin_memory=True),
    torch.arange(2, dtype=torch.int32, pin_memory=True),
    torch.zeros((2,), dtype=torch.int32, pin_memory=True) + torch.tensor([0, 1], dtype=torch.int32).pin_memory(),
    torch.empty((2,), dtype=torch.int32, pin_memory=True).copy_(torch.arange(2)),
]
print(all(torch.equal(each, made[0]) and each.dtype == torch.int32 for each in made))
"""


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a device, and memory can be pinned")
def test_memory_is_not_pinned_where_there_is_no_device() -> None:
    """In a process of its own, as it changes torch."""
    with pytest.raises(RuntimeError):
        torch.tensor([0], pin_memory=True)
    done = subprocess.run([sys.executable, "-c", UNPINNED], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr
