"""What a node is, and what it is given.

A node is a class with a `name` and a `run`. A program hands its class to `Crucible(nodes=[Mine])`; a package registers it,
as the built-in four are, by an entry point in the group `crucible.nodes`. Either says where it runs: `after` a node (before
the graph decides where to go next), `before` one, or `instead_of` one. `examples/crucible-complexity` is a whole plugin.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from crucible.errors import CancelledError
from crucible.prompting.recipe import Recipe
from crucible.types import Feedback, State

if TYPE_CHECKING:
    from crucible.config import CyclesSettings, MemorySettings, ModelSettings, RewardSettings, ToolsSettings
    from crucible.memory.base import EpisodeStore
    from crucible.models.base import Model
    from crucible.security.base import Judge
    from crucible.security.trust.approval import Approver

Update = Mapping[str, Any]
"""The State keys a node changes."""


def _silent(kind: str, /, **data: Any) -> None:  # noqa: ANN401
    """Default for `Context.emit`: nobody listens."""


@dataclass(frozen=True)
class Context:
    """The parts a node may use. Nothing else reaches it: no globals, no environment, no hidden tests."""

    model: Model
    memory: EpisodeStore | None
    judge: Judge
    validate: Callable[[str], tuple[Feedback, ...]]
    approver: Approver
    recipe: Recipe
    model_settings: ModelSettings
    cycles: CyclesSettings
    tools: ToolsSettings
    memory_settings: MemorySettings
    reward_settings: RewardSettings
    config_hash: str
    emit: Callable[..., None] = _silent
    """emit(kind, **data): tell whoever watches the run; thread-safe."""
    cancel: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.monotonic
    run_began: float = field(default_factory=time.monotonic)
    """When this process took the run up, on `clock`."""
    spent_before_s: float = 0.0
    """Wall seconds the run had used when it was taken up."""
    strict: bool = False
    """Whether memory and diagnosis must work, as where runs are measured, or may fail with a warning."""

    def spent_s(self) -> float:
        """Wall seconds of the run so far, summed over resumes; pauses between them do not count."""
        return self.spent_before_s + self.clock() - self.run_began

    def remaining_s(self) -> float:
        """Wall seconds left of `cycles.max_wall_s`; never below a second, so that a node can finish."""
        return max(1.0, self.cycles.max_wall_s - self.spent_s())

    @contextmanager
    def optional(self, what: str) -> Iterator[None]:
        """Do in the block what the result does not need: a failure there is a warning, and the run goes on.

        what: the consequence, as the warning begins. Where `strict`, the failure is raised."""
        try:
            yield
        except CancelledError:
            raise
        except Exception as error:  # whatever a store or an engine raises: the program is worth more
            if self.strict:
                raise
            self.emit("warning", message=f"{what}: {error}")

    def check_cancelled(self) -> None:
        if self.cancel.is_set():
            raise CancelledError("interrupted")


class BaseNode(ABC):
    """One step of the graph. Instances are made once per graph and must keep no state between runs."""

    name: ClassVar[str]
    after: ClassVar[str | None] = None
    """The node it runs directly after."""
    before: ClassVar[str | None] = None
    """The node it runs directly before."""
    instead_of: ClassVar[str | None] = None
    """The node whose place it takes."""

    @abstractmethod
    def run(self, state: State, context: Context) -> Update | Awaitable[Update | None] | None:
        """Return the State keys that change; None for none. Raise a CrucibleError to end the run (it stays resumable)."""
