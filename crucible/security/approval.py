"""The gate before execution: who lets generated code run, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from crucible.types import Approval, Feedback

Mode = Literal["ask", "auto", "never"]


class Approver(Protocol):
    """Asked once a run, before its first candidate is executed."""

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval: ...


class AutoApprover:
    """The user gave their word beforehand."""

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        return Approval(granted=True, mode="auto", reason="approved beforehand (approve: auto)")


class RefusingApprover:
    """Static checks only; `reason` says why."""

    def __init__(self, mode: Mode, reason: str) -> None:
        self._mode, self._reason = mode, reason

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        return Approval(granted=False, mode=self._mode, reason=self._reason)


class AskingApprover:
    """Puts the question to somebody."""

    def __init__(self, ask: Callable[[str, tuple[Feedback, ...]], bool]) -> None:
        self._ask = ask

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        granted = self._ask(code, findings)
        return Approval(granted=granted, mode="ask", reason="approved by the user" if granted else "the user said no")


def approver_for(mode: Mode, ask: Callable[[str, tuple[Feedback, ...]], bool] | None = None) -> Approver:
    """The approver a policy means. ask: how to put the question; None where there is nobody to ask."""
    if mode == "auto":
        return AutoApprover()
    if mode == "never":
        return RefusingApprover("never", "execution is switched off (approve: never)")
    if ask is None:
        return RefusingApprover("ask", "there is no terminal to ask at; --approve auto is your explicit word")
    return AskingApprover(ask)
