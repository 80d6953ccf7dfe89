"""Runs a benchmark: every cell of its plan once, several at a time, each on the disk when it is done.

A cell's run has an id that follows from its key. After a kill, whatever was not written down is run again under the same
id, which goes on from the run's last checkpoint; its episode has the same id too, so that it is stored once.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from crucible.bench.cells import cell_of
from crucible.bench.record import CELLS, PLAN, Cell, Plan, Results, keys, read
from crucible.errors import CancelledError, ContextOverflowError, InputError
from crucible.problems.problem import Problem
from crucible.storage.files import write_atomically
from crucible.storage.journal import Journal, held
from crucible.types import Episode, Event

Watch = Callable[[Event], None]


class Job(NamedTuple):
    """One cell to run. `watch` is to be called with the run's events; it raises CancelledError when all is to end."""

    arm: str
    seed: int
    problem: Problem
    run_id: str
    watch: Watch


class Progress(NamedTuple):
    """After each cell: how many are done of how many, what this call has generated so far and in which time."""

    done: int
    total: int
    tokens: int
    seconds: float
    cell: Cell


def run_id(plan: Plan, key: tuple[str, int, str]) -> str:
    """The id of a cell's run: the same in every process."""
    text = "/".join((plan.settings, str(plan.budget), *map(str, key)))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run(
    plan: Plan,
    problems: Mapping[str, Problem],
    folder: Path,
    solve: Callable[[Job], Episode],
    *,
    settled: Callable[[Job], None] = lambda _: None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Results:
    """Run what `folder` lacks of `plan` and return it all.

    solve: works one cell, called in `plan.parallel` threads. settled, tell: called in this thread once a cell is on the
    disk. Raises InputError where the folder holds another benchmark or
    another process works on it, and whatever `solve` raises; what was done by then stays. Ctrl-C ends the runs in work.
    """
    with held(folder):
        return _locked(plan, problems, folder, solve, settled, tell)


def _locked(
    plan: Plan,
    problems: Mapping[str, Problem],
    folder: Path,
    solve: Callable[[Job], Episode],
    settled: Callable[[Job], None],
    tell: Callable[[Progress], None],
) -> Results:
    cells = {cell.key: cell for cell in _begun(plan, folder)}
    missing = [key for key in keys(plan) if key not in cells]
    total, tokens, began = len(cells) + len(missing), 0, time.monotonic()
    ending = threading.Event()

    def watch(_event: Event) -> None:
        if ending.is_set():
            raise CancelledError("interrupted")

    def job(key: tuple[str, int, str]) -> Job:
        arm, seed, problem = key
        return Job(arm, seed, problems[problem], run_id(plan, key), watch)

    def work(key: tuple[str, int, str]) -> Cell:
        try:
            return cell_of(*key, solve(job(key)))
        except ContextOverflowError as error:
            return Cell(
                **dict(zip(("arm", "seed", "problem"), key, strict=True)),
                passed=False,
                passed_visible=False,
                failure="overflow",
                status="error",
                stop=str(error),
            )

    writer = Journal(folder / CELLS, Cell)
    pool = ThreadPoolExecutor(plan.parallel, thread_name_prefix="crucible-cell")
    try:
        waiting = iter(missing)
        working: set[Future[Cell]] = set()
        while True:
            # No more are handed out than are worked on: what is not begun needs no ending.
            working |= {pool.submit(work, key) for key in islice(waiting, plan.parallel - len(working))}
            if not working:
                break
            done, working = wait(working, return_when=FIRST_COMPLETED)
            for future in done:
                cell = future.result()
                writer.add(cell)
                cells[cell.key] = cell
                settled(job(cell.key))
                tokens += cell.tokens.completion
                tell(Progress(len(cells), total, tokens, time.monotonic() - began, cell))
    finally:
        ending.set()
        pool.shutdown(wait=True, cancel_futures=True)
        writer.close()
    return Results(folder=str(folder), plan=plan, cells=tuple(cells[key] for key in keys(plan)))


def _begun(plan: Plan, folder: Path) -> tuple[Cell, ...]:
    """The cells that are there, of a plan that must be this one; a new folder gets the plan."""
    if not (folder / PLAN).exists():
        if (folder / CELLS).exists():
            raise InputError(f"{folder} holds {CELLS} without {PLAN}; name another folder")
        write_atomically(folder / PLAN, plan.model_dump_json(indent=1) + "\n")
        return ()
    found = read(folder)
    if others := found.plan.same_as(plan):
        raise InputError(
            f"{folder} holds another benchmark: it differs in {', '.join(others)}; name another --out, or remove it"
        )
    return found.cells
