"""test: check every new candidate statically, then, if it may run, let the judge decide.

Whether it may is asked once a run, and again for a candidate with findings worse than what was approved; a no to the
second question holds back such candidates only. The verdict is the judge's alone. What a model can learn from it becomes
typed Feedback: the failing call, what was expected, what came.
"""

from __future__ import annotations

from crucible.errors import StoreError
from crucible.nodes.base import BaseNode, Context, Update
from crucible.security.trust.approval import Extent, barred, exceeds, extent, refusal
from crucible.text import is_broken, mended
from crucible.types import Approval, Attempt, CaseResult, Feedback, FindingKind, State, Task, Verdict

_KINDS: dict[str, FindingKind] = {
    "wrong": FindingKind.WRONG_ANSWER,
    "error": FindingKind.RUNTIME,
    "timeout": FindingKind.TIMEOUT,
    "memory": FindingKind.MEMORY,
    "killed": FindingKind.RUNTIME,
    "protocol": FindingKind.SECURITY,
    "constraint": FindingKind.CONSTRAINT,
}


class Test(BaseNode):
    name = "test"
    __test__ = False  # not a test case, whatever pytest thinks of the name

    def run(self, state: State, context: Context) -> Update:
        done = {attempt.id: attempt for attempt in state.get("attempts", [])}
        approval = state.get("approval")
        feedback: list[Feedback] = []
        updated: list[Attempt] = []
        for attempt in list(done.values()):
            if attempt.cycle != state["cycle"] or attempt.verdict is not None:
                continue
            context.check_cancelled()
            original = done.get(attempt.duplicate_of or "")
            if original is not None:
                checked = attempt.model_copy(update={"verdict": original.verdict, "findings": original.findings})
            else:
                findings = self._static(attempt, state["task"], context)
                may_run = False
                if not barred(findings):
                    approval, why_not = self._approval(attempt, findings, approval, context)
                    may_run = approval is not None and approval.granted and why_not is None
                    findings += (_held_back(why_not, attempt.id),) if why_not else ()
                checked = self._judged(attempt, findings, may_run, state, context)
                feedback += checked.findings
            done[attempt.id] = checked
            updated.append(checked)
        return {"attempts": updated, "feedback": feedback, "approval": approval}

    def _static(self, attempt: Attempt, task: Task, context: Context) -> tuple[Feedback, ...]:
        if not attempt.code.strip():
            message = "the answer holds no program"
            return (Feedback(kind=FindingKind.SYNTAX, severity="error", message=message, attempt_id=attempt.id),)
        return tuple(
            finding.model_copy(update={"attempt_id": attempt.id})
            for finding in context.validate(attempt.code)
            if (context.tools.static_analysis or _gates(finding)) and not _given(finding, task)
        )

    def _approval(
        self, attempt: Attempt, findings: tuple[Feedback, ...], approval: Approval | None, context: Context
    ) -> tuple[Approval | None, str | None]:
        """The run's approval, after the questions that this candidate raises, and what yet holds this one back."""
        if why_not := refusal(findings, context.cycles):
            return approval, why_not
        needed = extent(findings, context.cycles)
        if approval is None:
            first = needed if context.cycles.approval == "ask" else "none"
            approval = self._ask(attempt, findings if first == needed else (), first, context)
        if approval.granted and exceeds(needed, approval.asked):
            answer = self._ask(attempt, findings, needed, context)
            approval = answer if answer.granted else approval.model_copy(update={"asked": needed})
        unapproved = approval.granted and exceeds(needed, approval.covers)
        return approval, "nobody approved of what the static checks found" if unapproved else None

    def _ask(self, attempt: Attempt, findings: tuple[Feedback, ...], needed: Extent, context: Context) -> Approval:
        mode = context.cycles.approval if needed == "none" else "ask"
        shown = [finding.model_dump(mode="json") for finding in findings if finding.action == "ask"]
        context.emit("approval-needed", attempt_id=attempt.id, code=attempt.code, mode=mode, findings=shown)
        try:
            answer = context.approver.approve(attempt.code, findings)
        except StoreError as error:  # what is not on record does not run; the program is still handed over
            answer = Approval(granted=False, mode=mode, reason=str(error))
        if not answer.granted:
            context.emit("refused", reason=answer.reason)
        return answer.model_copy(update={"asked": needed, "covers": needed if answer.granted else "none"})

    def _judged(
        self,
        attempt: Attempt,
        findings: tuple[Feedback, ...],
        may_run: bool,
        state: State,
        context: Context,
    ) -> Attempt:
        context.emit(
            "checked", attempt_id=attempt.id, findings=[finding.model_dump(mode="json") for finding in findings]
        )
        if not may_run:
            return attempt.model_copy(update={"findings": findings})
        verdict = context.judge.judge(attempt.code, state["task"])
        if is_broken(verdict.model_dump()):  # a program's words can hold half a surrogate pair, which no store takes
            verdict = Verdict.model_validate(mended(verdict.model_dump()))
        found = findings + failures(verdict, attempt.id)
        context.emit("verdict", attempt_id=attempt.id, verdict=verdict.model_dump(mode="json"))
        return attempt.model_copy(update={"verdict": verdict, "findings": found})


def _given(finding: Feedback, task: Task) -> bool:
    """Whether a name that the linter misses may be one of the task's preamble."""
    return finding.rule == "F821" and bool(task.preamble)


def _gates(finding: Feedback) -> bool:
    """Whether a finding decides if the candidate runs: such are found whatever is switched off."""
    return finding.action != "allow" or (finding.kind is FindingKind.SYNTAX and finding.severity == "error")


def _held_back(reason: str, attempt_id: str) -> Feedback:
    return Feedback(
        kind=FindingKind.SECURITY, severity="error", message=f"not run: {reason}", attempt_id=attempt_id, action="deny"
    )


def failures(verdict: Verdict, attempt_id: str) -> tuple[Feedback, ...]:
    """One Feedback per distinct failing case, in order; skipped cases say nothing."""
    found: dict[tuple[str, str], Feedback] = {}
    for case in verdict.cases:
        if case.status in _KINDS:
            feedback = _feedback(case, attempt_id)
            found.setdefault((feedback.message, feedback.call or ""), feedback)
    if verdict.verdict == "fail" and verdict.total and not found:
        reason = Feedback(kind=FindingKind.RUNTIME, severity="error", message=verdict.reason, attempt_id=attempt_id)
        return (reason,)
    return tuple(found.values())


def _feedback(case: CaseResult, attempt_id: str) -> Feedback:
    default = "wrong answer" if case.status == "wrong" else case.status
    return Feedback(
        kind=_KINDS[case.status],
        severity="error",
        message=case.message or default,
        attempt_id=attempt_id,
        call=case.call,
        expected=case.expected,
        actual=case.actual,
    )
