"""Crucible's Python API and the one place where its parts are put together.

    app = Crucible.from_settings(approve="auto")
    episode = app.solve(Task(prompt="…", tests="assert f(2) == 4"))

Parts are made on first use: a `Crucible` that only searches memory never loads a model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from crucible.errors import InputError
from crucible.types import Episode, Event, HiddenTests, Task

if TYPE_CHECKING:
    from crucible.config import Settings
    from crucible.memory.base import EpisodeStore
    from crucible.models.base import Model
    from crucible.nodes.base import Context
    from crucible.nodes.recipe import Recipe
    from crucible.nodes.registry import NodeSpec
    from crucible.orchestrator.checkpoints import RunStore
    from crucible.orchestrator.run import Run
    from crucible.security.approval import Approver
    from crucible.security.base import Judge, Sandbox

LANGUAGES = ("python",)


@dataclass(frozen=True)
class _Given:
    """Parts the caller brought; None means: make one from the settings."""

    model: Model | None
    memory: EpisodeStore | None
    sandbox: Sandbox | None
    judge: Judge | None
    approver: Approver | None
    recipe: Recipe | None


class Crucible:
    """Solve tasks with a model, a sandbox and a memory. Use as a context manager, or call `close`."""

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
    ) -> None:
        from crucible.config import load_settings

        self.settings = settings or load_settings()
        self._given = _Given(model, memory, sandbox, judge, approver, recipe)

    @classmethod
    def from_settings(
        cls,
        settings: Settings | None = None,
        *,
        approve: Literal["ask", "auto", "never"] | None = None,
        **overrides: dict[str, Any],
    ) -> Self:
        """From files, environment and `overrides` by section: `from_settings(model={"name": "…"})`.

        approve="auto" is your explicit word that generated code may run in the sandbox; without it, and
        without an approver, candidates are only checked statically.
        """
        from crucible.config import load_settings

        if approve is not None:
            overrides["cycles"] = {**overrides.get("cycles", {}), "approve": approve}
        if settings is not None and overrides:
            raise InputError("give either settings or overrides, not both")
        return cls(settings=settings or load_settings(overrides=overrides or None))

    # ------------------------------------------------------------- what it does

    def solve(
        self,
        task: Task,
        *,
        hidden: HiddenTests | None = None,
        seed: int | None = None,
        watch: Callable[[Event], None] | None = None,
    ) -> Episode:
        """Work `task` until its tests pass or the budget is spent; returns the episode, solved or not.

        hidden: cases that only score the finished run. watch: called with every Event.
        Raises InputError for a task that cannot be worked, CancelledError, and the errors of the parts.
        """
        return self._start(task, hidden, seed).finish(watch)

    def stream(self, task: Task, *, hidden: HiddenTests | None = None, seed: int | None = None) -> Iterator[Event]:
        """The events of solving `task`, as they happen. The last, run-finished, holds the episode."""
        yield from self._start(task, hidden, seed)

    def resume(self, run_id: str | None = None, *, watch: Callable[[Event], None] | None = None) -> Episode:
        """Go on with an interrupted run (None: the latest) from its last checkpoint."""
        from crucible.orchestrator.run import Run

        run_id = self.runs.find(run_id).run_id
        return Run.resume(run_id, self.nodes, self.context, self.runs).finish(watch)

    def _start(self, task: Task, hidden: HiddenTests | None, seed: int | None) -> Run:
        from crucible.orchestrator.checkpoints import RunRequest
        from crucible.orchestrator.run import Run

        request = RunRequest(
            task=prepare(task),
            seed=self.settings.cycles.seed if seed is None else seed,
            strategy=self.settings.cycles.strategy,
            hidden=hidden or HiddenTests(),
        )
        return Run.start(request, self.nodes, self.context, self.runs)

    # ------------------------------------------------------------- its parts

    @cached_property
    def runs(self) -> RunStore:
        from crucible.orchestrator.checkpoints import RunStore

        return RunStore(self.settings.paths.runs)

    @cached_property
    def nodes(self) -> dict[str, NodeSpec]:
        from crucible.nodes.registry import load_nodes

        return load_nodes(tuple(self.settings.tools.disabled_nodes))

    @cached_property
    def model(self) -> Model:
        if self._given.model is not None:
            return self._given.model
        from crucible.models import load_model

        return load_model(self.settings.model, cache_dir=self.settings.paths.models, log_dir=self.settings.paths.logs)

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
        from crucible.security.judge import SandboxJudge
        from crucible.security.probe import select_sandbox

        return SandboxJudge(self._given.sandbox or select_sandbox())

    @cached_property
    def approver(self) -> Approver:
        from crucible.security.approval import approver_for

        return self._given.approver or approver_for(self.settings.cycles.approval)

    @cached_property
    def context(self) -> Context:
        from concurrent.futures import ThreadPoolExecutor

        from crucible.nodes.base import Context
        from crucible.security.validator import validate

        settings = self.settings
        remembers = settings.tools.memory or settings.tools.dataset_logging
        with ThreadPoolExecutor(2) as pool:  # the sandbox's canary runs while the model loads
            judge = pool.submit(lambda: self.judge)
            if remembers:
                self._warm_memory()
            model = self.model
        return Context(
            model=model,
            memory=self.memory if remembers else None,
            judge=judge.result(),
            validate=validate,
            approver=self.approver,
            recipe=self._given.recipe or self._recipe(),
            model_settings=settings.model,
            cycles=settings.cycles,
            tools=settings.tools,
            memory_settings=settings.memory,
            config_hash=settings.hash(),
        )

    def _warm_memory(self) -> None:
        """Begin loading the text encoder, which takes seconds, if the store has one to load."""
        warm = getattr(self.memory, "warm", None)
        if warm is not None:
            warm()

    def _recipe(self) -> Recipe:
        from crucible.models.catalogue import catalogue
        from crucible.nodes.recipe import Recipe

        name = self.model.identity.name
        for entry in catalogue():
            if entry.name == name and self.settings.model.prefill:
                return Recipe(entry.recipe.system, entry.recipe.prefill)
        return Recipe()

    def close(self) -> None:
        """Stop the engine and close the stores this object made. A second call does nothing."""
        made = self.__dict__
        if "model" in made and self._given.model is None:
            made.pop("model").close()
        if "memory" in made and self._given.memory is None:
            made.pop("memory").close()
        if "runs" in made:
            made.pop("runs").close()
        made.pop("context", None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def prepare(task: Task) -> Task:
    """`task` with what can be read off it filled in. Raises InputError for what cannot be worked."""
    import hashlib

    from crucible.security.suite import parse_suite

    if not task.prompt.strip():
        raise InputError("the task is empty: say what the program should do")
    if task.language not in LANGUAGES:
        raise InputError(f"unknown language {task.language!r}; Crucible writes: {', '.join(LANGUAGES)}")
    suite = parse_suite(task)
    task_id = task.id or hashlib.sha256(task.prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return task.model_copy(update={"id": task_id, "entry_point": task.entry_point or suite.entry_point})
