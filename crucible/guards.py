"""What `app` puts around the parts of a run, so that no node has to think of it.

The bounds of a task; an approver that puts every decision on record; an episode store and a model on another machine
that are given no secrets.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from crucible.errors import InputError
from crucible.languages.python.fingerprint import fingerprint, prompt_id
from crucible.models.base import Model, OnDelta, leaves_machine
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.security.trust.audit import AuditLog, os_user
from crucible.security.trust.secrets import redact, redacted
from crucible.text import is_broken, mended
from crucible.types import Approval, Completion, Episode, Feedback, Hit, Message, Sampling, Task

if TYPE_CHECKING:
    from crucible.memory.base import EpisodeStore, MemoryStats
    from crucible.security.trust.approval import Approver

JUDGED = ("python",)
"""Languages whose programs the built-in judge runs."""
MAX_PROMPT_CHARS = 1 << 18
MAX_TESTS_CHARS = 1 << 20
MAX_FIELD_CHARS = 2000
MAX_CONSTRAINTS = 100
MAX_REASON_CHARS = 500


def prepare(task: Task, *, judged: Collection[str] | None = JUDGED) -> Task:
    """`task` with what can be read off it filled in.

    judged: languages that the judge runs; None for a judge that the caller brought, which knows itself.
    Raises InputError for what cannot be worked.
    """
    from crucible.security.judge.suite import parse_suite
    from crucible.security.validator import languages

    if not task.prompt.strip():
        raise InputError("the task is empty: say what the program should do")
    if task.language not in (known := languages()):
        raise InputError(
            f"unknown language {task.language!r}; Crucible writes: {', '.join(known)} (a package adds one by an entry "
            "point in crucible.validators)"
        )
    if judged is not None and task.language not in judged:
        raise InputError(
            f"nothing here runs the tests of a program in {task.language!r}: hand a judge for it to Crucible(judge=…)"
        )
    _check_text(task)
    _check_size(task)
    entry_point = task.entry_point or (parse_suite(task).entry_point if task.language in JUDGED else None)
    return task.model_copy(update={"id": task.id or prompt_id(task.prompt), "entry_point": entry_point})


def _check_text(task: Task) -> None:
    for name, value in task.model_dump().items():
        if is_broken(value):
            raise InputError(
                f"the task's {name} holds bytes that are no UTF-8 text, or half a surrogate pair; write it as UTF-8"
            )


def _check_size(task: Task) -> None:
    """Nothing larger could be worked, and much of it goes into prompts, reports and file names."""
    small = {name: getattr(task, name) or "" for name in ("id", "title", "entry_point", "difficulty", "source", "hint")}
    small |= {f"constraint {number}": text for number, text in enumerate(task.constraints, 1)}
    bounds = [("prompt", task.prompt, MAX_PROMPT_CHARS)]
    bounds += [(name, getattr(task, name), MAX_TESTS_CHARS) for name in ("tests", "checker")]
    bounds += [(name, text, MAX_FIELD_CHARS) for name, text in small.items()]
    for name, text, most in bounds:
        if len(text) > most:
            raise InputError(f"the task's {name} has {len(text)} characters, {most} are allowed")
    if len(task.constraints) > MAX_CONSTRAINTS:
        raise InputError(f"the task has {len(task.constraints)} constraints, {MAX_CONSTRAINTS} are allowed")


def secrets_in(task: Task) -> tuple[str, ...]:
    """The kinds of secrets that a task holds, one entry a secret."""
    texts = (task.title, task.prompt, task.tests, task.checker, task.hint, *task.constraints, repr(task.examples))
    return tuple(secret.kind for secret in redact("\n".join(texts)).found)


class RecordingApprover:
    """Asks `approver`, and returns its decision when it is in the audit log: what is not on record does not run."""

    def __init__(self, approver: Approver, audit: AuditLog, *, run_id: str, task_id: str) -> None:
        self._approver, self._audit = approver, audit
        self._run_id, self._task_id = run_id, task_id

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        approval = self._approver.approve(code, findings).model_copy(update={"who": os_user()})
        self._audit.append(
            "approval",
            subject={"run": self._run_id, "task": self._task_id, "code": fingerprint(code)},
            details={
                "granted": approval.granted,
                "mode": approval.mode,
                "reason": redact(approval.reason).text[:MAX_REASON_CHARS],
                "findings": dict(Counter(finding.severity for finding in findings)),
            },
        )
        return approval


class RedactingStore:
    """An episode store whose episodes hold no secrets. Everything else is `store`'s."""

    def __init__(self, store: EpisodeStore) -> None:
        self._store = store

    def add(self, episode: Episode) -> None:
        self._store.add(Episode.model_validate(redacted(mended(episode.model_dump()))))

    def get(self, episode_id: str) -> Episode | None:
        return self._store.get(episode_id)

    def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[Hit]:
        return self._store.fetch_semantic(query, k, solved=solved)

    def episodes(self) -> Iterator[Episode]:
        return self._store.episodes()

    def stats(self) -> MemoryStats:
        return self._store.stats()

    def close(self) -> None:
        self._store.close()


def guarded(model: Model) -> Model:
    """`model`, sent no secrets unless it says that it runs on this machine (`remote = False`)."""
    return RedactingModel(model) if leaves_machine(model) else model


class RedactingModel(WrappedModel):
    """A model on another machine, which is sent no secrets. Its notices say, once for each kind, what was taken out."""

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self._kinds: dict[str, bool] = {}
        """Kinds taken out, and whether that was said."""
        self._lock = threading.Lock()

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        clean = [message.model_copy(update={"content": self._clean(message.content)}) for message in messages]
        return self.inner.generate(clean, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)

    def count_tokens(self, text: str) -> int:
        return self.inner.count_tokens(self._clean(text))

    def notices(self) -> list[str]:
        with self._lock:
            new = [kind for kind, said in self._kinds.items() if not said]
            self._kinds |= dict.fromkeys(new, True)
        own = [f"taken out of what is sent to {self.identity.name}: {', '.join(new)}"] if new else []
        return own + self.inner.notices()

    def _clean(self, text: str) -> str:
        result = redact(text)
        with self._lock:
            for secret in result.found:
                self._kinds.setdefault(secret.kind, False)
        return result.text
