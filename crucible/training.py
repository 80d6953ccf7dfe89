"""A training put together: problem sets, curriculum and the user's own memory over one Crucible.

The loop gathers experience: its episodes are remembered and become examples. No weights change here.

with Crucible.from_settings(approve="auto") as app:
    trained = train(app, ["starter"], out=Path("training"), episodes=200)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from crucible.app import Crucible
from crucible.bench.arms import UNBOUNDED_CYCLES
from crucible.bench.plan import problem_record, set_record
from crucible.config import CurriculumSettings, HintSettings
from crucible.errors import InputError, RefusedError
from crucible.experience import train as loop
from crucible.experience.record import RESULTS, Trained, TrainPlan, results
from crucible.experience.references import References
from crucible.experience.remembered import Experience
from crucible.experience.report import render
from crucible.experience.train import Goal, Job, Progress
from crucible.guards import guarded
from crucible.nodes.learn import episode_id
from crucible.nodes.policy import temperatures
from crucible.problems.problem import Problem
from crucible.problems.sets import ProblemSet, load_all
from crucible.rewards import RewardInput, Rewards
from crucible.storage.files import write_atomically
from crucible.storage.provenance import machine, versions
from crucible.types import Episode

EPISODES = 100
SAVE_EVERY = 50


def train(
    app: Crucible,
    sets: Sequence[str],
    *,
    out: Path,
    episodes: int = EPISODES,
    save_every: int = SAVE_EVERY,
    eval_sets: Sequence[str] = (),
    eval_every: int = 0,
    eval_limit: int | None = None,
    budget: int | None = None,
    seed: int = 0,
    again: bool = False,
    difficulty: Sequence[str] = (),
    limit: int | None = None,
    curriculum: CurriculumSettings | None = None,
    hints: HintSettings | None = None,
    command: str = "",
    note: Callable[[str], None] = lambda _: None,
    tell: Callable[[Progress], None] = lambda _: None,
    alive: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Work `episodes` episodes over `sets`, those in `out` included, and write results and report there.

    eval_sets: problems worked before, after and every `eval_every` episodes, with memory as it is then; nothing of them is
    remembered. budget: tokens an episode may generate. again: work solved problems again. Whether episodes are retrieved
    is `tools.memory` of the app's settings. Raises RefusedError where programs may not be run without asking; InputError,
    also where an evaluation problem is one of the training's; what the parts raise.
    """
    if app.settings.cycles.approval != "auto":
        raise RefusedError("a training runs every program in the sandbox: say so with --approve auto")
    if eval_every and not eval_sets:
        raise InputError("there is nothing to evaluate on: name an evaluation set (--eval-set)")
    training, trained_on = _loaded(app, sets, difficulty, limit, note)
    evaluation, evaluated_on = _loaded(app, eval_sets, (), eval_limit, note)
    plan = TrainPlan(
        sets=tuple(map(set_record, training)),
        problems=tuple(map(problem_record, trained_on.values())),
        eval_sets=tuple(map(set_record, evaluation)),
        eval_problems=tuple(map(problem_record, evaluated_on.values())),
        seed=seed,
        budget=budget,
        again=again,
        memory=app.settings.tools.memory,
        curriculum=curriculum or app.settings.curriculum,
        hints=hints or app.settings.hints,
        model=app.model.identity,
        settings=_hash(app),
        command=command,
        versions=dict(versions()),
        machine=machine(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    _refuse_overlap(trained_on.values(), evaluated_on.values())
    goal = Goal(episodes, app.settings.model.slots, save_every, eval_every)
    with ExitStack() as stack:
        worker = stack.enter_context(closing(_Worker(app, out, budget)))
        return loop.train(plan, trained_on, evaluated_on, out, worker, goal, save=_saver(out), tell=tell, alive=alive)


def _saver(out: Path) -> Callable[[Trained], None]:
    def save(trained: Trained) -> None:
        text = json.dumps(results(trained), ensure_ascii=True, indent=1) + "\n"
        write_atomically(out / RESULTS, text)
        render(trained, out)

    return save


class _Worker:
    """Implements `loop.Worker` over three variants of `app`: one that learns, one that works a problem again and draws no
    greedy answer, which would be the one it knows, and one that is examined."""

    def __init__(self, app: Crucible, out: Path, budget: int | None) -> None:
        self._out = out
        self._memory = Experience(app.memory)
        self._rewards = Rewards(app.settings.rewards)
        self._stack = ExitStack()
        # The home is the user's own: approvals belong into their audit log, episodes into their memory.
        self._learner = self._variant(app, budget, self._memory, remembers=True)
        self._again = self._variant(app, budget, self._memory, remembers=True, warm=True)
        self._examinee = self._variant(app, budget, Experience(app.memory, read_only=True), remembers=False)
        self._references: References | None = None
        self._measured = app.judge, guarded(app.model).count_tokens

    def _variant(
        self, app: Crucible, budget: int | None, memory: Experience, *, remembers: bool, warm: bool = False
    ) -> Crucible:
        # As many episodes share the machine as there are slots: the clock must not decide what they come to.
        cycles: dict[str, Any] = {"approve": "auto", "max_wall_s": 86_400.0}
        if budget is not None:
            cycles |= {
                "max_total_tokens": budget,
                "max_cycles": UNBOUNDED_CYCLES,
                "max_reflect": UNBOUNDED_CYCLES,
            }
        model: dict[str, Any] = {}
        if warm:
            schedule = app.settings.model.temperatures
            model = {"temperatures": tuple(temperatures(schedule, len(schedule), already_greedy=True))}
            cycles |= {"greedy_first": False}
            if app.settings.cycles.strategy == "direct":
                cycles |= {"strategy": "resample", "max_cycles": 1, "samples": 1}
        tools = {"solves_per_minute": None, "dataset_logging": remembers}
        made = app.variant(home=app.settings.paths.home, memory=memory, cycles=cycles, tools=tools, model=model)
        made.strict = True
        self._stack.enter_context(made)
        _ = made.context, made.runs.saver, made.nodes  # made here, once: threads are about to share them
        return made

    def begin(self, run_ids: Sequence[str]) -> None:
        self._memory.hide(map(episode_id, run_ids))
        if self._references is None:  # not before the folder's lock is held
            self._references = References(self._out, *self._measured)
            self._stack.callback(self._references.close)

    def learn(self, job: Job) -> Episode:
        return _solved(self._again if job.again else self._learner, job)

    def evaluate(self, job: Job) -> Episode:
        return _solved(self._examinee, job)

    def rewards(self, problem: Problem, episode: Episode) -> dict[str, float]:
        best = next((attempt for attempt in episode.attempts if attempt.id == episode.best_attempt), None)
        if best is None or episode.status == "refused" or self._references is None:
            return {}
        given = RewardInput.of(best).model_copy(
            update={
                "verdict": episode.hidden_verdict or episode.verdict,
                "reference": self._references.usage(problem),
            }
        )
        return {name: round(value, 6) for name, value in self._rewards.score(given).items()}

    def settled(self, run_id: str) -> None:
        self._learner.runs.forget(run_id)

    def close(self) -> None:
        self._stack.close()


def _solved(app: Crucible, job: Job) -> Episode:
    # A problem without hidden tests is scored by the visible ones, which the loop did see.
    return app.solve(job.task, hidden=job.problem.hidden, seed=job.seed, run_id=job.run_id, watch=job.watch)


def _loaded(
    app: Crucible,
    sets: Sequence[str],
    difficulty: Sequence[str],
    limit: int | None,
    note: Callable[[str], None],
) -> tuple[list[ProblemSet], Mapping[str, Problem]]:
    """The sets, and their problems by id. Raises InputError where two have one id."""
    visible_cases = app.settings.cycles.visible_cases
    loaded = load_all(sets, difficulty=difficulty, limit=limit, visible_cases=visible_cases, note=note)
    problems: dict[str, Problem] = {}
    for each in loaded:
        for problem in each.problems:
            if problem.id in problems:
                raise InputError(f"problem {problem.id!r} is there twice: in {each.path} and in a set before it")
            problems[problem.id] = problem
    return loaded, problems


def _refuse_overlap(training: Iterable[Problem], evaluation: Iterable[Problem]) -> None:
    """What is trained on proves nothing: no evaluation problem may be a training problem, whatever its id."""
    known = {problem_record(problem).fingerprint: problem.id for problem in training}
    texts = {problem.task.text: problem.id for problem in training}
    for problem in evaluation:
        same = known.get(problem_record(problem).fingerprint) or texts.get(problem.task.text)
        if same is not None:
            raise InputError(
                f"evaluation problem {problem.id!r} is the training problem {same!r}; take it out of one of the two sets"
            )


def _hash(app: Crucible) -> str:
    """Over what settings decide; how many episodes are worked at a time is not of it."""
    return hashlib.sha256(app.settings.changed({"model": {"slots": 1}}).hash().encode()).hexdigest()
