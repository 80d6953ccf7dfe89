"""The gate before execution: who lets generated code run, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from crucible.config import CyclesSettings
from crucible.types import Approval, Feedback, FindingKind

Mode = Literal["ask", "auto", "never"]
Extent = Literal["none", "warning", "error"]
EXTENTS: tuple[Extent, ...] = ("none", "warning", "error")


class Approver(Protocol):
    """Asked before the first candidate of a run is executed, and before one with findings beyond what was approved."""

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


class GradedApprover:
    """Asks one approver about candidates without findings that need a yes, another about those with."""

    def __init__(self, plain: Approver, grave: Approver, cycles: CyclesSettings) -> None:
        self._plain, self._grave, self._cycles = plain, grave, cycles

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        approver = self._plain if extent(findings, self._cycles) == "none" else self._grave
        return approver.approve(code, findings)


def extent(findings: tuple[Feedback, ...], cycles: CyclesSettings) -> Extent:
    """Up to which severity `findings` need the yes of somebody asked. An approval given beforehand covers the others."""
    asked = [_severity(found) for found in findings if found.action == "ask"]
    return max((s for s in asked if cycles.approval_of(s) == "ask"), key=EXTENTS.index, default="none")


def exceeds(one: Extent, other: Extent) -> bool:
    return EXTENTS.index(one) > EXTENTS.index(other)


def barred(findings: tuple[Feedback, ...]) -> bool:
    """Return whether no approval can let a candidate run: it cannot be compiled, or the policy denies it."""
    return any(
        found.action == "deny" or (found.kind is FindingKind.SYNTAX and found.severity == "error") for found in findings
    )


def refusal(findings: tuple[Feedback, ...], cycles: CyclesSettings) -> str | None:
    """Return why the settings let nobody approve of `findings`; None if they do."""
    asked = [_severity(found) for found in findings if found.action == "ask"]
    never = next((severity for severity in asked if cycles.approval_of(severity) == "never"), None)
    if never is None or cycles.approval == "never":
        return None
    return f"cycles.approve_findings lets nothing with such a {never} run"


def _severity(found: Feedback) -> Literal["warning", "error"]:
    return "error" if found.severity == "error" else "warning"


def approver_of(cycles: CyclesSettings, somebody: Approver | None = None) -> Approver:
    """The approver that the settings mean. somebody: who answers questions; None where there is nobody to ask."""
    answers = somebody or approver_for("ask")
    plain = answers if cycles.approval == "ask" else approver_for(cycles.approval)
    return GradedApprover(plain, answers, cycles)


def approver_for(mode: Mode, ask: Callable[[str, tuple[Feedback, ...]], bool] | None = None) -> Approver:
    """The approver a policy means. ask: how to put the question; None where there is nobody to ask."""
    if mode == "auto":
        return AutoApprover()
    if mode == "never":
        return RefusingApprover("never", "execution is switched off (approve: never)")
    if ask is None:
        return RefusingApprover("ask", "there is no terminal to ask at; --approve auto is your explicit word")
    return AskingApprover(ask)
