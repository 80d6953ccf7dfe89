"""A plugin for SGLang: what it lacks on a CPU.

- The rotary embedding, on one without AMX, where SGLang would import it from vLLM.
- LoRA: its code puts adapters into pinned memory, which is there to be copied to a device from and cannot be had without one.

SGLang loads it through the entry point group `sglang.srt.plugins` in each of its processes. It does nothing where SGLang
has what it needs, and says in the log when it steps in.
"""

from __future__ import annotations

import functools
import logging
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

TARGET = "sglang.srt.layers.rotary_embedding.base.RotaryEmbedding.__init__"
"""What imports `vllm._custom_ops.rotary_embedding` when nothing else is left."""


def rotary_embedding(
    positions: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor | None,
    head_size: int,
    cos_sin_cache: torch.Tensor,
    is_neox: bool,
) -> None:
    """Turns every pair (x, y) of query and key by its position's angle, in place (RoFormer, arXiv 2104.09864, eq. 34):
    x cos - y sin, y cos + x sin.

    positions: (tokens,) integers. query, key: (tokens, heads * head_size), or with the heads apart. cos_sin_cache:
    (positions, rotary_dim), the cosines of the pairs' angles and then their sines; what of a head is beyond rotary_dim
    stays. is_neox: a pair is an element of the first half and its like of the second; else two neighbours. Computed in fp32.
    """
    cos, sin = cos_sin_cache[positions.flatten()].float().unsqueeze(1).chunk(2, dim=-1)
    rotary_dim = cos_sin_cache.shape[-1]
    for tensor in (query, key):
        if tensor is None:
            continue
        heads = tensor.view(positions.numel(), -1, head_size)[..., :rotary_dim]
        pairs = heads.unflatten(-1, (2, -1) if is_neox else (-1, 2))  # type: ignore[no-untyped-call]
        x, y = (half.float() for half in pairs.unbind(-2 if is_neox else -1))
        turned = (x * cos - y * sin, y * cos + x * sin)
        for half, new in zip(pairs.unbind(-2 if is_neox else -1), turned, strict=True):
            half.copy_(new)


def with_operator(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Calls `original` while the one function it may import can be."""
    operators = types.ModuleType("vllm._custom_ops")
    operators.rotary_embedding = rotary_embedding  # type: ignore[attr-defined]
    with patch.dict(sys.modules, {"vllm": types.ModuleType("vllm"), "vllm._custom_ops": operators}):
        return original(*args, **kwargs)


def without_pinning(torch: Any) -> None:  # noqa: ANN401 - a module
    """Makes `torch` give ordinary memory where pinned memory is asked for."""

    def ordinary(make: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(make)
        def made(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401
            return make(*args, **kwargs)

        return made

    for name in ("arange", "empty", "tensor", "zeros"):
        setattr(torch, name, ordinary(getattr(torch, name)))
    torch.Tensor.pin_memory = lambda self, device=None: self


def needed() -> bool:
    """Return whether SGLang would look for vLLM's operator here, and not find it."""
    from sglang.srt import utils  # type: ignore[import-not-found]

    own = ("is_cuda", "is_hip", "is_cpu", "is_xpu", "is_npu", "is_musa", "is_mps", "cpu_has_amx_support")
    return find_spec("vllm") is None and not any(getattr(utils, name)() for name in own)


def register() -> None:
    """Called by SGLang in each of its processes."""
    import torch

    if not torch.accelerator.is_available():
        log.info("crucible-unpinned: memory is not pinned, as there is no device to copy it to")
        without_pinning(torch)
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType  # type: ignore[import-not-found]

    if not needed():
        log.info("crucible-rotary: SGLang has its own operator here")
        return
    log.warning("crucible-rotary: the rotary embedding is Crucible's, as this CPU has none of SGLang's operators")
    HookRegistry.register(TARGET, with_operator, HookType.AROUND)
