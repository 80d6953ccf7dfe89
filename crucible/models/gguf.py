"""Enough of the GGUF format (github.com/ggml-org/ggml/blob/master/docs/gguf.md) to tell a whole file from a broken one, and to
write a model anew with its weights in another type.

A check reads the header alone: a file cut before its last tensor begins is found out, one cut inside it only by the engine.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from crucible.errors import ModelUnavailableError

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
FULL = ("F32", "BF16")
"""Types that hold what a quantised file says as it is, or nearly."""


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(code)
        return int(value)

    def string(self) -> bytes:
        length = self.number("Q")
        self.skip(length)
        return self.data[self.at - length : self.at]

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.data):
            raise struct.error("a value reaches past the end")

    def value(self, kind: int) -> int | None:
        """Steps over a value; returns it if it is an unsigned 32-bit integer."""
        if kind == 4:
            return self.number("I")
        if kind == _STRING:
            self.skip(self.number("Q"))
        elif kind == _ARRAY:
            item, count = self.number("I"), self.number("Q")
            if item in _SCALAR_BYTES:
                self.skip(_SCALAR_BYTES[item] * count)
            else:
                for _ in range(count):
                    self.value(item)
        elif kind in _SCALAR_BYTES:
            self.skip(_SCALAR_BYTES[kind])
        else:
            raise struct.error(f"unknown value type {kind}")
        return None


def check_gguf(path: Path) -> None:
    """Raises ModelUnavailableError if `path` is no GGUF file or ends before its last tensor begins."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelUnavailableError(f"{path} is no GGUF model file (it does not begin with 'GGUF')")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                end = _last_tensor_start(_Reader(data))
            except (struct.error, IndexError) as error:
                raise ModelUnavailableError(f"{path} is damaged or cut off inside its header ({error})") from error
            if end >= len(data):
                raise ModelUnavailableError(
                    f"{path} is cut off: it has {len(data)} bytes and its last tensor begins at {end}; fetch it again"
                )


def _last_tensor_start(reader: _Reader) -> int:
    reader.skip(4)
    version = reader.number("I")
    if version not in (2, 3):
        raise struct.error(f"GGUF version {version}")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    alignment = 32
    for _ in range(pairs):
        key = reader.string()
        value = reader.value(reader.number("I"))
        if key == b"general.alignment" and value:
            alignment = value
    last = 0
    for _ in range(tensors):
        reader.string()
        reader.skip(8 * reader.number("I") + 4)  # dimensions and type
        last = max(last, reader.number("Q"))
    return -(-reader.at // alignment) * alignment + last


def requantise(model: Path, out: Path, kind: str) -> None:
    """Writes `out`: the same model, tokenizer and settings, with its matrices in the type `kind` (gguf's name for it).

    Of a type that rounds what a quantised file says once more, only the matrices of the layers: what words go in and out by
    stays as it is.
    """
    import gguf

    wanted = gguf.GGMLQuantizationType[kind]
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        value = field.types[0]
        items = field.types[-1] if value == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), value, sub_type=items)
    for tensor in reader.tensors:
        data, own = tensor.data, tensor.tensor_type
        if own != wanted and _is_matrix(tensor) and (kind in FULL or str(tensor.name).startswith("blk.")):
            data, own = gguf.quants.quantize(gguf.quants.dequantize(data, own), wanted), wanted
        writer.add_tensor(tensor.name, data, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _is_matrix(tensor: Any) -> bool:  # noqa: ANN401 - gguf has no types
    return len(tensor.shape) > 1
