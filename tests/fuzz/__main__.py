"""Runs a target and tells how far it is, every ten seconds. Exit code 0: the time is over; 1: an input was found, and written
to a file; 2: it cannot run."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tests.fuzz import TARGETS

EVERY_S = 10.0
TIMEOUT_S = 20
"""Wall seconds after which an input counts as stalled, on however busy a machine; `target.MAX_S` is stricter."""
MEMORY_MIB = 2048
_STATE = re.compile(r"#(\d+)\t\w+ +cov: (\d+) ft: \d+ corp: (\d+)")
_WRITTEN = re.compile(r"Test unit written to (.+)")


def fuzz(name: str, seconds: int, seed: int, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    flags = [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={folder}/{name}-"]
    flags += [f"-timeout={TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MIB}"]
    command = [sys.executable, "-m", "tests.fuzz.child", name, *flags]
    began = told = time.monotonic()
    runs = edges = corpus = 0
    written = ""
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith("@ "):
                runs = max(runs, int(line[2:]))
            elif state := _STATE.match(line):
                runs, edges, corpus = max(runs, int(state[1])), int(state[2]), int(state[3])
            else:
                lines = [*lines, line][-60:]
                written = found[1] if (found := _WRITTEN.search(line)) else written
            if time.monotonic() > told + EVERY_S:
                told = time.monotonic()
                print(_progress(name, told - began, runs, corpus, edges), flush=True)
    print(_progress(name, time.monotonic() - began, runs, corpus, edges))
    if child.returncode == 0:
        return 0
    print("".join(lines), file=sys.stderr)
    print(f"input: {written}\nagain: python -m tests.fuzz {name} --replay {written}" if written else "it cannot run")
    return 1 if written else 2


def _progress(name: str, seconds: float, runs: int, corpus: int, edges: int) -> str:
    rate = runs / max(seconds, 0.001)
    return f"{name} {seconds:5.0f} s  {runs:>9} execs  {rate:>7.0f}/s  corpus {corpus}  edges {edges}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder for inputs that are found")
    parser.add_argument("--replay", type=Path, help="run this one input, without atheris")
    options = parser.parse_args()
    if options.replay is not None:
        import_module(f"tests.fuzz.{options.target}").TARGET.test(options.replay.read_bytes())
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed; run: pip install -e .[fuzz]", file=sys.stderr)
        return 2
    return fuzz(options.target, options.seconds, options.seed, options.out)


if __name__ == "__main__":
    sys.exit(main())
