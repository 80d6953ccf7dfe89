"""What the judge says of programs whose worth is known: reference solutions, buggy ones, ones that do nothing.

    python -m benchmarks.judged SET.jsonl.gz … [--program canonical_solution] [--limit N] [--workers 2] [--json]

--program: the field that holds the program (`canonical_solution`, `buggy_solution`, in `meta` too), or `empty`, or `none`
for a function that returns None. Problems are one JSON object a line; HumanEval's own form (`task_id`, `test`) is known too.
Prints by set how many pass and fail, and with `--names` the id and the reason of those that do not behave: reference solutions
that fail, others that pass. Exits 1 where fewer than 99 % of reference solutions pass, or any other program does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from crucible.errors import CrucibleError
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.types import Limits, Task

REFERENCE = "canonical_solution"
ENOUGH = 0.99
LIMITS = Limits(wall_s=20, cpu_s=20)


class Problem(NamedTuple):
    name: str
    program: str
    task: Task


def does_nothing(entry: str) -> str:
    """entry: a function's name, or LeetCode's `Solution().method`."""
    owner, _, method = entry.partition("().")
    if method:
        return f"class {owner}:\n    def {method}(self, *args, **kwargs):\n        return None\n"
    return f"def {entry}(*args, **kwargs):\n    return None\n"


def problems(path: Path, field: str) -> Iterator[Problem]:
    """Every Python problem of a file that has such a program."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row.get("language", "python") != "python":
                continue
            human_eval = "test" in row
            entry = row["entry_point"]
            preamble = f"{row['preamble']}\n" if row.get("preamble") else ""
            if field == "empty":
                program = ""
            elif field == "none":
                program = does_nothing(entry)
            elif human_eval:
                program = row["prompt"] + row[field]
            else:
                found = row.get(field) or (row.get("meta") or {}).get(field)
                if not found:
                    continue
                program = preamble + found
            tests = f"{row['test']}\ncheck({entry})\n" if human_eval else preamble + row["tests"]
            task = Task(prompt=row["prompt"], entry_point=entry, tests=tests, limits=LIMITS)
            yield Problem(str(row.get("id") or row["task_id"]), program, task)


def measure(path: Path, field: str, limit: int | None, workers: int) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    odd: dict[str, str] = {}
    expected = "pass" if field == REFERENCE else "fail"
    began = time.monotonic()
    with WarmPool(select_sandbox()) as sandbox, ThreadPoolExecutor(workers) as threads:
        judge = SandboxJudge(sandbox)

        def judged(problem: Problem) -> tuple[str, str]:
            try:
                verdict = judge.judge(problem.program, problem.task)
            except CrucibleError as error:
                return "error", str(error)
            return verdict.verdict, verdict.reason

        asked = list(problems(path, field))[:limit]
        for number, (problem, (verdict, reason)) in enumerate(zip(asked, threads.map(judged, asked), strict=True), 1):
            counts[verdict] += 1
            if verdict != expected:
                odd[problem.name] = f"{verdict}: {reason}"
            if sys.stderr.isatty():
                print(f"\r{path.name} {number}/{len(asked)}", end="", file=sys.stderr)
    return {
        "set": f"{path.parent.name}/{path.name}",
        "program": field,
        "problems": len(asked),
        "verdicts": dict(counts),
        "passed": counts["pass"] / max(1, len(asked)),
        "seconds": time.monotonic() - began,
        "odd": odd,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--program", default=REFERENCE)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--names", action="store_true", help="name those that do not behave")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for path in options.sets:
        result = measure(path, options.program, options.limit, options.workers)
        results.append(result)
        if not options.json:
            print(
                f"{result['set']:<44} {result['program']:<20} {result['problems']:>5} problems, "
                f"{result['passed']:7.2%} pass, {result['verdicts']}, {result['seconds']:.0f} s",
                flush=True,
            )
            for name, reason in result["odd"].items() if options.names else ():
                print(f"    {name}: {reason[:200]}", flush=True)
    if options.json:
        print(json.dumps(results, indent=1))
    judged = sum(result["problems"] for result in results)
    share = sum(result["passed"] * result["problems"] for result in results) / max(1, judged)
    return 0 if judged and (share >= ENOUGH if options.program == REFERENCE else share == 0) else 1


if __name__ == "__main__":
    sys.exit(main())
