"""What a verdict costs, against a bare interpreter and against a plain bubblewrap call, all in one run.

    python -m benchmarks.sandbox [--repeat 40] [--row 10000] [--json FILE]

cold: a verdict over five cases, its sandbox started for it. warm: the same from a pool of sandboxes started ahead, with
pauses in which the pool fills, as a model's thinking leaves them. rate: verdicts a second, as many threads as cores, no
pauses; bare and bwrap a second are what the machine reaches with an interpreter that does nothing. row: that many
verdicts one after another; afterwards no process, descriptor, mount or scratch file may be left. Exits 1 where a bound is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil

from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.types import Task

TASK = Task(
    prompt="Double n.", entry_point="double", tests="\n".join(f"assert double({n}) == {2 * n}" for n in range(5))
)
CODE = "def double(n):\n    return n + n\n"
PAUSE_S = 0.1
BOUNDS = {"cold_ms": 30.0, "warm_ms": 12.0, "rate_per_s": 120.0}


def milliseconds(work: Callable[[], object], repeat: int, pause_s: float = 0.0) -> dict[str, float]:
    """Median, 5th and 95th percentile."""
    taken = []
    for _ in range(repeat):
        time.sleep(pause_s)
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    low, high = taken[int(0.05 * repeat)], taken[min(repeat - 1, int(0.95 * repeat))]
    return {"median": round(statistics.median(taken), 2), "p5": round(low, 2), "p95": round(high, 2)}


def bare() -> None:
    subprocess.run(
        [os.path.realpath(sys.executable), "-I", "-S", "-c", "print(1)"], stdout=subprocess.DEVNULL, check=True
    )


def plain_bwrap() -> None:
    """The flags that a tutorial names."""
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
    ]
    command += ["--tmpfs", "/tmp", os.path.realpath(sys.executable), "-I", "-S", "-c", "print(1)"]  # noqa: S108
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def census() -> dict[str, int]:
    """What a leak would add to."""
    own = psutil.Process()
    return {
        "processes": sum(_is_ours(each) for each in psutil.process_iter(["name", "cmdline"])),
        "children": len(own.children(recursive=True)),
        "descriptors": own.num_fds(),
        "mounts": len(Path("/proc/self/mounts").read_text().splitlines()),
        "scratch": len(list(Path("/tmp").glob("crucible-*"))),  # noqa: S108
        "groups": len(list(Path("/sys/fs/cgroup").glob("**/crucible-*"))),
    }


def _is_ours(process: psutil.Process) -> bool:
    """A launcher or something of a sandbox's, whosever child it has become."""
    words = " ".join(process.info["cmdline"] or ())
    return process.info["name"] == "bwrap" or "marshal,posix" in words or words.endswith("launcher.py")


def passes(judge: SandboxJudge) -> None:
    verdict = judge.judge(CODE, TASK)
    assert verdict.verdict == "pass", verdict.reason


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument(
        "--row", type=int, default=0, help="verdicts in a row, to look for leaks (10000 for the record)"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    repeat = arguments.repeat
    sandbox = select_sandbox()
    result: dict[str, Any] = {"tier": sandbox.tier, "cores": os.cpu_count(), "repeat": repeat}
    result["bare_ms"] = milliseconds(bare, repeat)
    result["bwrap_ms"] = milliseconds(plain_bwrap, repeat)
    cold = SandboxJudge(sandbox)
    passes(cold)
    result["cold_ms"] = milliseconds(lambda: passes(cold), repeat)
    with WarmPool(sandbox) as pool:
        warm = SandboxJudge(pool)
        passes(warm)
        result["warm_ms"] = milliseconds(lambda: passes(warm), repeat, PAUSE_S)
    result["cold_over_bare"] = round(result["cold_ms"]["median"] / result["bare_ms"]["median"], 2)
    result["cold_over_bwrap"] = round(result["cold_ms"]["median"] / result["bwrap_ms"]["median"], 2)
    result["bare_per_s"] = rate(bare, max(200, repeat * 5))
    result["bwrap_per_s"] = rate(plain_bwrap, max(200, repeat * 5))
    result["rate_per_s"] = rate(lambda: passes(cold), max(200, repeat * 5))
    result["rate_over_bare"] = round(result["rate_per_s"] / result["bare_per_s"], 2)
    result["rate_over_bwrap"] = round(result["rate_per_s"] / result["bwrap_per_s"], 2)
    if arguments.row:
        before = census()
        result["row_per_s"] = rate(lambda: passes(cold), arguments.row)
        time.sleep(0.5)
        after = census()
        result["left"] = {name: after[name] - before[name] for name in before}
    missed = [name for name in ("cold_ms", "warm_ms") if result[name]["median"] > BOUNDS[name]]
    missed += ["rate_per_s"] if result["rate_per_s"] < BOUNDS["rate_per_s"] else []
    missed += [name for name, count in result.get("left", {}).items() if count > 0]
    result["missed"] = missed
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if missed else 0


def rate(work: Callable[[], object], count: int) -> float:
    """How often a second, on as many threads as cores."""
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result()
    return round(count / (time.perf_counter() - began), 1)


if __name__ == "__main__":
    sys.exit(main())
