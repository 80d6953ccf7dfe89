"""A GGUF model with all of its weights in fp32: what the file says, computed without further rounding.

python -m benchmarks.dequantise MODEL.gguf OUT.gguf
"""

from __future__ import annotations

import sys
from pathlib import Path


def dequantise(model: Path, out: Path) -> None:
    """Writes `out`: the same model, tokenizer and settings, four to seven times as large."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(out, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        items = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=items)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    dequantise(Path(sys.argv[1]), Path(sys.argv[2]))
