"""A GGUF model's weights in the form transformers and SGLang load: a folder with safetensors, settings and tokenizer.

The numbers are the file's own, dequantised: a Q4_K_M file stays as coarse as it was, and takes four times the space.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

from crucible.errors import ModelUnavailableError, StoreError
from crucible.models.files import ModelFile

DType = Literal["bfloat16", "float32"]
DONE = "config.json"


def folder(model: ModelFile, cache: Path, dtype: DType) -> Path:
    """Where the weights of that very file lie, whether they were written or not."""
    return cache / "weights" / f"{model.path.stem}-{model.sha256[:12]}-{dtype}"


def to_safetensors(model: ModelFile, cache: Path, dtype: DType = "bfloat16") -> Path:
    """The folder with the weights, written once. Some seconds and four (bfloat16) or eight times the file's size.

    Raises ModelUnavailableError (an architecture transformers cannot read from GGUF) and StoreError (disk).
    """
    import filelock

    place = folder(model, cache, dtype)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{place}.lock"):
            if not (place / DONE).is_file():
                _write(model.path, place, dtype)
    except OSError as error:
        raise StoreError(f"cannot write the weights of {model.path.name} to {place}: {error}") from error
    return place


def _write(model: Path, place: Path, dtype: DType) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where, name = str(model.parent), model.name
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            where, gguf_file=name, dtype=getattr(torch, dtype), quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelUnavailableError(f"{model}: transformers cannot read these weights: {error}") from error
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config  # they are quantised no more
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
        made = Path(scratch, "weights")
        loaded.save_pretrained(made)
        tokenizer.save_pretrained(made)
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
