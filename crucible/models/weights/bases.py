"""Which model an adapter says it was trained on, compared with the one it is to be applied to.

PEFT writes the base model's name on a hub, or the folder it lay in. A name tells; a folder does not, and neither does a model
file of which nothing is known: then the shapes of the weights must do.
"""

from __future__ import annotations

import re

from crucible.errors import InputError
from crucible.models.transport.quoting import quote
from crucible.models.weights.catalogue import ModelSource, catalogue, hub_file
from crucible.models.weights.files import ModelFile
from crucible.models.weights.gguf import read_texts

_FORMS = re.compile(
    r"-(?:gguf|ggml|mlx|hf|awq|gptq|exl2|bnb|unsloth|quantized|quant|dynamic|[48]-?bits?|int[48]|fp8|fp16|bf16|f16|f32|i?q\d\w*)$"
)
"""What a name says of a model's form and not of the model."""


def check_base(said: str, base: str, file: ModelFile) -> None:
    """Raises InputError where an adapter's `base_model_name_or_path` names another model than `base`, which lies in `file`."""
    if not said.strip() or _is_folder(said):
        return
    entry = next((each for each in catalogue() if each.name == base or each.sha256 == file.sha256), None)
    names = _names(entry) if entry else _spec_names(base)
    if names:
        fits = _plain(said) in {_plain(name) for name in names}
    else:
        marks = read_texts(file.path, ("general.basename", "general.size_label"))
        fits = len(marks) < 2 or all(_plain(mark) in _plain(said) for mark in marks.values())
        names = [" ".join(marks.values())]
    if not fits:
        raise InputError(
            f"this adapter was trained on {quote(said, 120)}, not on {base} ({', '.join(names)}): name its own model, or "
            "correct base_model_name_or_path in its adapter_config.json if that is the same one"
        )


def _is_folder(said: str) -> bool:
    return said.startswith(("/", ".", "~")) or said.count("/") > 1 or "\\" in said or ":" in said


def _names(entry: ModelSource) -> list[str]:
    """Of the model on its hub; one of the catalogue may be of another publisher's form of it."""
    return list(dict.fromkeys([*entry.models, *([entry.hub.repository] if entry.hub else [])]))


def _spec_names(base: str) -> list[str]:
    file = hub_file(base)
    return [file.repository] if file else []


def _plain(name: str) -> str:
    """A model's name without its owner, its form and differences of spelling."""
    plain = re.sub(r"[\s_]+", "-", name.strip().rpartition("/")[2].lower()).removesuffix(".gguf")
    while (shorter := _FORMS.sub("", plain)) != plain:
        plain = shorter
    return plain
