"""What a training writes down: its plan, its rounds before they are begun, and a line for every episode that is done.

A folder holds `plan.json`, `curriculum.jsonl` (a line a round: what is worked, and who gets a hint), `history.jsonl` (a
line an episode) and `evaluations.jsonl` (a line for every evaluation problem). From these alone the training goes on, and
`training_results.json` and the report are made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from pydantic import Field

from crucible.bench.record import Failure, ProblemRecord, SetRecord
from crucible.config import CurriculumSettings, HintSettings, packaged
from crucible.experience.hints import Decided, Effect, effect
from crucible.rewards import Means
from crucible.stats import Interval, wilson
from crucible.types import Frozen, ModelIdentity, Status

PLAN, ROUNDS, HISTORY, EVALUATIONS, RESULTS = (
    "plan.json",
    "curriculum.jsonl",
    "history.jsonl",
    "evaluations.jsonl",
    "training_results.json",
)


class TrainPlan(Frozen):
    """The inputs that decide a training; the command must make the same plan to go on with a folder."""

    version: int = 1
    sets: tuple[SetRecord, ...]
    problems: tuple[ProblemRecord, ...]
    eval_sets: tuple[SetRecord, ...] = ()
    eval_problems: tuple[ProblemRecord, ...] = ()
    seed: int = 0
    budget: int | None = None
    """Tokens that an episode may generate; None: as the settings say."""
    again: bool = False
    """Whether solved problems are worked again."""
    memory: bool = True
    """Whether episodes are retrieved."""
    curriculum: CurriculumSettings = Field(default_factory=lambda: packaged(CurriculumSettings))
    hints: HintSettings = Field(default_factory=lambda: packaged(HintSettings))
    model: ModelIdentity
    settings: str
    """SHA-256 over the settings."""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)
    created: str = ""
    """ISO 8601, UTC."""

    def same_as(self, other: TrainPlan) -> list[str]:
        """The fields that decide and differ."""
        names = type(self).model_fields.keys() - _FREE
        return sorted(name for name in names if getattr(self, name) != getattr(other, name))

    @property
    def key(self) -> str:
        """The same for plans that are the same."""
        return hashlib.sha256(self.model_dump_json(exclude=_FREE).encode("utf-8", "surrogatepass")).hexdigest()


_FREE = {"sets", "eval_sets", "command", "machine", "created"}
"""Fields that decide nothing: the problems have marks of their own."""


class Planned(Frozen):
    """An episode that is to be. `hint`: the place of the hint it is given, from 0; `stuck`: whether the lot was drawn."""

    problem: str
    difficulty: str = ""
    revisit: bool = False
    stuck: bool = False
    hint: int | None = None


class RoundRecord(Frozen):
    """Episodes `first`, `first` + 1, … `level`: the curriculum's, from 1."""

    first: int
    level: int
    picks: tuple[Planned, ...]


class Entry(Frozen):
    """An episode. `success`: by the hidden tests. The first five fields are what plotting scripts read."""

    episode: int
    problem: str
    difficulty: str
    level: int
    """The curriculum's, from 1."""
    reward: float
    """The weighted mean of `rewards`."""
    success: bool
    hinted: bool
    tokens: int
    """Generated ones, diagnoses included."""
    seconds: float
    rewards: dict[str, float] = Field(default_factory=dict)
    """By component, over the hidden tests' verdict and against a reference program."""
    revisit: bool = False
    stuck: bool = False
    hint: int | None = None
    status: Status
    stop: str = ""
    failure: Failure = ""
    passed_visible: bool = False
    cycles: int = 0
    retrieved: int = 0
    """Episodes that stood in the prompt as examples."""
    episode_id: str

    @property
    def result(self) -> dict[str, object]:
        """Return what must be the same however often the training was interrupted: all but what a clock decides."""
        clocked = {"reward", "rewards", "seconds"}
        return self.model_dump(exclude=clocked) | {"tests": self.rewards.get("tests")}


class Evaluated(Frozen):
    """An evaluation problem, worked when `after` episodes were done."""

    after: int
    problem: str
    difficulty: str
    passed: bool
    failure: Failure = ""
    tokens: int
    seconds: float


class Evaluation(Frozen):
    """`ci95`: Wilson's, over problems."""

    after: int
    problems: int
    passed: int
    pass_at_1: float
    ci95: Interval
    tokens: int


class Trained(Frozen):
    """A training as far as it went. `stopped`: why it ended; entries are in the episodes' order."""

    folder: str
    plan: TrainPlan
    goal: dict[str, Any]
    """Episodes, intervals and parallelism that were asked for: they may change from call to call."""
    entries: tuple[Entry, ...]
    rounds: tuple[RoundRecord, ...]
    evaluated: tuple[Evaluated, ...] = ()
    stopped: str = ""

    @property
    def solved(self) -> int:
        """Problems that were solved at least once."""
        return len({entry.problem for entry in self.entries if entry.success})

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Those that are whole, in order."""
        whole = len(self.plan.eval_problems)
        return tuple(each for each in evaluations(self.evaluated) if each.problems == whole)

    @property
    def means(self) -> Means:
        """Mean reward and quality over all episodes."""
        return Means.of(entry.rewards for entry in self.entries)

    @property
    def hints(self) -> Effect:
        return effect(decisions(self.entries))


def decisions(entries: tuple[Entry, ...]) -> Iterator[Decided]:
    return (Decided(each.problem, each.hint, each.success) for each in entries if each.stuck)


def evaluations(evaluated: tuple[Evaluated, ...]) -> Iterator[Evaluation]:
    for after, group in groupby(sorted(evaluated, key=lambda each: each.after), key=lambda each: each.after):
        worked = list(group)
        passed = sum(each.passed for each in worked)
        yield Evaluation(
            after=after,
            problems=len(worked),
            passed=passed,
            pass_at_1=passed / len(worked),
            ci95=wilson(passed, len(worked)),
            tokens=sum(each.tokens for each in worked),
        )


def results(trained: Trained) -> dict[str, Any]:
    """training_results.json."""
    plan = trained.plan
    config: Mapping[str, Any] = plan.model_dump(mode="json", exclude={"problems", "eval_problems", "command"})
    return {
        "training_history": [entry.model_dump(mode="json") for entry in trained.entries],
        "evaluations": [each.model_dump(mode="json") for each in trained.evaluations],
        "hints": trained.hints.model_dump(mode="json"),
        "curriculum": [each.model_dump(mode="json") for each in trained.rounds],
        "config": {**config, **trained.goal, "problems": len(plan.problems), "eval_problems": len(plan.eval_problems)},
        "problems_solved": trained.solved,
        "mean_reward": trained.means.reward,
        "quality": trained.means.quality,
        "stopped": trained.stopped,
        "command": plan.command,
    }
