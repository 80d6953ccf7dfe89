"""The human gate. What was decided is read from the audit log and from nowhere else; files can only fail to agree with it.

    proposed → approved | rejected → trained → evaluated → promoted → (rolled back)

Every decision names the SHA-256 of what it was made on. A proposal that was changed after its approval is not approved; an
evaluation that was changed after it was recorded promotes nothing. Where the log does not verify, nothing is trained and
no adapter counts as promoted. What the log cannot prove is said in `security.audit`.
"""

from __future__ import annotations

from typing import Any, Literal

from crucible.errors import InputError, RefusedError
from crucible.finetune.person import asked
from crucible.finetune.records import Evaluation, Proposal, Trained
from crucible.finetune.store import FinetuneStore
from crucible.security.audit import AuditLog
from crucible.types import Frozen

State = Literal["proposed", "approved", "rejected", "trained", "evaluated", "promoted", "replaced", "rolled back"]
PROPOSED, APPROVED, REJECTED = "finetune-proposed", "finetune-approved", "finetune-rejected"
TRAINED, EVALUATED = "finetune-trained", "finetune-evaluated"
PROMOTED, ROLLED_BACK = "finetune-promoted", "finetune-rolled-back"
EVENTS = (PROPOSED, APPROVED, REJECTED, TRAINED, EVALUATED, PROMOTED, ROLLED_BACK)


class Promotion(Frozen):
    """What serves a model: an adapter, and the fine-tuning that made it. Both empty: the model itself."""

    adapter: str = ""
    proposal: str = ""


class Gate:
    """Decisions on the fine-tunings in `store`, in the log `audit`."""

    def __init__(self, audit: AuditLog, store: FinetuneStore) -> None:
        self._audit, self._store = audit, store

    # ------------------------------------------------------------- what was decided

    def state(self, id_: str) -> State:
        """Where the fine-tuning stands. Raises RefusedError where the log cannot be relied on."""
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
        """What serves the model. Raises RefusedError where the log cannot be relied on."""
        line = self._line(base_sha256, self._records())
        return line[-1] if line else Promotion()

    # ------------------------------------------------------------- deciding

    def propose(self, id_: str) -> None:
        proposal, sha256 = self._store.proposal(id_)
        self._append(PROPOSED, id_, sha256=sha256, method=proposal.method, base=proposal.base)

    def approve(self, id_: str) -> bool:
        """Asks the person at the terminal; whether they agreed. Raises RefusedError, InputError."""
        proposal, sha256 = self._store.proposal(id_)
        self._in_state(id_, "proposed")
        self._store.dataset(id_)  # what is approved must be what lies there
        if not asked(question(proposal), id_):
            return False
        self._append(APPROVED, id_, sha256=sha256)
        return True

    def reject(self, id_: str, reason: str) -> None:
        """Needs no terminal: nothing comes of it."""
        _, sha256 = self._store.proposal(id_)
        self._in_state(id_, "proposed", "approved")
        self._append(REJECTED, id_, sha256=sha256, reason=reason[:500])

    def approved(self, id_: str) -> Proposal:
        """The proposal, to be trained by. Raises RefusedError unless these very bytes were approved, and not rejected."""
        proposal, sha256 = self._store.proposal(id_)
        mine = [record for record in self._records() if record["subject"].get("proposal") == id_]
        yes = [record for record in mine if record["event"] == APPROVED]
        if not yes:
            raise RefusedError(f"{id_} is not approved; a person can do that with: crucible finetune approve {id_}")
        if any(record["event"] == REJECTED for record in mine):
            raise RefusedError(f"{id_} was rejected; make a new proposal")
        if yes[-1]["details"].get("sha256") != sha256:
            raise RefusedError(f"{id_} was changed after it was approved; make a new proposal")
        self._store.dataset(id_)
        return proposal

    def trained(self, id_: str, record: Trained) -> None:
        self.approved(id_)
        sha256 = self._store.write(id_, record)
        self._append(TRAINED, id_, sha256=sha256, adapter=record.adapter, adapter_sha256=record.adapter_sha256)

    def evaluated(self, id_: str, record: Evaluation) -> None:
        self._result(id_, TRAINED, self._store.trained(id_))
        sha256 = self._store.write(id_, record)
        self._append(EVALUATED, id_, sha256=sha256, adapter=record.adapter, passed=record.passed)

    def promote(self, id_: str) -> bool:
        """Asks for the second yes; whether it was given. Raises RefusedError where the evaluation does not allow it."""
        proposal, _ = self._store.proposal(id_)
        self._in_state(id_, "evaluated", "replaced", "rolled back")
        trained: Trained = self._result(id_, TRAINED, self._store.trained(id_))
        evaluation: Evaluation = self._result(id_, EVALUATED, self._store.evaluation(id_))
        before = self.promoted(proposal.base_sha256)
        if not evaluation.passed or evaluation.adapter != trained.adapter:
            raise RefusedError(f"{id_} may not be promoted: {'; '.join(evaluation.reasons) or 'it was not evaluated'}")
        if evaluation.against != before.adapter:
            raise RefusedError(
                f"{id_} was measured against {evaluation.against or 'the model itself'}, and {before.adapter or 'that'} "
                f"serves now; measure it again: crucible finetune evaluate {id_}"
            )
        if not asked(f"Serve {proposal.base} with {trained.adapter} from now on?", id_):
            return False
        self._append(PROMOTED, id_, base_sha256=proposal.base_sha256, adapter=trained.adapter, before=before.adapter)
        return True

    def roll_back(self, base_sha256: str) -> Promotion:
        """What served the model before serves it again, at once. Raises InputError where nothing was promoted."""
        line = self._line(base_sha256, self._records())
        if not line:
            raise InputError("nothing is promoted: the model itself is served")
        now, before = line[-1], line[-2] if len(line) > 1 else Promotion()
        self._append(ROLLED_BACK, now.proposal, base_sha256=base_sha256, adapter=now.adapter, to=before.adapter)
        return before

    # ------------------------------------------------------------- the log

    def _records(self) -> list[dict[str, Any]]:
        return [record for record in self._audit.records() if record["event"] in EVENTS]

    def _append(self, event: str, id_: str, **details: object) -> None:
        self._audit.append(event, {"proposal": id_}, details)

    def _line(self, base_sha256: str, records: list[dict[str, Any]]) -> list[Promotion]:
        """What was promoted one after the other and not rolled back."""
        line: list[Promotion] = []
        for record in records:
            if record["details"].get("base_sha256") != base_sha256:
                continue
            if record["event"] == PROMOTED:
                line.append(Promotion(adapter=record["details"]["adapter"], proposal=record["subject"]["proposal"]))
            elif record["event"] == ROLLED_BACK and line:
                line.pop()
        return line

    def _in_state(self, id_: str, *allowed: State) -> None:
        if (state := self.state(id_)) not in allowed:
            raise RefusedError(f"{id_} is {state}; that needs it to be {' or '.join(allowed)}")

    def _result(self, id_: str, event: str, found: tuple[Any, str] | None) -> Any:  # noqa: ANN401
        """A record that is as it was when it was put in the log. Raises RefusedError where it is not."""
        if found is None:
            raise RefusedError(f"{id_} is not {event.rpartition('-')[2]}")
        record, sha256 = found
        logged = [each for each in self._records() if each["event"] == event and each["subject"].get("proposal") == id_]
        if not logged or logged[-1]["details"].get("sha256") != sha256:
            raise RefusedError(f"{id_}: the record of it being {event.rpartition('-')[2]} is not what was logged")
        return record


_STATES: dict[str, State] = {EVALUATED: "evaluated", TRAINED: "trained", REJECTED: "rejected", APPROVED: "approved"}


def question(proposal: Proposal) -> str:
    """What is to be agreed to, in a few lines."""
    return "\n".join(
        (
            f"{proposal.id}: {proposal.method} of {proposal.base} on {proposal.examples} examples of "
            f"{proposal.episodes} episodes, about {proposal.estimate.minutes:.0f} minutes and "
            f"{proposal.estimate.memory_gib:.0f} GiB of memory.",
            "What could go wrong:",
            *(f"  - {risk}" for risk in proposal.risks),
        )
    )
