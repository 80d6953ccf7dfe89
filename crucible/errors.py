"""Every error Crucible raises on purpose.

    CrucibleError                     exit  what it means
    ├── InputError                    2     the user's task, file, option or setting is wrong
    │   └── ConfigError               2     … in the settings (file, line and key are named)
    ├── MissingPartError              3     something is not installed, not reachable or not there
    │   ├── ModelUnavailableError     3     … a model file or engine
    │   └── SandboxUnavailableError   3     … an isolating sandbox tier
    ├── RefusedError                  3     a gate said no (approval, policy)
    │   ├── RateLimitedError          3     … too many solves a minute; `retry_after_s` says when to try again
    │   └── NotYetError               3     … it is too early; what is missing is said
    ├── EngineError                   3     the model engine failed while working
    │   ├── EngineCrashedError        3     … its process died, and again after one restart
    │   ├── EngineTimeoutError        3     … no answer inside the deadline
    │   └── ContextOverflowError      3     … the prompt is longer than the model's context
    ├── StoreError                    3     a store cannot be read or written (disk full, read-only, damaged)
    ├── OutputError                   3     standard output cannot be written (closed, full)
    └── CancelledError                130   the user interrupted; the run can be resumed

A failing candidate program is not an error: it is data, in a Verdict or a Feedback.
Messages are one line and say what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class CrucibleError(Exception):
    """Root of the tree. `exit_code` is what the command line returns for it."""

    exit_code = 3
    transient_s: float | None = None
    """Where trying again may help: seconds to wait before, at least. None: it would fail again."""


class InputError(CrucibleError):
    exit_code = 2


class ConfigError(InputError):
    """A setting is unknown, mistyped or out of range."""


class MissingPartError(CrucibleError):
    """Something Crucible needs is not installed or not reachable."""


class ModelUnavailableError(MissingPartError):
    """No such model file, wrong hash, truncated file, or the engine cannot start with it."""


class SandboxUnavailableError(MissingPartError):
    """No isolating tier works here. There is no unsafe fall-back."""


class RefusedError(CrucibleError):
    """A safety gate refused."""


class RateLimitedError(RefusedError):
    """Too much was asked for in too short a time. retry_after_s: seconds after which to try again."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotYetError(RefusedError):
    """Nothing is wrong: what was asked for is not due."""


class EngineError(CrucibleError):
    """The engine failed while generating."""


class EngineCrashedError(EngineError):
    """The engine's process died, was restarted once, and died again."""


class EngineTimeoutError(EngineError):
    """No answer inside the deadline."""


class ContextOverflowError(EngineError):
    """Prompt plus requested completion do not fit the model's context window."""


class StoreError(CrucibleError):
    """A store cannot be opened, read or written."""


class OutputError(CrucibleError):
    """Standard output cannot be written."""


class CancelledError(CrucibleError):
    """Interrupted by the user."""

    exit_code = 130
