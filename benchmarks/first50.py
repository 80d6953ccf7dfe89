"""How many of a problem file's first problems `crucible solve` ends with solved, through the command line itself.

    python -m benchmarks.first50 PROBLEMS.jsonl.gz --out RESULTS.json [--limit 50] [--strategy direct] [-- SOLVE OPTIONS]

Each problem becomes a task file whose visible tests are its asserts, and one `crucible solve --json --approve auto`
process with a memory of its own for the whole file, as a user would have. Afterwards no child process may be left.
`--strategy direct` gives single-sample greedy. The 95 % interval is Wilson's (JASA 22, 1927).
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent


def wilson(solved: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion."""
    z, share = 1.96, solved / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (centre - spread) / (1 + z * z / total), (centre + spread) / (1 + z * z / total)


def solve(row: dict[str, Any], folder: Path, options: list[str]) -> dict[str, Any]:
    task = folder / "task.json"
    fields = {key: row[key] for key in ("id", "title", "prompt", "entry_point", "tests")}
    task.write_text(json.dumps(fields))
    command = [sys.executable, str(ROOT / "main.py"), "solve", str(task), "--json", "--approve", "auto", *options]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "CRUCIBLE_HOME": str(folder / "home")}
    )
    family: set[psutil.Process] = set()
    while process.poll() is None:
        try:
            family |= set(psutil.Process(process.pid).children(recursive=True))
            process.wait(timeout=0.2)
        except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
            continue
    assert process.stdout is not None
    printed = process.stdout.read()
    _, left = psutil.wait_procs(list(family), timeout=5)
    result: dict[str, Any] = json.loads(printed) if printed else {"status": "crash"}
    return {
        "id": row["id"],
        "exit_code": process.returncode,
        "status": result["status"],
        "error": result.get("error"),
        "cycles": result.get("cycles", 0),
        "samples": result.get("samples", 0),
        "tokens": result.get("tokens", {}).get("completion", 0),
        "retrieved": len(result.get("retrieved", [])),
        "findings": [finding["message"][:120] for finding in result.get("findings", [])][:2],
        "seconds": round(time.monotonic() - began, 1),
        "processes_left": len(left),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=int, default=0, help="problems to leave out at the beginning")
    parser.add_argument("--limit", type=int, default=50)
    own, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(own.split())
    with gzip.open(arguments.problems, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][arguments.start : arguments.limit]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, row in enumerate(rows, arguments.start + 1):
            results.append(solve(row, Path(folder), options.split()))
            solved = sum(result["status"] == "solved" for result in results)
            print(f"{number:>3} {row['id']:<12} {results[-1]['status']:<9} {solved}/{len(results)}", flush=True)
            total = len(results)
            low, high = wilson(solved, total)
            summary = {
                "command": " ".join(sys.argv),
                "problems": total,
                "solved": solved,
                "share": round(solved / total, 3),
                "ci95": [round(low, 3), round(high, 3)],
                "crashes": sum(result["exit_code"] not in (0, 1) for result in results),
                "processes_left": sum(result["processes_left"] for result in results),
                "tokens": sum(result["tokens"] for result in results),
                "seconds": round(sum(result["seconds"] for result in results), 1),
                "results": results,
            }
            arguments.out.write_text(json.dumps(summary, indent=1))
    print(json.dumps({key: value for key, value in summary.items() if key != "results"}, indent=1))
    return 0 if not summary["crashes"] and not summary["processes_left"] else 1


if __name__ == "__main__":
    sys.exit(main())
