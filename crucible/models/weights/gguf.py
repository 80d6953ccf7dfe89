"""Enough of the GGUF format (github.com/ggml-org/ggml/blob/master/docs/gguf.md) to tell a whole file from a broken one, and to
write a model anew with its weights in another type.

A check reads the header alone, which says where the last tensor ends: a file that was cut is found out, damage inside it is not.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

from crucible.errors import ModelUnavailableError

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
FULL = ("F32", "BF16")
"""Types that hold what a quantised file says as it is, or nearly."""


MAX_DEPTH = 8
MAX_DIMENSIONS = 8


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

    def value(self, kind: int, depth: int = 0) -> int | None:
        """Steps over a value; returns it if it is an unsigned 32-bit integer."""
        if depth > MAX_DEPTH:
            raise struct.error("its metadata is nested too deeply")
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
                    self.value(item, depth + 1)
        elif kind in _SCALAR_BYTES:
            self.skip(_SCALAR_BYTES[kind])
        else:
            raise struct.error(f"unknown value type {kind}")
        return None


def check_magic(path: Path) -> None:
    """Raises ModelUnavailableError if `path` does not begin as a GGUF file does."""
    with path.open("rb") as file:
        head = file.read(256)
    if not head.startswith(b"GGUF"):
        raise ModelUnavailableError(f"{path} is no GGUF model file (it does not begin with 'GGUF'{_instead(head)})")


def read_texts(path: Path, keys: Collection[str]) -> dict[str, str]:
    """Return the texts of the file's metadata under `keys`; of a damaged file, those before the damage."""
    found: dict[str, str] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data)
        try:
            reader.skip(16)
            for _ in range(reader.number("Q")):
                key, kind = reader.string().decode("utf-8", "replace"), reader.number("I")
                if kind == _STRING and key in keys:
                    found[key] = reader.string().decode("utf-8", "replace")
                else:
                    reader.value(kind)
        except (struct.error, IndexError):
            return found
    return found


def _instead(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer, which stands for a file that was not fetched"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; it is a web page"
    return "" if head else "; it is empty"


def check_gguf(path: Path) -> None:
    """Raises ModelUnavailableError if `path` is no GGUF file or ends before its last tensor does."""
    check_magic(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            end = _end(_Reader(data))
        except (struct.error, IndexError) as error:
            raise ModelUnavailableError(f"{path} is damaged or cut off inside its header ({error})") from error
        if end > len(data):
            raise ModelUnavailableError(
                f"{path} is cut off: it has {len(data)} bytes and its last tensor ends at {end}; fetch it again"
            )


def _end(reader: _Reader) -> int:
    """Where the last tensor ends, so far as its type's size is known."""
    reader.skip(4)
    version = reader.number("I")
    if version in (2 << 24, 3 << 24):
        raise struct.error("it is big-endian, for machines of another kind; get the little-endian file")
    if version not in (2, 3):
        raise struct.error(f"GGUF version {version}")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    alignment, split = 32, False
    for _ in range(pairs):
        key = reader.string()
        value = reader.value(reader.number("I"))
        split = split or key == b"split.count"
        if key == b"general.alignment" and value:
            alignment = value
    if not tensors:
        if split:  # the first shard may hold the metadata alone
            return reader.at
        raise struct.error("it holds no tensors: a vocabulary or a description, no model")
    last = 0
    for _ in range(tensors):
        reader.string()
        dimensions = reader.number("I")
        if dimensions > MAX_DIMENSIONS:
            raise struct.error(f"a tensor of {dimensions} dimensions")
        items = math.prod(reader.number("Q") for _ in range(dimensions))
        kind = reader.number("I")
        last = max(last, reader.number("Q") + max(1, _bytes(items, kind)))
    return -(-reader.at // alignment) * alignment + last


def _bytes(items: int, kind: int) -> int:
    """Of a tensor in the file; 0 where the type is not known here."""
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(name): size for name, size in GGML_QUANT_SIZES.items()}
    block, size = sizes.get(kind, (1, 0))
    return items // block * size


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
