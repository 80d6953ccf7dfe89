"""A model's weights in another form say what its file says."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from crucible.errors import StoreError
from crucible.finetune.methods import rollouts
from crucible.finetune.records import TrainingConfig
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.merged import to_bfloat16
from crucible.types import Message, Sampling
from tests.finetune.tiny import tiny_gguf
from tests.models.serving import serve

COARSEST = 2.0**-8
"""What rounding to bfloat16 may change of a number, as a share of it."""


@pytest.fixture
def file(tmp_path: Path) -> ModelFile:
    path = tiny_gguf(tmp_path)
    return ModelFile(path, hash_file(path))


def values(path: Path) -> dict[str, object]:
    """Every tensor's numbers, by its name."""
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors
    }


def test_a_file_in_bfloat16_is_the_same_model_and_is_served(file: ModelFile, tmp_path: Path) -> None:
    made = to_bfloat16(file, tmp_path)
    old, new = values(file.path), values(made)
    assert old.keys() == new.keys()
    for name, numbers in old.items():
        np.testing.assert_allclose(new[name], numbers, rtol=COARSEST, err_msg=name)
    kinds = {tensor.tensor_type for tensor in gguf.GGUFReader(made).tensors if len(tensor.shape) > 1}
    assert kinds == {gguf.GGMLQuantizationType.BF16}
    with serve(made) as engine:
        (answer,) = engine.generate([Message(role="user", content="Count.")], [Sampling(max_tokens=4)])
    assert answer.completion_tokens == 4


def test_it_is_written_once_and_never_by_halves(
    file: ModelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Path, out: Path, kind: str) -> None:
        out.write_bytes(b"GGUF")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("crucible.models.weights.merged.requantise", full)
        with pytest.raises(StoreError, match="No space left"):
            to_bfloat16(file, tmp_path)
    made = to_bfloat16(file, tmp_path)
    written = made.stat().st_mtime_ns
    assert to_bfloat16(file, tmp_path) == made and made.stat().st_mtime_ns == written
    assert [path.suffix for path in sorted(made.parent.iterdir())] == [".gguf", ".lock"]


@pytest.mark.parametrize(
    ("compiled", "dtype", "multiplies", "own"),
    [
        (True, "bfloat16", True, True),
        (False, "bfloat16", True, False),
        (True, "float32", True, False),
        (True, "bfloat16", False, False),
    ],
)
def test_answers_are_drawn_from_the_trainers_own_weights_where_that_is_faster(
    file: ModelFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    compiled: bool,
    dtype: str,
    multiplies: bool,
    own: bool,
) -> None:
    monkeypatch.setattr(rollouts, "multiplies_bfloat16", lambda: multiplies)
    training = TrainingConfig.usual("rloo", dtype=dtype)
    drawn = rollouts.drawn_from(file, tmp_path, training, Path("llama-server") if compiled else None)
    assert drawn == (to_bfloat16(file, tmp_path) if own else file.path)
