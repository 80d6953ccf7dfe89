"""One run: Task → Events → Episode. The graph works in a thread of its own; whoever iterates gets its events.

Ctrl-C therefore reaches the iterating thread at once: the run is told to stop, the model's requests are
cancelled, and the last checkpoint stays for `resume`.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from crucible.errors import CancelledError, CrucibleError, InputError, StoreError
from crucible.nodes.base import Context
from crucible.nodes.learn import remember
from crucible.nodes.policy import STRATEGIES
from crucible.nodes.registry import NodeSpec
from crucible.orchestrator.checkpoints import RunRequest, RunStore
from crucible.orchestrator.graph import build
from crucible.rewards import RewardInput, tests
from crucible.security.judge.visible import visible
from crucible.types import Attempt, Episode, Event, HiddenTests, State, Task, Verdict

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.sqlite import SqliteSaver

JOIN_S = 5.0
"""How long a cancelled run may take to put things in order before it is left behind."""

STEPS_PER_CYCLE = 16
"""Bound on LangGraph's super-steps a cycle: the loop's three and room for plugins; more where more nodes are there."""


class Run:
    """A run that can be iterated once: `for event in run: …`, then `run.episode`."""

    def __init__(
        self,
        run_id: str,
        specs: Mapping[str, NodeSpec],
        context: Context,
        store: RunStore,
        listen: Callable[[Event], None] | None = None,
    ) -> None:
        """listen: called with every event when it happens, in the thread it happens in."""
        self.run_id = run_id
        self._listen = listen
        self.episode: Episode | None = None
        self._cancel = threading.Event()
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._context = replace(context, emit=self.emit, cancel=self._cancel)
        self._specs = specs
        self._store = store
        self._failure: BaseException | None = None
        self._warnings: list[str] = []

    @classmethod
    def start(
        cls,
        request: RunRequest,
        specs: Mapping[str, NodeSpec],
        context: Context,
        store: RunStore,
        *,
        run_id: str | None = None,
        listen: Callable[[Event], None] | None = None,
    ) -> Run:
        """A new run. run_id: from `new_run_id`, default a new one. Raises InputError for an empty task or an unknown
        strategy."""
        if not request.task.prompt.strip():
            raise InputError("the task is empty: say what the program should do")
        if request.strategy not in STRATEGIES:
            raise InputError(f"unknown strategy {request.strategy!r}; there are: {', '.join(STRATEGIES)}")
        run_id = run_id or new_run_id()
        store.start(run_id, request, context.model.identity.name)
        return cls(run_id, specs, context, store, listen)

    @classmethod
    def resume(
        cls,
        run_id: str,
        specs: Mapping[str, NodeSpec],
        context: Context,
        store: RunStore,
        *,
        listen: Callable[[Event], None] | None = None,
        finished_too: bool = False,
    ) -> Run:
        """Go on from the last checkpoint of an interrupted run. Raises InputError if it is finished, unless `finished_too`:
        then its episode is taken from there, and only its hidden tests are judged again."""
        record = store.find(run_id)
        if record.state == "finished" and not finished_too:
            raise InputError(f"run {record.run_id} is finished ({record.status}); there is nothing to resume")
        return cls(record.run_id, specs, context, store, listen)

    def __iter__(self) -> Iterator[Event]:
        """Work the run and yield its events. Leaving early, or Ctrl-C, cancels it; it stays resumable."""
        with self._store.lock(self.run_id):
            self._store.update(self.run_id, "running")
            worker = threading.Thread(target=self._work, name=f"run-{self.run_id}", daemon=True)
            worker.start()
            try:
                while (event := self._events.get()) is not None:
                    yield event
            except BaseException:
                self._cancel.set()
                worker.join(JOIN_S)
                with suppress(StoreError):  # a run whose process is gone shows as interrupted anyway
                    self._store.update(self.run_id, "interrupted")
                raise
            worker.join()
            self._close()

    def finish(self, watch: Callable[[Event], None] | None = None) -> Episode:
        """Work the run to its end and return its episode; `watch` is called with every event."""
        for event in self:
            if watch is not None:
                watch(event)
        if self.episode is None:
            raise CrucibleError(f"run {self.run_id} ended without an episode")
        return self.episode

    def emit(self, kind: str, /, **data: Any) -> None:  # noqa: ANN401
        """Put an event on the run's stream; thread-safe."""
        event = Event(kind=kind, run_id=self.run_id, data=data)
        if kind == "warning":
            self._warnings.append(str(data.get("message", "")))
        if self._listen is not None:
            self._listen(event)
        self._events.put(event)

    def _close(self) -> None:
        if self._failure is not None:
            cancelled = isinstance(self._failure, CancelledError)
            with suppress(StoreError):  # what failed is worth more than that this could not be noted
                self._store.update(self.run_id, "interrupted" if cancelled else "failed")
            raise self._failure
        try:
            self._store.update(self.run_id, "finished", self.episode.status if self.episode else None)
        except StoreError as error:
            self._warnings.append(f"the run does not show as finished: {error}")
        if self.episode is not None:
            self.episode = self.episode.model_copy(update={"warnings": tuple(dict.fromkeys(self._warnings))})

    def _work(self) -> None:
        try:
            self._graph()
        except BaseException as error:  # carried to the iterating thread, which raises it
            self._failure = _as_crucible(error, self._store)
        finally:
            self._events.put(None)

    def _graph(self) -> None:
        request = self._store.request(self.run_id)
        saved = saved_state(self._store.saver, self.run_id)
        context = replace(self._context, spent_before_s=saved.get("spent_s", 0.0), run_began=self._context.clock())
        graph = build(self._specs, context, self._store.saver)
        config: RunnableConfig = {
            "configurable": {"thread_id": self.run_id},
            "recursion_limit": max(STEPS_PER_CYCLE, len(self._specs) + 1) * (context.cycles.max_cycles + 1),
        }
        self.emit(
            "run-started",
            resumed=bool(saved),
            model=context.model.identity.model_dump(),
            task=request.task.model_dump(mode="json"),
            **visible(request.task)._asdict(),
        )
        first = State(run_id=self.run_id, task=request.task, seed=request.seed, strategy=request.strategy)
        final: State = saved
        # None goes on from the checkpoint. "sync": a checkpoint is on disk before the next node starts, so a
        # SIGKILL costs one node's work at most.
        for values in graph.stream(None if saved else first, config, stream_mode="values", durability="sync"):
            final = cast(State, values)
        episode = final.get("episode")
        if episode is not None:
            self.episode = _score(episode, request.hidden, context)
            if lost := self._store.lost(self.run_id):
                self.emit(
                    "warning",
                    message=f"the run could not have been resumed: no checkpoint at {self._store.path}: {lost}",
                )
            self.episode = self.episode.model_copy(update={"warnings": tuple(dict.fromkeys(self._warnings))})
            self.emit("run-finished", episode=self.episode.model_dump(mode="json"))


def new_run_id() -> str:
    return uuid.uuid4().hex[:12]


def _score(episode: Episode, hidden: HiddenTests, context: Context) -> Episode:
    """The episode with the verdict of the hidden cases, which no node has seen, added here and in memory.

    What is remembered is learned from: there every program that passed the visible cases has that verdict."""
    if not hidden or episode.verdict is None:  # what was not let run before is not let run now
        return episode
    task = hidden.task(episode.task)
    verdict = context.judge.judge(episode.code, task)
    proven = tests(RewardInput(code=episode.code, verdict=verdict), context.reward_settings)
    rewards = {**episode.rewards, "hidden_tests": proven}
    status = episode.status
    if status == "unverified":  # nothing but the hidden tests decides
        status = "solved" if verdict.verdict == "pass" else "unsolved"
    episode = episode.model_copy(update={"hidden_verdict": verdict, "rewards": rewards, "status": status})
    if context.memory is not None and context.tools.dataset_logging:
        known = {each.fingerprint: verdict for each in episode.attempts if each.id == episode.best_attempt}
        attempts = tuple(_proved(each, known, task, context) for each in episode.attempts)
        episode = episode.model_copy(update={"attempts": attempts})
        remember(episode, context)
    return episode


def _proved(attempt: Attempt, known: dict[str, Verdict], task: Task, context: Context) -> Attempt:
    """known: the hidden verdicts of programs judged already, by fingerprint; another's is added."""
    if not attempt.solved:
        return attempt
    if attempt.fingerprint not in known:
        known[attempt.fingerprint] = context.judge.judge(attempt.code, task)
    return attempt.model_copy(update={"hidden_verdict": known[attempt.fingerprint]})


def saved_state(saver: SqliteSaver, run_id: str) -> State:
    """The State of the run's last checkpoint; empty if it has none."""
    saved = saver.get_tuple({"configurable": {"thread_id": run_id}})
    return cast(State, saved.checkpoint["channel_values"] if saved else {})


def _as_crucible(error: BaseException, store: RunStore) -> BaseException:
    if isinstance(error, sqlite3.DatabaseError):
        translated = StoreError(f"run store {store.path}: {error}; free some space or set CRUCIBLE_HOME")
        translated.__cause__ = error
        return translated
    return error
