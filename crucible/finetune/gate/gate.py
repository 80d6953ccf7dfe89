"""The human gate. What was decided is read from the audit log and from nowhere else; files can only fail to agree with it.

    proposed → approved | rejected → trained → evaluated → promoted → (rolled back)

Every decision names the SHA-256 of what it was made on. A proposal that was changed after its approval is not approved; an
evaluation that was changed after it was recorded promotes nothing. Where the log does not verify, nothing is trained and
no adapter counts as promoted. What the log cannot prove is said in `security.audit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from crucible.errors import InputError, RefusedError, StoreError
from crucible.finetune.data.dataset import Dataset
from crucible.finetune.gate.consent import asked
from crucible.finetune.records import Evaluation, Measured, Proposal, Trained
from crucible.finetune.store import FinetuneStore
from crucible.security.trust.audit import AuditLog
from crucible.types import Frozen

State = Literal["proposed", "approved", "rejected", "trained", "evaluated", "promoted", "replaced", "rolled back"]
PROPOSED, APPROVED, REJECTED = "finetune-proposed", "finetune-approved", "finetune-rejected"
TRAINED, EVALUATED = "finetune-trained", "finetune-evaluated"
PROMOTED, ROLLED_BACK = "finetune-promoted", "finetune-rolled-back"
EVENTS = (PROPOSED, APPROVED, REJECTED, TRAINED, EVALUATED, PROMOTED, ROLLED_BACK)
LOCK_TIMEOUT_S = 10.0


class Budget(Frozen):
    """The least an evaluation must have measured, and how much worse an adapter may be and still be promoted."""

    greedy: float = 0.0
    """Points of greedy pass@1, as a share, that it may lose."""
    pass_at_k: float = 0.02
    findings: int = 0
    """Programs more that the policy would not let run unasked."""
    k: int = 8
    sampled: int = 30
    """Problems that pass@k is measured on; all of them where there are fewer."""


BUDGET = Budget()
"""The same for everybody: a looser one would be a way around the gate."""


class Promotion(Frozen):
    """The adapter that serves a model, its digest, and the fine-tuning that made it. All empty: the model itself."""

    adapter: str = ""
    mark: str = ""
    proposal: str = ""


class Approved(NamedTuple):
    """The proposal that was agreed to, as it was read when that was checked."""

    proposal: Proposal
    sha256: str
    dataset: Dataset


class Gate:
    """Decisions on the fine-tunings in `store`, in the log `audit`."""

    def __init__(self, audit: AuditLog, store: FinetuneStore) -> None:
        self._audit, self._store = audit, store

    # ------------------------------------------------------------- what was decided

    def state(self, id_: str) -> State:
        """Return where the fine-tuning stands. Raises RefusedError where the log cannot be relied on."""
        proposal, _ = self._store.proposal(id_)
        records = self._records()
        mine = [record["event"] for record in records if record["subject"].get("proposal") == id_]
        if PROMOTED in mine:
            line = self._line(proposal.base_sha256, records)
            if line and line[-1].proposal == id_:
                return "promoted"
            return "replaced" if any(each.proposal == id_ for each in line) else "rolled back"
        for event, state in _STATES.items():
            if event in mine:
                return state
        return "proposed"

    def promoted(self, base_sha256: str) -> Promotion:
        """Return what serves the model. Raises RefusedError where the log cannot be relied on."""
        line = self._line(base_sha256, self._records())
        return line[-1] if line else Promotion()

    def ids(self) -> set[str]:
        """Return the ids of all fine-tunings that were ever proposed."""
        return {str(record["subject"]["proposal"]) for record in self._records()}

    def serving(self) -> set[str]:
        """The adapters, of whatever model, that serve or would after rollbacks."""
        records = self._records()
        bases = {str(record["details"]["base_sha256"]) for record in records if record["event"] == PROMOTED}
        return {each.adapter for base in bases for each in self._line(base, records)}

    # ------------------------------------------------------------- deciding

    def propose(self, id_: str) -> None:
        proposal, sha256 = self._store.proposal(id_)
        self._append(PROPOSED, id_, sha256=sha256, method=proposal.method, base=proposal.base)

    def approve(self, id_: str) -> bool:
        """Asks the person at the terminal; whether they agreed. Raises RefusedError, InputError."""
        self._in_state(id_, "proposed")
        proposal, sha256 = self._store.proposal(id_)
        self._store.dataset(proposal)  # what is approved must be what lies there
        if self._logged(id_, PROPOSED).get("sha256") != sha256:
            raise RefusedError(f"{id_} is not what was proposed; make a new proposal")
        if not asked(question(proposal, sha256), id_):
            return False
        with self._locked():
            self._in_state(id_, "proposed")
            self._append(APPROVED, id_, sha256=sha256)
        return True

    def reject(self, id_: str, reason: str) -> None:
        """Needs no terminal: nothing comes of it."""
        _, sha256 = self._store.proposal(id_)
        self._in_state(id_, "proposed", "approved")
        self._append(REJECTED, id_, sha256=sha256, reason=reason[:500])

    def approved(self, id_: str) -> Approved:
        """Return what is to be trained. Raises RefusedError unless these very bytes were approved, and not rejected."""
        proposal, sha256 = self._store.proposal(id_)
        if not (yes := self._logged(id_, APPROVED)):
            raise RefusedError(f"{id_} is not approved; a person can do that with: crucible finetune approve {id_}")
        if self._logged(id_, REJECTED):
            raise RefusedError(f"{id_} was rejected; make a new proposal")
        if yes.get("sha256") != sha256:
            raise RefusedError(f"{id_} was changed after it was approved; make a new proposal")
        return Approved(proposal, sha256, self._store.dataset(proposal))

    def trained(self, id_: str, record: Trained) -> None:
        self.approved(id_)
        sha256 = self._store.write(id_, record)
        self._append(TRAINED, id_, sha256=sha256, adapter=record.adapter, mark=record.mark)

    def result(self, id_: str) -> Trained:
        """Return what the training made, as it was logged. Raises RefusedError where there is none, or it was changed."""
        found: Trained = self._result(id_, TRAINED, self._store.trained(id_))
        return found

    def evaluated(self, id_: str, record: Evaluation) -> None:
        self.result(id_)
        sha256 = self._store.write(id_, record)
        self._append(EVALUATED, id_, sha256=sha256, adapter=record.adapter, passed=record.passed)

    def promote(self, id_: str, check: Callable[[Proposal, Trained], None] = lambda *_: None) -> bool:
        """Asks for the second yes; whether it was given. Raises RefusedError where the evaluation does not allow it.

        check: raises where it cannot serve; asked before the question, and again after the yes."""
        proposal, trained, before = found = self._promotable(id_)
        check(proposal, trained)
        said = f"Serve {proposal.base} with {trained.adapter}, in place of {before.adapter or 'the model itself'}, from now on?"
        if not asked(said, id_):
            return False
        with self._locked():
            if self._promotable(id_) != found:
                raise RefusedError(f"something else was decided while {id_} was waiting for you; look at it again")
            check(proposal, trained)
            self._append(
                PROMOTED,
                id_,
                base_sha256=proposal.base_sha256,
                adapter=trained.adapter,
                mark=trained.mark,
                before=before.adapter,
            )
        return True

    def roll_back(self, base_sha256: str, id_: str | None = None) -> tuple[Promotion, Promotion]:
        """Put back at once what served the model before. Returns (what was undone, what serves now).

        id_: the fine-tuning to undo; it must be the one that serves. Raises InputError where that, or anything, is not."""
        with self._locked():
            line = self._line(base_sha256, self._records())
            if not line:
                raise InputError("nothing is promoted: the model itself is served")
            now, before = line[-1], line[-2] if len(line) > 1 else Promotion()
            if id_ is not None and now.proposal != id_:
                raise InputError(f"{id_} does not serve; {now.proposal} does, with {now.adapter}")
            self._append(ROLLED_BACK, now.proposal, base_sha256=base_sha256, adapter=now.adapter, to=before.adapter)
        return now, before

    # ------------------------------------------------------------- the log

    def _promotable(self, id_: str) -> tuple[Proposal, Trained, Promotion]:
        """The fine-tuning and what it would replace. Raises RefusedError where it may not be promoted."""
        self._in_state(id_, "evaluated", "replaced", "rolled back")
        proposal = self.approved(id_).proposal
        trained = self.result(id_)
        evaluation: Evaluation = self._result(id_, EVALUATED, self._store.evaluation(id_))
        before = self.promoted(proposal.base_sha256)
        passed, reasons = decide(evaluation.measured, evaluation.safety_before, evaluation.safety_after)
        if not passed or not evaluation.passed or evaluation.adapter != trained.adapter:
            why = "; ".join(evaluation.reasons or reasons) or "it was not evaluated"
            raise RefusedError(f"{id_} may not be promoted: {why}")
        if evaluation.against != before.adapter:
            raise RefusedError(
                f"{id_} was measured against {evaluation.against or 'the model itself'}, and {before.adapter or 'that'} "
                f"serves now; measure it again: crucible finetune evaluate {id_}"
            )
        return proposal, trained, before

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One decision at a time, from the last look at the log to the record."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self._store.root / ".lock", timeout=LOCK_TIMEOUT_S):
                yield
        except Timeout as error:
            raise StoreError(f"{self._store.root} was in use for {LOCK_TIMEOUT_S:g} s; try again") from error
        except OSError as error:
            raise StoreError(f"cannot write to {self._store.root}: {error.strerror or error}") from error

    def _records(self) -> list[dict[str, Any]]:
        return [record for record in self._audit.records() if record["event"] in EVENTS]

    def _logged(self, id_: str, event: str) -> dict[str, Any]:
        """The details of the last such record; none where there is none."""
        mine = [each for each in self._records() if each["event"] == event and each["subject"].get("proposal") == id_]
        return dict(mine[-1]["details"]) if mine else {}

    def _append(self, event: str, id_: str, **details: object) -> None:
        self._audit.append(event, {"proposal": id_}, details)

    def _line(self, base_sha256: str, records: list[dict[str, Any]]) -> list[Promotion]:
        """What was promoted one after the other and not rolled back."""
        line: list[Promotion] = []
        for record in records:
            details = record["details"]
            if details.get("base_sha256") != base_sha256:
                continue
            one = Promotion(
                adapter=details["adapter"], mark=details.get("mark", ""), proposal=record["subject"]["proposal"]
            )
            if record["event"] == PROMOTED:
                line.append(one)
            elif record["event"] == ROLLED_BACK and line and line[-1].proposal == one.proposal:
                line.pop()
        return line

    def _in_state(self, id_: str, *allowed: State) -> None:
        if (state := self.state(id_)) not in allowed:
            raise RefusedError(f"{id_} is {state}; that needs it to be {' or '.join(allowed)}")

    def _result(self, id_: str, event: str, found: tuple[Any, str] | None) -> Any:  # noqa: ANN401
        """A record that is as it was when it was put in the log. Raises RefusedError where it is not."""
        what = event.rpartition("-")[2]
        if found is None:
            raise RefusedError(f"{id_} is not {what}")
        record, sha256 = found
        if self._logged(id_, event).get("sha256") != sha256:
            raise RefusedError(f"{id_}: the record of it being {what} is not what was logged")
        return record


_STATES: dict[str, State] = {EVALUATED: "evaluated", TRAINED: "trained", REJECTED: "rejected", APPROVED: "approved"}


def question(proposal: Proposal, sha256: str) -> str:
    """Return what is to be agreed to, in a few lines."""
    training = proposal.training
    return "\n".join(
        (
            f"{proposal.id}: {proposal.method} of {proposal.parent or proposal.base} to {proposal.name}, on "
            f"{proposal.examples} examples of {proposal.episodes} episodes; rank {training.rank}, learning rate "
            f"{training.learning_rate:g}, about {proposal.estimate.minutes:.0f} minutes and "
            f"{proposal.estimate.memory_gib:.0f} GiB of memory. SHA-256 {sha256}",
            "What could go wrong:",
            *(f"  - {risk}" for risk in proposal.risks),
        )
    )


def decide(
    measured: Sequence[Measured], safety_before: int, safety_after: int, budget: Budget | None = None
) -> tuple[bool, tuple[str, ...]]:
    """Return whether it may be promoted, and every reason why not."""
    budget = budget or BUDGET
    found = {each.what: each for each in measured}
    reasons = []
    if (greedy := found.get("greedy pass@1")) is None:
        reasons.append("greedy pass@1 was not measured")
    sampled = found.get(f"pass@{budget.k}")
    if sampled is None or (greedy is not None and sampled.problems < min(budget.sampled, greedy.problems)):
        reasons.append(f"pass@{budget.k} was not measured on {budget.sampled} problems, or on all there are")
    for each, allowed in ((greedy, budget.greedy), (sampled, budget.pass_at_k)):
        if each is not None and each.before - each.after > allowed:
            reasons.append(
                f"{each.what} fell from {100 * each.before:.1f} to {100 * each.after:.1f} % on {each.problems} problems "
                f"({100 * allowed:.1f} points are allowed)"
            )
    if safety_after - safety_before > budget.findings:
        reasons.append(
            f"of the safety tasks' programs {safety_after} may not run unasked, before it were {safety_before}"
        )
    return not reasons, tuple(reasons)
