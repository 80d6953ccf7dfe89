"""What the libraries say of memory and disk that end, in words that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crucible.errors import InputError, StoreError
from crucible.finetune.methods import hardware as machine
from crucible.finetune.methods.hardware import disk, memory, product_gflops, usual_dtype
from crucible.models.weights.merged import DType


def test_a_disk_that_takes_no_more_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match=r"cannot write to .*taken.*free some space"), disk(tmp_path / "taken"):
        save_file({"a": torch.zeros(2)}, tmp_path / "taken")
    with pytest.raises(StoreError, match="free some space"), disk(tmp_path):
        torch.save({"a": torch.zeros(1 << 20)}, "/dev/full")


def test_memory_that_ends_is_said() -> None:
    with pytest.raises(InputError, match="--set batch=1"), memory():
        torch.empty(1 << 60, dtype=torch.uint8)
    with pytest.raises(InputError, match="--set batch=1"), memory():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), disk(tmp_path), memory():
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_how_fast_this_machine_multiplies_is_a_rate() -> None:
    assert 0.1 < product_gflops("float32") < 1e6


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU nothing is measured")
@pytest.mark.parametrize(
    ("bfloat16", "taken"), [(1300.0, "bfloat16"), (400.0, "float32"), (1.0, "float32")], ids=["AMX", "as fast", "none"]
)
def test_a_processor_takes_bfloat16_only_where_it_is_markedly_faster(
    bfloat16: float, taken: DType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"bfloat16": bfloat16, "float32": 350.0}
    monkeypatch.setattr(machine, "product_gflops", lambda dtype, length: rates[dtype])
    assert usual_dtype() == taken
