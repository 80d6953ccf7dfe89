"""What the static checks say of honest programs, and what they cost.

    python -m benchmarks.validator SET.jsonl.gz …    problem sets with `canonical_solution` (and `preamble`), one JSON object a line
    python -m benchmarks.validator --json …          the same as JSON

Prints by set: programs, the share with a security finding, the share with an error of any kind, what the policy does with them,
and the time of one validation, ruff's process included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from crucible.security.validator import validate
from crucible.types import Feedback, FindingKind


class Checked(NamedTuple):
    name: str
    findings: tuple[Feedback, ...]
    seconds: float


def programs(path: Path) -> Iterator[tuple[str, str]]:
    """(id, program) of every Python problem that has a solution."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row.get("language", "python") == "python" and row.get("canonical_solution"):
                yield str(row["id"]), f"{row.get('preamble') or ''}{row['canonical_solution']}"


def check(program: tuple[str, str]) -> Checked:
    began = time.perf_counter()
    findings = validate(program[1])
    return Checked(program[0], findings, time.perf_counter() - began)


def measure(path: Path, workers: int) -> dict[str, Any]:
    with ThreadPoolExecutor(workers) as pool:
        checked = list(pool.map(check, programs(path)))
    security = [one for one in checked if any(found.kind is FindingKind.SECURITY for found in one.findings)]
    errors = [one for one in checked if any(found.severity == "error" for found in one.findings)]
    rules = Counter(rule for one in checked for rule in {found.rule or "syntax" for found in one.findings})
    return {
        "set": path.name,
        "programs": len(checked),
        "security": len(security) / max(len(checked), 1),
        "errors": {one.name: [found.message for found in one.findings if found.severity == "error"] for one in errors},
        "actions": {
            action: sum(any(found.action == action for found in one.findings) for one in checked)
            for action in ("ask", "deny")
        },
        "rules": dict(rules.most_common()),
        "median_ms": 1000 * statistics.median(one.seconds for one in checked) if checked else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--workers", type=int, default=1, help="1 to measure time, more to be done sooner")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [measure(path, options.workers) for path in options.sets]
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for result in results:
        print(
            f"{result['set']:<28} {result['programs']:>5} programs, security {result['security']:6.2%}, "
            f"errors {len(result['errors'])}, ask {result['actions']['ask']}, deny {result['actions']['deny']}, "
            f"{result['median_ms']:.1f} ms"
        )
        print(f"    {result['rules']}")
        for name, messages in list(result["errors"].items())[:10]:
            print(f"    {name}: {messages[:2]}")


if __name__ == "__main__":
    main()
