"""A GGUF model with its weights in another type.

    python -m benchmarks.requantise MODEL.gguf OUT.gguf [TYPE]

TYPE is fp32 (F32) by default: what the file says, computed without further rounding, four to seven times as large. With another
the matrices of the layers are rounded to it, and what words go in and out by stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

KINDS = ("F32", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""What gguf can write."""


def requantise(model: Path, out: Path, kind: str = "F32") -> None:
    """Writes `out`: the same model, tokenizer and settings."""
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
        if own != wanted and (kind == "F32" or _of_a_layer(tensor)):
            data, own = gguf.quants.quantize(gguf.quants.dequantize(data, own), wanted), wanted
        writer.add_tensor(tensor.name, data, raw_dtype=own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _of_a_layer(tensor: Any) -> bool:  # noqa: ANN401 - gguf has no types
    return len(tensor.shape) > 1 and str(tensor.name).startswith("blk.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", metavar="TYPE", nargs="?", choices=KINDS, default="F32", help=", ".join(KINDS))
    options = parser.parse_args()
    requantise(options.model, options.out, options.kind)


if __name__ == "__main__":
    main()
