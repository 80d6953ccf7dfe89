"""`python -m tests.security.judge.differential [WORD]`: every pair (of a name with WORD) on which judge and CPython differ."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from crucible.security.sandbox.probe import select_sandbox
from tests.security.judge.differential.oracle import Answer, cpython, judged
from tests.security.judge.differential.pairs import Pair, differences, entries


def main(word: str = "") -> None:
    sandbox = select_sandbox()

    def both(pair: Pair) -> tuple[Pair, Answer, Answer]:
        return pair, cpython(sandbox, pair), judged(sandbox, pair)

    wanted = [pair for entry in entries() for pair in entry.pairs() if word in pair.id]
    counts: Counter[str] = Counter()
    listed = differences()
    with ThreadPoolExecutor(2) as pool:
        for pair, python, ours in pool.map(both, wanted):
            if (python.verdict == "pass") != pair.right:
                counts["mislabelled"] += 1
                print(f"MISLABELLED {pair.id}: CPython says {python.verdict}: {python.reason}")
            counts[f"trust {ours.trust or 'none'}"] += 1
            if pair.id not in listed and python.verdict != ours.verdict:
                kind = "FALSE PASS" if ours.verdict == "pass" else "refused" if ours.verdict == "refused" else "failed"
                counts[kind] += 1
                print(f"{kind} {pair.id} [{ours.trust}]: {ours.reason}")
    print(f"{len(wanted)} pairs;", ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
