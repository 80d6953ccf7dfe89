"""A LoRA adapter as PEFT saves it, written as a GGUF adapter that llama.cpp loads.

Both hold the same two matrices for every weight W of shape (out, in): A of shape (rank, in) and B of shape (out, rank),
applied as W + alpha / rank * B A (Hu et al., arXiv 2106.09685). What differs is the names, and the order of the rows of Q
and K in models of the Llama architecture: llama.cpp keeps each head's rotary pairs side by side, so B is put in that order.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from crucible.errors import InputError
from crucible.models.transport.quoting import quote
from crucible.types import Frozen

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PERMUTED = {"llama": True, "qwen2": False, "qwen3": False}
"""Architectures that can be converted: whether llama.cpp reorders the rows of Q and K."""
_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_ANY = (
    *("peft_type", "r", "lora_alpha", "target_modules", "base_model_name_or_path", "use_rslora", "bias"),  # read below
    *("auto_mapping", "peft_version", "revision", "inference_mode", "lora_dropout", "runtime_config", "megatron_core"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "qalora_group_size", "eva_config"),
)
"""Settings of PEFT that may have any value: read here, or without effect on what the saved matrices mean."""
_HARMLESS: dict[str, tuple[object, ...]] = {
    "task_type": ("CAUSAL_LM",),
    # These begin beside the base model's own weights; pissa, olora, corda, loftq and lora_ga begin with others in their place.
    "init_lora_weights": (True, "gaussian", "orthogonal", "eva"),
}
"""Settings of PEFT with the values that are known to change nothing."""
_OFF: tuple[object, ...] = (None, False, "", [], {})
"""Values of any other setting, PEFT's later ones too, that leave it off."""


class LoraConfig(Frozen):
    """The values of an adapter's `adapter_config.json` that matter here."""

    rank: int
    alpha: float
    """As llama.cpp applies it: alpha / rank is the scale, whatever PEFT's own formula was."""
    targets: tuple[str, ...]
    base: str = Field("", exclude=True)
    """The model it was trained on, as PEFT names it; empty where it does not."""


class Pair(NamedTuple):
    """One weight's update: a (rank, in), b (out, rank)."""

    a: Matrix
    b: Matrix


class Base(NamedTuple):
    """The values a GGUF model's file gives about itself."""

    architecture: str
    layers: int
    heads: int
    kv_heads: int
    shapes: dict[str, tuple[int, ...]]
    """(out, in) by the tensor's name in the file."""


def read_config(adapter: Path) -> LoraConfig:
    """Raises InputError where `adapter` is no folder of a plain LoRA adapter."""
    path = adapter / CONFIG
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rank, alpha = _whole(said["r"]), float(said["lora_alpha"])
        kind, targets = said.get("peft_type"), said.get("target_modules") or ()
        base = said.get("base_model_name_or_path") or ""
    except FileNotFoundError as error:
        raise InputError(f"{adapter} is no PEFT adapter: it has no {CONFIG}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {quote(str(error), 120)}") from error
    if kind != "LORA" or rank < 1 or not math.isfinite(alpha):
        raise InputError(
            f"{path}: a LoRA adapter is needed, of rank 1 or more; this is {quote(str(kind), 40)}, rank {rank}"
        )
    for key, value in said.items():
        if key not in _ANY and value not in (*_OFF, *_HARMLESS.get(key, ())):
            raise InputError(
                f"{path}: {quote(key, 60)} is {quote(repr(value), 80)}, which llama.cpp's adapters have no place for or "
                "which is not known here; save the adapter as a plain LoRA"
            )
    if said.get("bias", "none") != "none":
        raise InputError(f"{path}: bias is {quote(repr(said['bias']), 40)}; only 'none' can be served")
    if alpha == 0:
        raise InputError(f"{path}: lora_alpha is 0: the adapter has no effect")
    if said.get("use_rslora"):
        alpha *= math.sqrt(rank)
    names = (targets,) if isinstance(targets, str) else tuple(sorted(map(str, targets)))
    return LoraConfig(rank=rank, alpha=alpha, targets=names, base=base if isinstance(base, str) else "")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"r is {value!r}, no whole number")
    return value


def read_pairs(adapter: Path) -> dict[str, Pair]:
    """The matrices by PEFT's module name ("model.layers.0.self_attn.q_proj"), in fp32.

    Raises InputError for a damaged file, a tensor that is no LoRA matrix, one without its other half, and values that are
    not finite.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    path = adapter / WEIGHTS
    halves: dict[str, dict[str, Matrix]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - no mapping
                found = _KEY.fullmatch(key)
                if found is None:
                    raise InputError(f"{path}: the tensor {key!r} is no plain LoRA matrix")
                matrix = file.get_tensor(key).float().numpy()
                if matrix.ndim != 2 or not np.isfinite(matrix).all():
                    raise InputError(f"{path}: the tensor {key!r} is no matrix of finite numbers")
                halves.setdefault(found["module"], {})[found["side"]] = matrix
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    for module, sides in halves.items():
        if len(sides) != 2 or sides["A"].shape[0] != sides["B"].shape[1]:
            raise InputError(f"{path}: {module} needs lora_A (rank, in) and lora_B (out, rank)")
    if not halves:
        raise InputError(f"{path} holds no tensors")
    return {module: Pair(sides["A"], sides["B"]) for module, sides in halves.items()}


def read_base(path: Path) -> Base:
    """Raises InputError where the file cannot be read or its architecture cannot be converted for."""
    try:
        known = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a GGUF model: {error}") from error
    return _read_base(path, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=4)
def _read_base(path: Path, *_: int) -> Base:
    """Of the file as its size and time tell it. The reader goes through the whole vocabulary, which takes seconds, and a
    training hands an adapter over in every round."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        architecture = str(_field(reader, "general.architecture"))
        if architecture not in PERMUTED:
            raise InputError(
                f"{path}: adapters for the architecture {architecture!r} cannot be converted; known: {', '.join(PERMUTED)}"
            )
        heads = int(_field(reader, f"{architecture}.attention.head_count"))
        return Base(
            architecture=architecture,
            layers=int(_field(reader, f"{architecture}.block_count")),
            heads=heads,
            kv_heads=int(_field(reader, f"{architecture}.attention.head_count_kv") or heads),
            # A GGUF file names the fastest-varying dimension first.
            shapes={tensor.name: tuple(int(size) for size in reversed(tensor.shape)) for tensor in reader.tensors},
        )
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{path} cannot be read as a GGUF model: {error}") from error


def convert(adapter: Path, base: Path, out: Path) -> LoraConfig:
    """Writes the PEFT adapter in the folder `adapter` as the GGUF adapter `out` for the model file `base`, in fp32.

    Raises InputError: not a plain LoRA adapter, an architecture that is not known, or weights that do not fit the base.
    """
    import gguf

    config, pairs, model = read_config(adapter), read_pairs(adapter), read_base(base)
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == model.architecture)
    names = gguf.get_tensor_name_map(architecture, model.layers)
    writer = gguf.GGUFWriter(out, model.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, config.alpha)
    for module, pair in sorted(pairs.items()):
        name = f"{names.get_name(module)}.weight"
        _check_fit(f"{adapter}: {module}", pair, model.shapes.get(name), config.rank, base.name)
        heads = {"q_proj": model.heads, "k_proj": model.kv_heads}.get(module.rpartition(".")[2])
        writer.add_tensor(f"{name}.lora_a", pair.a)
        writer.add_tensor(
            f"{name}.lora_b", _paired(pair.b, heads) if heads and PERMUTED[model.architecture] else pair.b
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return config


def _check_fit(what: str, pair: Pair, shape: tuple[int, ...] | None, rank: int, base: str) -> None:
    """shape: of the base model's weight, (out, in)."""
    fits = (pair.b.shape[0], pair.a.shape[1])
    if shape is None:
        raise InputError(f"{what}: the base model {base} has no such weight")
    if shape != fits:
        sizes = (" x ".join(map(str, size)) for size in (fits, shape))
        raise InputError(
            f"{what} is for a weight of {next(sizes)}, the one of {base} is {next(sizes)}: another model's"
        )
    if pair.a.shape[0] != rank:
        raise InputError(f"{what} has rank {pair.a.shape[0]}, {CONFIG} says {rank}")


def _paired(b: Matrix, heads: int) -> Matrix:
    """Rows (head, half, position) in the order (head, position, half), as llama.cpp rotates them."""
    import numpy as np

    rows, rank = b.shape
    halves = b.reshape(heads, 2, rows // heads // 2, rank)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, rank))


def _field(reader: Any, key: str) -> Any:  # noqa: ANN401 - gguf's values are of any type
    field = reader.get_field(key)
    return field.contents() if field is not None else None
