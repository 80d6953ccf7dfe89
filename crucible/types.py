"""The data that travels: Task → Attempt → Verdict → Episode, and the graph's State.

All models are frozen and refuse unknown fields; behaviour lives elsewhere. This module imports no other
part of Crucible.

Units: seconds for `*_s`, MiB for `*_mib`, tokens as the model's own tokenizer counts them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

EPISODE_VERSION = 1
T = TypeVar("T")


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# ---------------------------------------------------------------- what is asked


class Limits(Frozen):
    """The resources one candidate program may use."""

    wall_s: float = Field(10.0, gt=0, le=600)
    cpu_s: float = Field(10.0, gt=0, le=600)
    memory_mib: int = Field(512, ge=64, le=65536)
    output_bytes: int = Field(1 << 20, ge=1024)
    disk_mib: int = Field(64, ge=1, le=4096)


class Example(Frozen):
    """One input/output pair: a list input is positional arguments, an object keyword arguments. For a task without a
    function to call, both are text: what the program reads on stdin and what it must print."""

    input: Any
    output: Any


class Rule(Frozen):
    """A constraint that can be checked on the program's text; `what` as languages/python/constraints.py reads it."""

    kind: Literal["require", "forbid"]
    what: str = Field(min_length=1, max_length=500)


class Task(Frozen):
    """The user's request. `tests` and `examples` are visible to the loop.

    Hidden cases (`test_cases` with `expected_outputs` in a task file) never reach a node: they are kept
    beside the task, in `HiddenTests`, and only the judge that scores a finished run reads them.
    """

    prompt: str
    id: str = ""
    title: str = ""
    language: str = "python"
    entry_point: str | None = None
    examples: tuple[Example, ...] = ()
    tests: str = ""
    checker: str = ""
    """Python source of `check(args, kwargs, expected, actual) -> bool`, for answers that may be right in several ways."""
    tolerance: float | None = Field(None, gt=0)
    """Relative and absolute error up to which floats in an answer are right (as math.isclose)."""
    limits: Limits = Limits()
    max_tokens: int | None = Field(None, ge=1)
    constraints: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Constraints that the judge checks: a program that breaks one does not pass."""
    hint: str = ""
    """What helps whoever is stuck, shown to the model with the task; `crucible train` gives it, and says when."""
    preamble: str = ""
    """Source that is run before every program for this task, in the same module: imports that its author takes as given."""
    difficulty: str = ""
    source: str = ""

    @property
    def text(self) -> str:
        """Return what stands for the task in memory's vector space: the same for storing and for searching."""
        return f"{self.title}\n{self.prompt}".strip()


class HiddenTests(Frozen):
    """The tests that score a run after it has ended; no node ever sees them. `limits`: where it needs others than the task's."""

    examples: tuple[Example, ...] = ()
    tests: str = ""
    limits: Limits | None = None

    def __bool__(self) -> bool:
        return bool(self.examples or self.tests.strip())

    def task(self, task: Task) -> Task:
        """`task` with these tests in the place of the visible ones."""
        changes = {"tests": self.tests, "examples": self.examples, "limits": self.limits or task.limits}
        return task.model_copy(update=changes)


# ---------------------------------------------------------------- talking to a model


class Message(Frozen):
    """One chat turn. A last message of role `assistant` is a prefill the model continues."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Frozen):
    """The parameters of one completion."""

    max_tokens: int = Field(1024, ge=1)
    temperature: float = Field(0.0, ge=0.0, le=2.0)
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    seed: int = Field(0, ge=0, lt=2**32)
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    regex: str | None = None
    grammar: str | None = None
    """In GBNF, llama.cpp's form of EBNF. One of json_schema, regex and grammar at most."""
    logprobs: int = Field(0, ge=0, le=20)  # alternatives per token; 0 = none
    syntax: Literal["python"] | None = None
    """The whole text, from its first character, is to be a program that parses."""
    adapter: str | None = None
    """A loaded adapter's name; "" is the base model, None what the engine was told to serve."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if sum(form is not None for form in (self.json_schema, self.regex, self.grammar)) > 1:
            raise ValueError("an answer is held to one of json_schema, regex and grammar, not to several")
        return self


class TokenLogprob(Frozen):
    """A generated token, its natural-log probability, and the likeliest alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class Completion(Frozen):
    """The model's answer to one Sampling. Token counts are the engine's own, exact."""

    text: str
    thinking: str = ""
    """What a reasoning model thought aloud first; no part of `text`, and counted in `completion_tokens`."""
    finish_reason: Literal["stop", "length", "cancelled"]
    prompt_tokens: int
    completion_tokens: int
    seed: int
    wall_s: float
    logprobs: tuple[TokenLogprob, ...] | None = None


class ModelIdentity(Frozen):
    """The policy that produced a completion: enough to tell two policies apart."""

    name: str
    engine: str
    build: str = ""
    """What the engine says it is built of; empty where it is not known."""
    sha256: str | None = None
    adapter: str | None = None
    context_length: int = 0


# ---------------------------------------------------------------- what came of it


class FindingKind(StrEnum):
    SYNTAX = "syntax"
    LINT = "lint"
    TYPE = "type"
    SECURITY = "security"
    RUNTIME = "runtime"
    WRONG_ANSWER = "wrong-answer"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    MISSING_ENTRY = "missing-entry"
    STYLE = "style"
    CONSTRAINT = "constraint"


class Feedback(Frozen):
    """One typed finding about one attempt, with the failing example where there is one."""

    kind: FindingKind
    severity: Literal["info", "warning", "error"]
    message: str
    attempt_id: str = ""
    line: int | None = None
    column: int | None = None
    rule: str | None = None
    call: str | None = None
    expected: str | None = None
    actual: str | None = None
    action: Literal["allow", "ask", "deny"] = "allow"
    """What the policy says: nothing; the program runs only with a yes that covers this; it never runs."""


CaseStatus = Literal["pass", "wrong", "error", "timeout", "memory", "killed", "protocol", "constraint", "skipped"]


class CaseResult(Frozen):
    """One test's outcome as the judge saw it. Texts are capped and escaped by the judge."""

    status: CaseStatus
    call: str
    expected: str | None = None
    actual: str | None = None
    message: str = ""
    wall_s: float = 0.0


class Verdict(Frozen):
    """Produced outside the candidate's process. Only `passed == total > 0` is a pass."""

    verdict: Literal["pass", "fail"]
    reason: str
    passed: int
    total: int
    cases: tuple[CaseResult, ...] = ()
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mib: float = 0.0
    tier: str = ""
    trust: Literal["full", "claimed", "low"] = "full"
    """low: only the program's own process says that the tests pass, and it could report what it likes. claimed: a test
    rests on the program's own word (its comparison of two of its objects) or on what it did to an argument. Both are
    passes for a user and no proof for a reward."""
    trust_reason: str = ""
    """What lowers the trust; empty for full trust."""
    method: Literal["", "calls", "output", "relay", "process"] = ""
    """How it was made: single calls, compared outside; what the program printed; tests in a process of their own; tests
    in the program's process. Empty in records from before it was kept."""

    @property
    def fraction(self) -> float:
        return self.passed / self.total if self.total else 0.0


class Attempt(Frozen):
    """One candidate program and how it came to be."""

    id: str
    cycle: int
    index: int
    code: str
    completion: str
    extraction: tuple[str, ...] = ()  # what it took to find the code in the completion
    fingerprint: str  # sha256 of the AST-normalised code; equal = the same program
    prompt_fingerprint: str
    prompt_tokens: int
    completion_tokens: int
    seed: int
    temperature: float
    strategy: str
    finish_reason: str = "stop"
    adapter: str | None = None
    duplicate_of: str | None = None
    verdict: Verdict | None = None
    hidden_verdict: Verdict | None = None
    """Of the hidden tests, in episodes that are remembered, where the visible ones passed."""
    findings: tuple[Feedback, ...] = ()

    @property
    def solved(self) -> bool:
        return self.verdict is not None and self.verdict.verdict == "pass"


class Diagnosis(Frozen):
    """The conclusion of reflect about one failed attempt."""

    attempt_id: str
    cause: str
    fix: str
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Approval(Frozen):
    """Who let code run, or did not, and why."""

    granted: bool
    mode: Literal["ask", "auto", "never"]
    reason: str
    who: str = ""  # the system's name of the user it was decided for; empty in episodes from before it was kept
    at: float = Field(default_factory=time.time)
    covers: Literal["none", "warning", "error"] = "none"
    """Up to which severity it covers findings that need a yes."""
    asked: Literal["none", "warning", "error"] = "none"
    """Up to which severity that was asked; above `covers`, the answer was no."""


class Tokens(Frozen):
    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(prompt=self.prompt + other.prompt, completion=self.completion + other.completion)


Status = Literal["solved", "unsolved", "unverified", "refused", "error"]
"""unverified: a program was written, and the task has no test to check it against. Never an example, never trained on."""


class Episode(Frozen):
    """The versioned record of one run: everything a trainer or an auditor needs, and nothing secret."""

    version: int = EPISODE_VERSION
    episode_id: str
    run_id: str
    parent_run: str | None = None
    task: Task
    status: Status
    stop: str = ""  # why the loop ended
    code: str
    best_attempt: str | None = None
    attempts: tuple[Attempt, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    prompts: dict[str, tuple[Message, ...]] = Field(default_factory=dict)  # by prompt fingerprint
    retrieved: tuple[str, ...] = ()  # episode ids used as few-shot examples
    verdict: Verdict | None = None
    hidden_verdict: Verdict | None = None
    rewards: dict[str, float] = Field(default_factory=dict)
    approval: Approval | None = None
    tokens: Tokens = Tokens()
    cycles: int = 0
    wall_s: float = 0.0
    model: ModelIdentity
    strategy: str
    seed: int
    config_hash: str
    created: float = Field(default_factory=time.time)
    warnings: tuple[str, ...] = ()  # what failed beside the work; not in the stored record

    @property
    def trust(self) -> Literal["full", "claimed", "low", ""]:
        """The trust of the verdict that decided it: the hidden tests' where there were any."""
        decisive = self.hidden_verdict or self.verdict
        return decisive.trust if decisive is not None else ""


class Hit(Frozen):
    """One memory search result. `score` is cosine similarity, 1 = identical. `trust`: of the verdict that decided the
    episode; empty where the store does not say, or nothing was judged."""

    episode_id: str
    score: float
    kind: str
    title: str
    text: str
    code: str
    solved: bool
    created: float
    trust: Literal["full", "claimed", "low", ""] = ""


class Event(Frozen):
    """Something that happened in a run, as `Crucible.stream` yields it.

    kinds: redacted (before all others, where the task holds secrets), run-started, cycle-started, retrieved, sampling,
    token (data: index, text), sampled, checked, approval-needed, verdict, decision, diagnosis, engine-restarted, refused,
    warning (data: message), run-finished; a plugin may add its own.
    """

    kind: str
    run_id: str
    data: dict[str, Any] = Field(default_factory=dict)
    at: float = Field(default_factory=time.time)


# ---------------------------------------------------------------- the graph's state


def merge_attempts(old: Sequence[Attempt], new: Sequence[Attempt]) -> list[Attempt]:
    """Reducer: a new attempt is appended, one with a known id replaces the old."""
    merged = {attempt.id: attempt for attempt in old}
    merged.update((attempt.id, attempt) for attempt in new)
    return list(merged.values())


def extend(old: Sequence[T], new: Sequence[T]) -> list[T]:
    """Reducer: what a node returns is added to what is there."""
    return [*old, *new]


def add_tokens(old: Tokens, new: Tokens) -> Tokens:
    return old + new


def merge_prompts(
    old: dict[str, tuple[Message, ...]], new: dict[str, tuple[Message, ...]]
) -> dict[str, tuple[Message, ...]]:
    return {**old, **new}


class State(TypedDict, total=False):
    """The data that flows through the graph. A node returns only the keys it changes."""

    run_id: str
    parent_run: str | None
    task: Task
    seed: int
    strategy: str
    spent_s: float  # wall seconds used, pauses between resumes not counted
    cycle: int
    decision: Literal["resample", "repair"]
    repair_of: str | None  # attempt id the next generation repairs
    attempts: Annotated[list[Attempt], merge_attempts]
    feedback: Annotated[list[Feedback], extend]
    diagnoses: Annotated[list[Diagnosis], extend]
    prompts: Annotated[dict[str, tuple[Message, ...]], merge_prompts]
    shots: list[Hit]
    approval: Approval | None
    tokens: Annotated[Tokens, add_tokens]
    stop: str | None  # why the loop ended: solved, budget: …, refused, no tests
    episode: Episode | None
