"""A benchmark put together: sets, arms and seeds over one Crucible's model, sandbox and judge.

with Crucible.from_settings(approve="auto") as app:
    results = benchmark(app, ["starter"], arms=["single", "best-of-n", "loop"], out=Path("results"))
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from crucible.app import Crucible
from crucible.bench import arms as arms_
from crucible.bench.arms import Arm, BenchMemory
from crucible.bench.plan import make_plan, set_record
from crucible.bench.record import Results
from crucible.bench.run import Job, Progress, run
from crucible.errors import InputError, RefusedError
from crucible.memory import MemoryStore
from crucible.memory.base import EpisodeStore
from crucible.memory.migrations import HEADER
from crucible.problems.sets import load_all
from crucible.types import Episode

ARMS = ("single", "best-of-n", "loop")
BUDGET = 1200
EPISODES, WORK = "episodes", "work"


def benchmark(
    app: Crucible,
    sets: Sequence[str],
    *,
    out: Path,
    arms: Sequence[str] = ARMS,
    seeds: Sequence[int] = (0,),
    budget: int = BUDGET,
    difficulty: Sequence[str] = (),
    limit: int | None = None,
    memory: Path | None = None,
    command: str = "",
    store: Callable[[Path], EpisodeStore] = MemoryStore,
    note: Callable[[str], None] = lambda _: None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Results:
    """Run what is not done yet of a benchmark in `out`, and return it. A quarter more cells are worked at a time than the
    model has slots: while some are judged, the others keep it busy.

    sets: files, folders, suites or the name of a shipped set. budget: tokens that an arm may generate for a problem.
    difficulty, limit: which problems of every set, and how many. memory: episodes that the loop may retrieve; none by
    default, so that nothing but the set decides. store: what keeps episodes in a folder. note: told what a reader of the
    sets should know. Raises RefusedError where programs may not be run without asking; InputError; what the parts raise.
    """
    if app.settings.cycles.approval != "auto":
        raise RefusedError("a benchmark runs every program in the sandbox: say so with --approve auto")
    chosen = arms_.chosen(tuple(arms))
    visible_cases = app.settings.cycles.visible_cases
    loaded = load_all(sets, difficulty=difficulty, limit=limit, visible_cases=visible_cases, note=note)
    problems = [problem for each in loaded for problem in each.problems]
    slots = app.settings.model.slots
    with ExitStack() as stack:
        shown = stack.enter_context(closing(store(episodes_of(memory)))) if memory is not None else None
        plan = make_plan(
            sets=[set_record(each) for each in loaded],
            problems=problems,
            arms=chosen,
            seeds=seeds,
            budget=budget,
            model=app.model.identity,
            settings_hash=_hash(app, chosen, budget),
            memory=f"{shown.stats().episodes} episodes of {memory}" if shown is not None else "",
            parallel=slots + slots // 4,
            command=command,
        )
        kept = stack.enter_context(closing(store(out / EPISODES)))
        apps = {arm.name: stack.enter_context(_variant(app, arm, budget, out, kept, shown)) for arm in chosen}
        for solver in apps.values():
            _ = solver.context, solver.runs.saver, solver.nodes  # made here, once: threads are about to share them

        def solve(job: Job) -> Episode:
            solver, problem = apps[job.arm], job.problem
            # A problem without hidden tests is scored by the visible ones, which the loop did see.
            return solver.solve(problem.task, hidden=problem.hidden, seed=job.seed, run_id=job.run_id, watch=job.watch)

        def settled(job: Job) -> None:
            apps[job.arm].runs.forget(job.run_id)

        by_id = {problem.id: problem for problem in problems}
        results = run(plan, by_id, out, solve, settled=settled, tell=tell)
    shutil.rmtree(out / WORK, ignore_errors=True)  # checkpoints, which nothing needs any more
    return results


def _variant(
    app: Crucible, arm: Arm, budget: int, out: Path, kept: EpisodeStore, shown: EpisodeStore | None
) -> Crucible:
    made = app.variant(
        home=out / WORK / arm.name,
        memory=BenchMemory(kept, shown, shuffled=arm.shuffled),
        nodes=arm.nodes,
        **arms_.overrides(arm, budget),
    )
    made.strict = True
    return made


def _hash(app: Crucible, arms: Sequence[Arm], budget: int) -> str:
    """Over everything that settings and arms decide; how many cells are worked at a time is not of it."""
    settings = app.settings.changed({"model": {"slots": 1}})
    described = [[arm.name, arm.strategy, arm.overrides, sorted(arm.nodes), arm.shuffled] for arm in arms]
    return hashlib.sha256(json.dumps([settings.hash(), described, budget]).encode()).hexdigest()


def episodes_of(place: Path) -> Path:
    """The episodes' folder: `place` itself, or that of the home or benchmark it is."""
    for folder in (place / EPISODES, place):
        if (folder / HEADER).is_file():
            return folder
    raise InputError(f"{place} holds no episodes; name Crucible's home, a benchmark's folder or a store's")
