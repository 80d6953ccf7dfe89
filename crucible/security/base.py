"""The contracts of isolation: a sandbox tier that runs programs, and the judge's view of it."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from crucible.types import Frozen, Limits, Task, Verdict

Profile = Literal["function", "project"]


class Execution(Frozen):
    """What became of one program. stdout and stderr are capped at limits.output_bytes each."""

    status: Literal["ok", "error", "killed", "timeout", "output_limit"]
    exit_code: int | None
    stdout: str
    stderr: str
    wall_s: float
    cpu_s: float
    memory_mib: float
    tier: str
    profile: Profile


@runtime_checkable
class Sandbox(Protocol):
    """An isolating tier. Constructing one proves nothing: `check` observes."""

    @property
    def tier(self) -> str: ...

    def run(self, code: str, *, stdin: str = "", limits: Limits | None = None) -> Execution:
        """Run one Python program as `__main__` and wait for it.

        Raises SandboxUnavailableError when no isolating tier works here."""
        ...


class Judge(Protocol):
    """The one definition of "correct", shared by the loop and by every training reward."""

    def judge(self, code: str, task: Task) -> Verdict:
        """Run the task's visible tests and examples against `code`, verdict made outside its process."""
        ...
