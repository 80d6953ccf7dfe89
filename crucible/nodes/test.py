"""test: check every new candidate statically, then, if it may run, let the judge decide.

The verdict is the judge's alone. What a model can learn from it becomes typed Feedback: the failing call,
what was expected, what came.
"""

from __future__ import annotations

from crucible.nodes.base import BaseNode, Context, Update
from crucible.types import Approval, Attempt, CaseResult, Feedback, FindingKind, State, Verdict

_KINDS: dict[str, FindingKind] = {
    "wrong": FindingKind.WRONG_ANSWER,
    "error": FindingKind.RUNTIME,
    "timeout": FindingKind.TIMEOUT,
    "memory": FindingKind.MEMORY,
    "killed": FindingKind.RUNTIME,
    "protocol": FindingKind.SECURITY,
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
                findings = self._static(attempt, context)
                if approval is None and not _blocked(findings):
                    context.emit("approval-needed", attempt_id=attempt.id, code=attempt.code)
                    approval = context.approver.approve(attempt.code, findings)
                    if not approval.granted:
                        context.emit("refused", reason=approval.reason)
                checked = self._judged(attempt, findings, approval, state, context)
                feedback += checked.findings
            done[attempt.id] = checked
            updated.append(checked)
        return {"attempts": updated, "feedback": feedback, "approval": approval}

    def _static(self, attempt: Attempt, context: Context) -> tuple[Feedback, ...]:
        if not attempt.code.strip():
            message = "the answer holds no program"
            return (Feedback(kind=FindingKind.SYNTAX, severity="error", message=message, attempt_id=attempt.id),)
        if not context.tools.static_analysis:
            return ()
        findings = context.validate(attempt.code)
        return tuple(finding.model_copy(update={"attempt_id": attempt.id}) for finding in findings)

    def _judged(
        self,
        attempt: Attempt,
        findings: tuple[Feedback, ...],
        approval: Approval | None,
        state: State,
        context: Context,
    ) -> Attempt:
        context.emit(
            "checked", attempt_id=attempt.id, findings=[finding.model_dump(mode="json") for finding in findings]
        )
        if _blocked(findings) or approval is None or not approval.granted:
            return attempt.model_copy(update={"findings": findings})
        verdict = context.judge.judge(attempt.code, state["task"])
        found = findings + failures(verdict, attempt.id)
        context.emit("verdict", attempt_id=attempt.id, verdict=verdict.model_dump(mode="json"))
        return attempt.model_copy(update={"verdict": verdict, "findings": found})


def _blocked(findings: tuple[Feedback, ...]) -> bool:
    """Code that cannot even be compiled is never started."""
    return any(finding.kind is FindingKind.SYNTAX and finding.severity == "error" for finding in findings)


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
