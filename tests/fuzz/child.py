"""The process that fuzzes: libFuzzer takes it over and ends it.

    python -m tests.fuzz.child TARGET [libFuzzer's flags]

Tells, between libFuzzer's own lines, how many inputs it has run: `@ 1234`.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

from tests.fuzz import TARGETS
from tests.fuzz.target import Target


class Counted:
    def __init__(self, target: Target) -> None:
        self._target, self._runs, self._told = target, 0, 0.0

    def __call__(self, data: bytes) -> None:
        self._runs += 1
        if self._runs % 16 == 0 and (now := time.monotonic()) > self._told + 1:
            self._told = now
            print(f"@ {self._runs}", flush=True)
        self._target.test(data)


def main(name: str, *flags: str) -> None:
    with atheris.instrument_imports(include=list(TARGETS[name])):
        target: Target = import_module(f"tests.fuzz.{name}").TARGET
    with TemporaryDirectory() as folder:  # libFuzzer reads it at its start
        seeds = [Path(folder) / f"seed-{number}" for number in range(len(target.seeds))]
        for path, seed in zip(seeds, target.seeds, strict=True):
            path.write_bytes(seed[: target.max_len])
        words = Path(folder) / "words"
        words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in target.words))
        options = [f"-max_len={target.max_len}", f"-seed_inputs={','.join(map(str, seeds))}"]
        options += [f"-dict={words}"] if target.words else []
        atheris.Setup([sys.argv[0], *options, *flags], Counted(target))
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
