"""A GGUF model's weights as others need them: for transformers and SGLang a folder with safetensors, settings and tokenizer; for
llama.cpp where it multiplies bfloat16 fastest, a GGUF file of those.

The numbers are the file's own, dequantised: a Q4_K_M file stays as coarse as it was, and takes four times the space.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from crucible.errors import MissingPartError, ModelUnavailableError, StoreError
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.gguf import requantise
from crucible.models.weights.lora import CONFIG, WEIGHTS

DType = Literal["bfloat16", "float32"]
DONE = "config.json"


def to_safetensors(model: ModelFile, cache: Path, dtype: DType = "bfloat16", *, adapter: Path | None = None) -> Path:
    """The folder with the weights, written once. Some seconds and four (bfloat16) or eight times the file's size.

    adapter: a PEFT adapter to merge in, in fp32 before anything is rounded: in less, small updates are lost.

    Raises ModelUnavailableError (an architecture transformers cannot read from GGUF), MissingPartError (no PEFT to merge
    with) and StoreError (disk).
    """
    import filelock
    from safetensors import SafetensorError

    mark = "".join(f"-{hash_file(adapter / part)[:12]}" for part in (WEIGHTS, CONFIG)) if adapter else ""
    place = cache / "weights" / f"{model.path.stem}-{model.sha256[:12]}{mark}-{dtype}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{place}.lock"):
            if not (place / DONE).is_file():
                _write(model.path, adapter, place, dtype)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"cannot write the weights of {model.path.name} to {place}: {error}") from error
    return place


def to_bfloat16(model: ModelFile, cache: Path) -> Path:
    """A GGUF file of the model in bfloat16, written once: some seconds, two to three times the file's size. Raises StoreError."""
    import filelock

    place = cache / "weights" / f"{model.path.stem}-{model.sha256[:12]}-bfloat16.gguf"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{place}.lock"):
            if not place.is_file():
                with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
                    made = Path(scratch, place.name)
                    requantise(model.path, made, "BF16")
                    made.rename(place)
    except OSError as error:
        raise StoreError(f"cannot write the weights of {model.path.name} to {place}: {error}") from error
    return place


def _write(model: Path, adapter: Path | None, place: Path, dtype: DType) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where, name = str(model.parent), model.name
    first = torch.float32 if adapter else getattr(torch, dtype)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(
            where, gguf_file=name, dtype=first, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelUnavailableError(f"{model}: transformers cannot read these weights: {error}") from error
    if adapter is not None:
        loaded = _merged(loaded, adapter).to(getattr(torch, dtype))
    if hasattr(loaded.config, "quantization_config"):
        del loaded.config.quantization_config  # they are quantised no more
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as scratch:
        made = Path(scratch, "weights")
        loaded.save_pretrained(made)
        tokenizer.save_pretrained(made)
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)


def _merged(model: Any, adapter: Path) -> Any:  # noqa: ANN401 - transformers' models have no common type
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingPartError(
            "merging an adapter needs PEFT; install it with: pip install 'crucible-codegen[finetune]'"
        ) from error
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
