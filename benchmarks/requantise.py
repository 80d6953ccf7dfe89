"""A GGUF model with its weights in another type.

    python -m benchmarks.requantise MODEL.gguf OUT.gguf [TYPE]

TYPE is F32 by default: what the file says, computed without further rounding, four to seven times as large; BF16 is half of that.
With another the matrices of the layers are rounded to it, and what words go in and out by stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from crucible.models.weights.gguf import FULL, requantise

KINDS = (*FULL, "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""What gguf can write."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kind", metavar="TYPE", nargs="?", choices=KINDS, default="F32", help=", ".join(KINDS))
    options = parser.parse_args()
    requantise(options.model, options.out, options.kind)


if __name__ == "__main__":
    main()
