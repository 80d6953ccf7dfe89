"""The contracts of isolation: a sandbox tier that runs programs, and the judge's view of it."""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self, runtime_checkable

from crucible.types import Frozen, Limits, Task, Verdict

Profile = Literal["function", "project"]
Tier = Literal["A", "B"]


class Execution(Frozen):
    """The outcome of one program. stdout and stderr are capped at limits.output_bytes each."""

    status: Literal["ok", "error", "killed", "timeout", "output_limit"]
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    memory_mib: float
    tier: str
    profile: Profile


class SandboxSession(Protocol):
    """One sandbox and the pipe to the guest in it, which does what one order says: serve calls, or run tests."""

    def order(self, mode: str, limits: Limits, **details: Any) -> None:  # noqa: ANN401
        ...

    def send(self, value: Any) -> None:  # noqa: ANN401
        """Raises BrokenPipeError when the sandbox has ended, WireError for what has no plain form."""
        ...

    def receive(self, deadline: float) -> Any:  # noqa: ANN401
        """The next value; `deadline` on time.monotonic. Raises TimeoutError, EOFError, WireError."""
        ...

    def pending(self) -> bool:
        """Return whether the guest said something that nobody has read."""
        ...

    def close(self) -> dict[str, Any]:
        """End it, and return what it used: cpu_s, memory_mib, why it was ended, stderr."""
        ...

    def abandon(self) -> None:
        """End it, whatever it does, and wait until it is gone. No report."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Sandbox(Protocol):
    """An isolating tier. Constructing one proves nothing: `check` observes."""

    @property
    def tier(self) -> str: ...

    @property
    def profile(self) -> Profile: ...

    def open(self, limits: Limits) -> SandboxSession:
        """A fresh sandbox for one candidate."""
        ...

    def run(self, code: str, *, stdin: str = "", limits: Limits | None = None) -> Execution:
        """Run one Python program as `__main__` and wait for it.

        Raises SandboxUnavailableError when no isolating tier works here."""
        ...


class Judge(Protocol):
    """The one definition of "correct", shared by the loop and by every training reward."""

    def judge(self, code: str, task: Task) -> Verdict:
        """Run the task's visible tests and examples against `code`, verdict made outside its process."""
        ...
