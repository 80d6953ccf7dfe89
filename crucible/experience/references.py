"""What a problem's reference program takes: measured once, when first needed, by the judge that measures the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from crucible.bench.plan import problem_record
from crucible.problems.problem import Problem
from crucible.rewards import Usage
from crucible.security.base import Judge
from crucible.storage.journal import Journal
from crucible.types import Frozen

REFERENCES = "references.jsonl"


class ReferenceRecord(Frozen):
    """`usage`: None where the problem has no reference program, or the judge does not pass it."""

    problem: str
    fingerprint: str
    usage: Usage | None


class References:
    """Thread-safe. What was measured is kept in `folder`."""

    def __init__(self, folder: Path, judge: Judge, count_tokens: Callable[[str], int]) -> None:
        self._journal = Journal(folder / REFERENCES, ReferenceRecord)
        self._known = {record.fingerprint: record.usage for record in self._journal.records}
        self._judge, self._count_tokens = judge, count_tokens
        self._lock = threading.Lock()

    def usage(self, problem: Problem) -> Usage | None:
        mark = problem_record(problem).fingerprint
        with self._lock:
            if mark in self._known:
                return self._known[mark]
        usage = self._measured(problem)
        with self._lock:
            if mark not in self._known:
                self._known[mark] = usage
                self._journal.add(ReferenceRecord(problem=problem.id, fingerprint=mark, usage=usage))
            return self._known[mark]

    def _measured(self, problem: Problem) -> Usage | None:
        if not problem.solutions:
            return None
        code = problem.solutions[0]
        verdict = self._judge.judge(code, problem.scored)
        if verdict.verdict != "pass":
            return None
        return Usage(cpu_s=verdict.cpu_s, memory_mib=verdict.memory_mib, tokens=self._count_tokens(code))

    def close(self) -> None:
        self._journal.close()
