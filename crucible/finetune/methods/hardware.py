"""What training finds on this machine: a processor or a GPU, how fast it multiplies, memory and disk that may end."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crucible.errors import InputError, StoreError
from crucible.models.weights.merged import DType

PRODUCTS = 3
SMALL = 512
"""A matrix's side that even the slowest dtype has multiplied within a second."""
FASTER = 1.5
"""What bfloat16, which is coarser, must at least gain on a processor to be taken."""
WRITING = ("PytorchStreamWriter", "inline_container", "No space left")
"""What torch's errors say where a file takes no more."""
NO_MEMORY = "DefaultCPUAllocator"
"""torch's name for what fails where a processor's memory ends; for that it has no exception of its own."""


def usual_dtype() -> DType:
    """Return the best dtype for a model's own weights here: bfloat16 on a GPU and on a processor that has it (AMX)."""
    import torch

    if torch.cuda.is_available():
        return "bfloat16"
    rates = [product_gflops(dtype, SMALL) for dtype in ("bfloat16", "float32")]
    return "bfloat16" if rates[0] > FASTER * rates[1] else "float32"


def product_gflops(dtype: DType, length: int = 0) -> float:
    """Return how fast this machine multiplies large matrices, measured in some tenths of a second: what training takes goes by it.

    A processor without bfloat16 of its own is a hundred times slower in it. length: of the matrices' sides."""
    import torch

    gpu = torch.cuda.is_available()
    length = length or (8192 if gpu else 1024)
    side = torch.ones(length, length, dtype=getattr(torch, dtype), device="cuda" if gpu else "cpu")
    fastest = math.inf
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        (side @ side)[0, 0].item()
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * length**3 / fastest / 1e9


@contextmanager
def disk(place: Path) -> Iterator[None]:
    """Translate what the libraries say of a full disk. Raises StoreError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not any(said in str(error) for said in WRITING):
            raise
        raise StoreError(f"cannot write to {place}: {error}; free some space, then the same command goes on") from error


@contextmanager
def memory() -> Iterator[None]:
    """Translate what the libraries say of a device without memory left. Raises InputError."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and NO_MEMORY not in str(error):
            raise
        raise InputError(
            f"the training does not fit in this device's memory: propose a smaller batch or max_length (--set batch=1, --set "
            f"max_length=512), or quantize=true on a GPU: {str(error).splitlines()[0]}"
        ) from error
