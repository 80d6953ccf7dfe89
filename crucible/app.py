"""Crucible's Python API and the one place where its parts are put together.

    app = Crucible.from_settings(approve="auto")
    episode = app.solve(Task(prompt="…", tests="assert f(2) == 4"))

Parts are made on first use: a `Crucible` that only searches memory never loads a model.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from crucible.errors import InputError, RefusedError, SandboxUnavailableError
from crucible.guards import JUDGED, RecordingApprover, RedactingStore, guarded, prepare, secrets_in
from crucible.security.judge.visible import with_entry_point
from crucible.security.trust.audit import AuditLog
from crucible.types import Episode, Event, HiddenTests, Task

if TYPE_CHECKING:
    from crucible.config import ModelSettings, Settings
    from crucible.config.paths import Paths
    from crucible.logs import RunLog
    from crucible.memory.base import EpisodeStore
    from crucible.models.base import Model
    from crucible.nodes.base import Context
    from crucible.nodes.given import Given, Nodes
    from crucible.nodes.registry import NodeSpec
    from crucible.orchestrator.checkpoints import RunStore
    from crucible.orchestrator.run import Run
    from crucible.prompting.recipe import Recipe
    from crucible.security.base import Judge, Sandbox
    from crucible.security.trust.approval import Approver
    from crucible.security.trust.ratelimit import TokenBucket

__all__ = ["Crucible", "prepare", "served"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Given:
    """Parts the caller brought; None means: make one from the settings."""

    model: Model | None
    memory: EpisodeStore | None
    sandbox: Sandbox | None
    judge: Judge | None
    approver: Approver | None
    recipe: Recipe | None
    nodes: tuple[Given, ...]


class Crucible:
    """Solve tasks with a model, a sandbox and a memory. Use as a context manager, or call `close`."""

    strict = False
    """Whether a run ends where its memory or a diagnosis fails, instead of a warning. Set before the first run."""

    def __init__(
        self,
        *,
        model: Model | None = None,
        memory: EpisodeStore | None = None,
        sandbox: Sandbox | None = None,
        judge: Judge | None = None,
        settings: Settings | None = None,
        approver: Approver | None = None,
        recipe: Recipe | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        """Put the given parts together; those that are missing are made from the settings on first use.

        nodes: classes of your own, each with `name`, `run` and a place (`after`, `before` or `instead_of` a node); or by
        name, where a class without a place replaces the node of that name. Raises InputError for what is no node.
        """
        from crucible.config import load_settings
        from crucible.nodes.given import read_nodes

        self.settings = settings or load_settings()
        self._given = _Given(model, memory, sandbox, judge, approver, recipe, read_nodes(nodes))
        if self._given.nodes:
            _ = self.nodes  # a node that has no place here is refused now, not in the middle of a run

    @classmethod
    def from_settings(
        cls,
        settings: Settings | None = None,
        *,
        approve: Literal["ask", "auto", "never"] | None = None,
        nodes: Nodes | None = None,
        **overrides: dict[str, Any],
    ) -> Self:
        """From files, environment and `overrides` by section: `from_settings(model={"name": "…"})`.

        nodes: classes of your own, as the constructor takes them.

        approve="auto" is your explicit word that generated code may run in the sandbox; without it, and
        without an approver, candidates are only checked statically.
        """
        from crucible.config import load_settings

        if approve is not None:
            overrides["cycles"] = {**overrides.get("cycles", {}), "approve": approve}
        if settings is not None and overrides:
            raise InputError("give either settings or overrides, not both")
        return cls(settings=settings or load_settings(overrides=overrides or None), nodes=nodes)

    def variant(
        self,
        *,
        home: Path,
        memory: EpisodeStore | None = None,
        nodes: Nodes | None = None,
        **overrides: Mapping[str, Any],
    ) -> Crucible:
        """Another Crucible over the same model, sandbox and judge, with a home and, in `overrides`, settings of its own.
        Close it before this one. nodes: besides those of this one, and before them where two have one name."""
        from crucible.nodes.given import read_nodes

        given = {each.name: each.node for each in (*self._given.nodes, *read_nodes(nodes))}
        return Crucible(
            model=self.model,
            memory=memory,
            sandbox=self._given.sandbox or (None if self._given.judge else self.sandbox),
            judge=self.judge,
            settings=self.settings.changed(overrides, home=home),
            approver=self._given.approver,
            recipe=self._given.recipe,
            nodes=given,
        )

    # ------------------------------------------------------------- what it does

    def solve(
        self,
        task: Task,
        *,
        hidden: HiddenTests | None = None,
        seed: int | None = None,
        watch: Callable[[Event], None] | None = None,
        run_id: str | None = None,
    ) -> Episode:
        """Work `task` until its tests pass or the budget is spent; returns the episode, solved or not.

        hidden: cases that only score the finished run. watch: called with every Event. run_id: an id of your own, under
        which the run goes on where it stopped if it was begun before, and is not run again if it was finished.
        Raises InputError for a task that cannot be worked, RateLimitedError, CancelledError, and the errors of the parts.
        """
        if run_id is not None and self.runs.has(run_id):
            return self._resume(run_id, watch, finished_too=True)
        run = self._start(task, hidden, seed, run_id)
        with self.log.following(run.run_id):
            return run.finish(watch)

    def stream(self, task: Task, *, hidden: HiddenTests | None = None, seed: int | None = None) -> Iterator[Event]:
        """The events of solving `task`, as they happen. The last, run-finished, holds the episode."""
        run = self._start(task, hidden, seed)
        with self.log.following(run.run_id):
            yield from run

    def resume(self, run_id: str | None = None, *, watch: Callable[[Event], None] | None = None) -> Episode:
        """Go on with an interrupted run (None: the latest) from its last checkpoint."""
        return self._resume(self.runs.find(run_id).run_id, watch)

    def _resume(self, run_id: str, watch: Callable[[Event], None] | None, *, finished_too: bool = False) -> Episode:
        from crucible.orchestrator.run import Run

        with self.log.following(run_id):
            context = self._context(run_id, self.runs.request(run_id).task)
            run = Run.resume(run_id, self.nodes, context, self.runs, listen=self.log.event, finished_too=finished_too)
            before, now = self.runs.find(run_id).model, context.model.identity.name
            if before != now:
                run.emit("warning", message=f"the run began with the model {before} and goes on with {now}")
            self._say_failures(run)
            return run.finish(watch)

    def _say_failures(self, run: Run) -> None:
        if self.log.failure:
            run.emit("warning", message=f"nothing is logged: {self.log.failure}")

    def _start(self, task: Task, hidden: HiddenTests | None, seed: int | None, run_id: str | None = None) -> Run:
        from crucible.orchestrator.checkpoints import RunRequest
        from crucible.orchestrator.kept import kept
        from crucible.orchestrator.run import Run, new_run_id

        judge = self._given.judge
        task = with_entry_point(prepare(task, judged=JUDGED if judge is None else getattr(judge, "languages", None)))
        if self._bucket is not None:
            self._bucket.take("tools.solves_per_minute")
        given = task.limits.model_dump(include=task.limits.model_fields_set)
        limits = self.settings.sandbox.limits().model_copy(update=given)
        request = RunRequest(
            task=task.model_copy(update={"limits": limits}),
            seed=self.settings.cycles.seed if seed is None else seed,
            strategy=self.settings.cycles.strategy,
            hidden=hidden or HiddenTests(),
            settings=kept(self.settings),
        )
        run_id = run_id or new_run_id()
        with self.log.following(run_id):
            context = self._context(run_id, task)
            run = Run.start(request, self.nodes, context, self.runs, run_id=run_id, listen=self.log.event)
            if kinds := secrets_in(task):
                run.emit("redacted", kinds=kinds)
            self._say_failures(run)
            return run

    def _context(self, run_id: str, task: Task) -> Context:
        """The parts for one run, whose approvals are put on record and whose programs its language's validator checks."""
        from crucible.prompting.recipe import Recipe
        from crucible.security.validator import load_validator

        approver = RecordingApprover(self.context.approver, self.audit, run_id=run_id, task_id=task.id)
        context = replace(
            self.context, approver=approver, validate=load_validator(task.language, self.settings.tools.policy)
        )
        # A maker's recipe opens the answer with a Python script.
        return context if task.language in JUDGED else replace(context, recipe=Recipe())

    # ------------------------------------------------------------- its parts

    @cached_property
    def runs(self) -> RunStore:
        from crucible.orchestrator.checkpoints import RunStore

        return RunStore(self.settings.paths.runs)

    @cached_property
    def audit(self) -> AuditLog:
        return AuditLog(self.settings.paths.audit)

    @cached_property
    def log(self) -> RunLog:
        from crucible.logs import RunLog

        return RunLog(self.settings.paths.logs, self.settings.tools.log_level)

    @cached_property
    def _bucket(self) -> TokenBucket | None:
        from crucible.security.trust.ratelimit import TokenBucket

        rate = self.settings.tools.solves_per_minute
        return TokenBucket(rate) if rate is not None else None

    @cached_property
    def nodes(self) -> dict[str, NodeSpec]:
        from crucible.nodes.registry import load_nodes

        return load_nodes(tuple(self.settings.tools.disabled_nodes), self._given.nodes)

    @cached_property
    def model(self) -> Model:
        if self._given.model is not None:
            return self._given.model
        from crucible.models import load_model

        return load_model(served(self.settings), self.settings.paths)

    @cached_property
    def memory(self) -> EpisodeStore:
        """The episode store: the one given, else LanceDB in Crucible's home."""
        if self._given.memory is not None:
            return self._given.memory
        from crucible.memory import MemoryStore

        return MemoryStore(self.settings.paths.episodes)

    @cached_property
    def judge(self) -> Judge:
        if self._given.judge is not None:
            return self._given.judge
        from crucible.security.judge.judge import SandboxJudge

        return SandboxJudge(self.sandbox, low_trust=self.settings.sandbox.low_trust)

    @cached_property
    def sandbox(self) -> Sandbox:
        """The sandbox given, else one that this machine was observed to hold, its next sandboxes started ahead."""
        if self._given.sandbox is not None:
            return self._given.sandbox
        from crucible.security.sandbox.pool import WarmPool
        from crucible.security.sandbox.probe import select_sandbox

        return WarmPool(select_sandbox(self.settings.sandbox.tier))

    @cached_property
    def approver(self) -> Approver:
        from crucible.security.trust.approval import approver_of

        return self._given.approver or approver_of(self.settings.cycles)

    @cached_property
    def context(self) -> Context:
        from concurrent.futures import ThreadPoolExecutor

        from crucible.languages.python.checks.source import first_error
        from crucible.models.wrappers.syntax import SyntaxModel
        from crucible.nodes.base import Context
        from crucible.security.judge.judge import NoJudge
        from crucible.security.trust.approval import RefusingApprover
        from crucible.security.validator import load_validator

        settings = self.settings
        remembers = settings.tools.memory or settings.tools.dataset_logging
        with ThreadPoolExecutor(2) as pool:  # the sandbox's canary runs while the model loads
            judge = pool.submit(lambda: self.judge)
            if remembers:
                self._warm_memory()
            model = self.model
        gate: tuple[Judge, Approver]
        try:
            gate = judge.result(), self.approver
        except SandboxUnavailableError as error:  # then nothing runs, and what static checks find is still said
            gate = NoJudge(error), RefusingApprover("never", str(error))
        model = guarded(model)
        if settings.model.syntax:
            model = SyntaxModel(model, first_error)
        return Context(
            model=model,
            memory=RedactingStore(self.memory) if remembers else None,
            judge=gate[0],
            validate=load_validator("python", settings.tools.policy),
            approver=gate[1],
            recipe=self._given.recipe or recipe_of(self.settings, self.model.identity.name),
            model_settings=settings.model,
            cycles=settings.cycles,
            tools=settings.tools,
            memory_settings=settings.memory,
            reward_settings=settings.rewards,
            config_hash=settings.hash(),
            strict=self.strict,
        )

    def _warm_memory(self) -> None:
        """Begin loading the text encoder, which takes seconds, if the store has one to load."""
        # Imported before threads share the store: it defines a class that is both a Sequence and a Mapping, and CPython
        # answers a thread that asks isinstance(a string, Mapping) at that very moment with True, then and ever after.
        # LangGraph asks that of all metadata, so that every further run of the process would fail.
        import pyarrow  # noqa: F401

        warm = getattr(self.memory, "warm", None)
        if warm is not None:
            warm()

    def close(self) -> None:
        """Stop the engine and close the stores this object made. A second call does nothing."""
        from crucible.security.sandbox.pool import WarmPool

        made = self.__dict__
        if "model" in made and self._given.model is None:
            made.pop("model").close()
        if "memory" in made and self._given.memory is None:
            made.pop("memory").close()
        if "runs" in made:
            made.pop("runs").close()
        if "log" in made:
            made.pop("log").close()
        made.pop("judge", None)
        pool = made.pop("sandbox", None)
        if isinstance(pool, WarmPool) and self._given.sandbox is None:
            pool.close()
        made.pop("context", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def recipe_of(settings: Settings, name: str) -> Recipe:
    """Return how the model `name` is asked here."""
    from crucible.models.weights.catalogue import catalogue
    from crucible.prompting.recipe import Recipe

    for entry in catalogue():
        if entry.name == name and settings.model.prefill:
            return Recipe(entry.recipe.system, entry.recipe.prefill)
    return Recipe()


def served(settings: Settings) -> ModelSettings:
    """The configured model, under the adapter that a person promoted for it where the settings name none."""
    model, paths = settings.model, settings.paths
    if model.adapter is not None or not paths.finetune.is_dir():
        return model
    from crucible.models import base_sha256

    base = base_sha256(model, paths)
    if base is None:
        return model
    try:
        return model.model_copy(update={"adapter": _promoted(paths, base)})
    except (RefusedError, InputError) as error:
        logger.warning("no promoted adapter is served: %s", error)
        return model


def _promoted(paths: Paths, base_sha256: str) -> str | None:
    """The adapter that was promoted. Raises RefusedError where another lies in its place, InputError where none does."""
    from crucible.finetune.gate.gate import Gate
    from crucible.finetune.store import FinetuneStore
    from crucible.models.weights.adapters import AdapterStore

    promoted = Gate(AuditLog(paths.audit), FinetuneStore(paths.finetune)).promoted(base_sha256)
    if promoted.adapter:
        AdapterStore(paths.adapters).exactly(promoted.adapter, promoted.mark)
    return promoted.adapter or None
