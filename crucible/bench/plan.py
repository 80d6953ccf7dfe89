"""Making the plan of a benchmark: what is fixed before the first cell is begun, and the facts that a reader will want."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from crucible.bench.arms import Arm
from crucible.bench.record import Plan, ProblemRecord, SetRecord
from crucible.errors import InputError
from crucible.problems.problem import Problem
from crucible.problems.sets import ProblemSet
from crucible.storage.provenance import machine, versions
from crucible.types import ModelIdentity


def make_plan(
    *,
    sets: Iterable[SetRecord],
    problems: Sequence[Problem],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    budget: int,
    model: ModelIdentity,
    settings_hash: str,
    memory: str,
    parallel: int,
    command: str,
) -> Plan:
    """Raises InputError where problems, arms or seeds are none or not distinct, or a problem has nothing to score it by."""
    records = tuple(problem_record(problem) for problem in problems)
    for what, names in (("problem", [each.id for each in records]), ("seed", list(map(str, seeds)))):
        if not names:
            raise InputError(f"a benchmark needs at least one {what}")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"{what} {twice!r} is there twice")
    if not arms:
        raise InputError("a benchmark needs at least one arm")
    return Plan(
        sets=tuple(sets),
        problems=records,
        arms={arm.name: arm.says for arm in arms},
        seeds=tuple(seeds),
        budget=budget,
        model=model,
        settings=settings_hash,
        memory=memory,
        parallel=parallel,
        command=command,
        versions=dict(versions()),
        machine=machine(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def problem_record(problem: Problem) -> ProblemRecord:
    """Raises InputError where nothing scores the problem. The fingerprint is over all that a file says of it; a hint is
    given by who works it, so a task's is not of it."""
    task = problem.task
    if not problem.hidden and not task.tests and not task.examples:
        raise InputError(f"{problem.origin or problem.id}: nothing scores this problem (no tests, no examples)")
    text = json.dumps(problem.model_dump(mode="json", exclude={"origin": True, "task": {"hint"}}), sort_keys=True)
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return ProblemRecord(id=problem.id, fingerprint=mark, difficulty=task.difficulty, source=task.source)


def set_record(loaded: ProblemSet) -> SetRecord:
    return SetRecord(name=loaded.name, path=str(loaded.path), sha256=loaded.sha256, problems=len(loaded.problems))
