"""Runs a training: rounds of problems by the curriculum, worked in parallel, each episode on the disk when it is done.

A round is written down before it is begun, and an episode's run has an id that follows from the plan and the episode's
number. After a kill the rounds are taken up as they were decided: what was not written down is run again under the same
id, which goes on from the run's last checkpoint, and its episode is stored once. What is decided next depends on the
finished rounds alone.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from crucible.bench.cells import cell_of
from crucible.errors import CancelledError, InputError
from crucible.experience import hints
from crucible.experience.curriculum import Past, next_round
from crucible.experience.record import (
    EVALUATIONS,
    HISTORY,
    PLAN,
    ROUNDS,
    Entry,
    Evaluated,
    Planned,
    RoundRecord,
    Trained,
    TrainPlan,
    decisions,
)
from crucible.problems.problem import Problem
from crucible.storage.files import write_atomically
from crucible.storage.journal import Journal, held
from crucible.types import Episode, Event, Task

K = TypeVar("K", str, int)
Done = TypeVar("Done")
ALL_SOLVED = "every problem is solved"
ENOUGH = "as many episodes as were asked for"
INTERRUPTED = "interrupted; the same command goes on"
TOLD_EVERY_S = 1.0
FAILED = "an error; the same command goes on"


class Goal(NamedTuple):
    """The request of one call. eval_every: 0 for evaluations before the first episode and after the last alone."""

    episodes: int
    parallel: int
    save_every: int = 50
    eval_every: int = 0


class Job(NamedTuple):
    """A run to make. `task`: the problem's, with its hint where it is given one. `watch`: to be called with the run's
    events; it raises CancelledError when all is to end."""

    problem: Problem
    task: Task
    seed: int
    run_id: str
    watch: Callable[[Event], None]
    again: bool = False
    """Whether the problem was worked before in this training, so that its greedy answer is known."""


class Progress(NamedTuple):
    """After each episode: how many are done of how many, this call's tokens and seconds, and what came of it. While the
    evaluation problems are worked, `entry` is None and the numbers are theirs."""

    done: int
    total: int
    tokens: int
    seconds: float
    entry: Entry | None
    running: int = 0
    """Tokens that the episodes still in work have drawn."""


class Worker(Protocol):
    """Makes the runs; called in several threads, but for `begin` and `settled`."""

    def begin(self, run_ids: Sequence[str]) -> None:
        """These runs are a round: none of them is to see what another one learns."""
        ...

    def learn(self, job: Job) -> Episode:
        """Work it and remember the episode."""
        ...

    def evaluate(self, job: Job) -> Episode:
        """Work it with memory as it is, and remember nothing."""
        ...

    def rewards(self, problem: Problem, episode: Episode) -> dict[str, float]: ...

    def settled(self, run_id: str) -> None:
        """Note that what came of the run is on the disk: its checkpoints are not needed any more."""
        ...


def train(
    plan: TrainPlan,
    problems: Mapping[str, Problem],
    eval_problems: Mapping[str, Problem],
    folder: Path,
    worker: Worker,
    goal: Goal,
    *,
    save: Callable[[Trained], None] = lambda _: None,
    tell: Callable[[Progress], None] = lambda _: None,
    alive: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Go on with the training in `folder` until `goal` is reached or every problem is solved.

    save: called every `goal.save_every` episodes and when it ends, in whatever way. tell: after each run. alive:
    every second between two of them.
    Raises InputError where the folder holds another training or another process works on it, and what `worker` raises;
    what was done by then stays. Ctrl-C ends the runs in work, which stay resumable; a second one does not disturb that.
    """
    with held(folder), ExitStack() as stack:
        _begin(plan, folder)
        return _Loop(plan, problems, eval_problems, folder, worker, goal, tell, alive, stack).run(save)


def run_id(plan: TrainPlan, what: str) -> str:
    """The id of a run: the same in every process."""
    return hashlib.sha256(f"{plan.key}/{what}".encode("utf-8", "surrogatepass")).hexdigest()[:12]


def read_plan(folder: Path) -> TrainPlan:
    try:
        return TrainPlan.model_validate_json((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / PLAN} is no training's plan; name another --out") from error


def _begin(plan: TrainPlan, folder: Path) -> None:
    """The folder's plan must be this one; a new folder gets it."""
    if (folder / PLAN).exists():
        if others := plan.same_as(read_plan(folder)):
            raise InputError(
                f"{folder} holds another training: it differs in {', '.join(others)}; name another --out, or remove it"
            )
    elif (folder / HISTORY).exists():
        raise InputError(f"{folder} holds {HISTORY} without {PLAN}; name another folder")
    else:
        write_atomically(folder / PLAN, plan.model_dump_json(indent=1) + "\n")


class _Loop:
    def __init__(
        self,
        plan: TrainPlan,
        problems: Mapping[str, Problem],
        eval_problems: Mapping[str, Problem],
        folder: Path,
        worker: Worker,
        goal: Goal,
        tell: Callable[[Progress], None],
        alive: Callable[[Progress], None],
        stack: ExitStack,
    ) -> None:
        self._plan, self._problems, self._eval_problems = plan, problems, eval_problems
        self._folder, self._worker, self._goal, self._tell = folder, worker, goal, tell
        self._alive = alive
        self._rounds = stack.enter_context(Journal(folder / ROUNDS, RoundRecord))
        self._history = stack.enter_context(Journal(folder / HISTORY, Entry))
        self._evaluated = stack.enter_context(Journal(folder / EVALUATIONS, Evaluated))
        self._ending = threading.Event()
        self._pool = ThreadPoolExecutor(goal.parallel, thread_name_prefix="crucible-train")
        self._tokens, self._began = 0, time.monotonic()
        self._drawn: dict[str, tuple[int, int]] = {}
        """By run in work: tokens of its finished samples, and pieces of text of those being drawn."""
        self._counting = threading.Lock()
        self._told = Progress(0, goal.episodes, 0, 0.0, None)

    def run(self, save: Callable[[Trained], None]) -> Trained:
        stopped = FAILED
        try:
            while not (reason := self._step()):
                done = len(self._history.records)
                if (
                    done // self._goal.save_every
                    > (done - len(self._rounds.records[-1].picks)) // self._goal.save_every
                ):
                    save(self._trained("not yet"))
            stopped = reason
            self._evaluate()
        except (KeyboardInterrupt, CancelledError):
            stopped = INTERRUPTED
            raise
        finally:
            with _undisturbed():
                self._ending.set()
                self._pool.shutdown(wait=True, cancel_futures=True)
                save(self._trained(stopped))
        return self._trained(stopped)

    def _trained(self, stopped: str) -> Trained:
        goal = self._goal._asdict()
        return Trained(
            folder=str(self._folder),
            plan=self._plan,
            goal=goal,
            entries=self._entries(),
            rounds=tuple(self._rounds.records),
            evaluated=tuple(self._evaluated.records),
            stopped=stopped,
        )

    def _entries(self) -> tuple[Entry, ...]:
        return tuple(sorted(self._history.records, key=lambda entry: entry.episode))

    def _step(self) -> str:
        """One round to its end; or why there is none."""
        begun = self._rounds.records[-1] if self._rounds.records else None
        done = len(self._history.records)
        if begun is None or done == begun.first - 1 + len(begun.picks):
            every = self._goal.eval_every
            if done == 0 or (every and done % every == 0):
                self._evaluate()
            if done >= self._goal.episodes:
                return ENOUGH
            room = min(self._goal.parallel, self._goal.episodes - done)
            begun = self._decide(min(room, every - done % every) if every else room)
            if not begun.picks:
                return ALL_SOLVED
            self._rounds.add(begun)
        self._work(begun)
        return ""

    def _decide(self, size: int) -> RoundRecord:
        plan, entries = self._plan, self._entries()
        chosen = next_round(
            {problem.id: problem.difficulty for problem in plan.problems},
            [Past(entry.problem, entry.success) for entry in entries],
            size=size,
            seed=plan.seed,
            again=plan.again,
            settings=plan.curriculum,
        )
        picks = tuple(self._planned(pick.problem, entries, revisit=pick.revisit) for pick in chosen.picks)
        return RoundRecord(first=len(entries) + 1, level=chosen.level + 1, picks=picks)

    def _planned(self, name: str, entries: tuple[Entry, ...], *, revisit: bool) -> Planned:
        problem = self._problems[name]
        drawn = hints.draw(
            name,
            len(problem.hints),
            failed=sum(entry.problem == name and not entry.success for entry in entries),
            before=[decided for decided in decisions(entries) if decided.problem == name],
            seed=self._plan.seed,
            settings=self._plan.hints,
        )
        return Planned(
            problem=name, difficulty=problem.task.difficulty, revisit=revisit, stuck=drawn.stuck, hint=drawn.hint
        )

    # ------------------------------------------------------------- the work

    def _work(self, begun: RoundRecord) -> None:
        """The episodes of a round that are not written down yet."""
        numbered = dict(enumerate(begun.picks, begun.first))
        ids = {number: run_id(self._plan, str(number)) for number in numbered}
        self._worker.begin(list(ids.values()))
        there = {entry.episode for entry in self._history.records}
        worked = {entry.problem for entry in self._history.records if entry.episode < begun.first}

        def work(number: int) -> Entry:
            planned = numbered[number]
            problem = self._problems[planned.problem]
            task = problem.task
            if planned.hint is not None:
                task = task.model_copy(update={"hint": problem.hints[planned.hint]})
            job = self._job(problem, task, f"{self._plan.seed}/{number}", ids[number])
            episode = self._worker.learn(job._replace(again=planned.problem in worked))
            return _entry(number, begun.level, planned, episode, self._worker.rewards(problem, episode))

        for number, entry in self._each([number for number in numbered if number not in there], work):
            self._history.add(entry)
            self._worker.settled(ids[number])
            self._said(ids[number], len(self._history.records), self._goal.episodes, entry.tokens, entry)

    def _evaluate(self) -> None:
        """The evaluation problems that are not worked yet after so many episodes, each with one seed for all time."""
        after = len(self._history.records)
        there = {each.problem for each in self._evaluated.records if each.after == after}
        missing = [name for name in self._eval_problems if name not in there]
        ids = {name: run_id(self._plan, f"evaluation/{after}/{name}") for name in missing}

        def work(name: str) -> Evaluated:
            problem = self._eval_problems[name]
            job = self._job(problem, problem.task, f"{self._plan.seed}/{name}", ids[name])
            cell = cell_of("evaluation", self._plan.seed, name, self._worker.evaluate(job))
            return Evaluated(
                after=after,
                problem=name,
                difficulty=problem.task.difficulty,
                passed=cell.passed,
                failure=cell.failure,
                tokens=cell.tokens.completion,
                seconds=cell.wall_s,
            )

        for name, evaluated in self._each(missing, work):
            self._evaluated.add(evaluated)
            self._worker.settled(ids[name])
            there.add(name)
            self._said(ids[name], len(there), len(self._eval_problems), evaluated.tokens, None)

    def _job(self, problem: Problem, task: Task, seed: str, name: str) -> Job:
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
        return Job(problem, task, number, name, self._watch)

    def _watch(self, event: Event) -> None:
        if self._ending.is_set():
            raise CancelledError("interrupted")
        with self._counting:
            sampled, pieces = self._drawn.get(event.run_id, (0, 0))
            if event.kind == "token":
                self._drawn[event.run_id] = sampled, pieces + 1
            elif event.kind == "sampled":
                self._drawn[event.run_id] = sampled + event.data["attempt"]["completion_tokens"], 0

    def _said(self, run: str, done: int, total: int, tokens: int, entry: Entry | None) -> None:
        self._tokens += tokens
        with self._counting:
            self._drawn.pop(run, None)
        self._told = Progress(done, total, self._tokens, 0.0, entry)
        self._tell(self._now())

    def _now(self) -> Progress:
        with self._counting:
            running = sum(map(sum, self._drawn.values()))
        seconds = time.monotonic() - self._began
        return self._told._replace(seconds=seconds, running=running)

    def _each(self, names: Iterable[K], work: Callable[[K], Done]) -> Iterator[tuple[K, Done]]:
        """What `work` makes of each, several at a time, as they come."""
        waiting = iter(names)
        working: dict[Future[Done], K] = {}
        while True:
            # No more are handed out than are worked on: what is not begun needs no ending.
            for name in islice(waiting, self._goal.parallel - len(working)):
                working[self._pool.submit(work, name)] = name
            if not working:
                return
            finished = wait(working, timeout=TOLD_EVERY_S, return_when=FIRST_COMPLETED).done
            if not finished:
                self._alive(self._now())
            for future in finished:
                yield working.pop(future), future.result()


def _entry(number: int, level: int, planned: Planned, episode: Episode, rewards: dict[str, float]) -> Entry:
    cell = cell_of("train", episode.seed, planned.problem, episode)
    return Entry(
        episode=number,
        problem=planned.problem,
        difficulty=planned.difficulty,
        level=level,
        reward=rewards.get("total", 0.0),
        success=cell.passed,
        hinted=planned.hint is not None,
        tokens=cell.tokens.completion,
        seconds=cell.wall_s,
        rewards=rewards,
        revisit=planned.revisit,
        stuck=planned.stuck,
        hint=planned.hint,
        status=cell.status,
        stop=cell.stop,
        failure=cell.failure,
        passed_visible=cell.passed_visible,
        cycles=cell.cycles,
        retrieved=len(episode.retrieved),
        episode_id=cell.episode_id,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that would interrupt do nothing within: what is ended in order here takes seconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
