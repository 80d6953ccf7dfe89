"""An adapter measured against what it would replace, on problems it never saw.

Each problem is asked the same way of both, greedily once and, of the first problems, several times at a temperature; the
same hidden tests decide. So every comparison is paired by problem: McNemar's exact test for greedy, the sign test for
pass@k. The safety tasks are asked greedily too: what is counted is programs that the policy would not let run unasked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from statistics import fmean

from crucible.errors import EngineError
from crucible.finetune.records import Change, EvaluationSettings, Measured, digest
from crucible.languages.python.extract import extract_for
from crucible.models.base import Model
from crucible.prompting.prompt import direct_prompt
from crucible.prompting.recipe import Recipe
from crucible.security.base import Judge
from crucible.security.trust.secrets import redact
from crucible.stats import mcnemar, pass_at_k, sign_test
from crucible.storage.journal import Journal
from crucible.types import Completion, Feedback, Frozen, Sampling, Task

Validate = Callable[[str], tuple[Feedback, ...]]
SHOWN = 3


class Trial(Frozen):
    """A problem to measure on. task: what the model is asked; scored: the same with the tests that decide."""

    id: str
    task: Task
    scored: Task | None
    """None for a safety task: nothing of it is run."""

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of what is asked and what decides."""
        return digest(self.model_dump_json())


class Score(Frozen):
    """One problem by one adapter ("" is the model itself)."""

    adapter: str
    problem: str
    trial: str = ""
    """`Trial.sha256`."""
    greedy: bool
    right: int
    samples: int
    findings: int
    tokens: int
    program: str = ""
    """The greedy one."""


class Evaluator:
    """Asks and judges. What was measured is in a journal, so that it goes on where it was stopped.

    model: has all the adapters that will be asked for loaded. judge: runs programs in the sandbox, those alone that
    `validate` finds nothing against.
    """

    def __init__(
        self, model: Model, judge: Judge, validate: Validate, recipe: Recipe, settings: EvaluationSettings | None = None
    ) -> None:
        self._model, self._judge, self._validate, self._recipe = model, judge, validate, recipe
        self._settings = settings or EvaluationSettings()
        self._measured = model.identity
        """What must answer to the end: not what a chain of models falls back to."""

    def measure(
        self,
        trials: Sequence[Trial],
        adapter: str,
        journal: Journal[Score],
        *,
        workers: int = 1,
        tell: Callable[[int], None] = lambda done: None,
    ) -> list[Score]:
        """The adapter's scores, in the order of the trials. tell: how many there are."""
        known = {(score.adapter, score.trial, score.samples): score for score in journal.records}
        wanted = [(adapter, trial.sha256, self._samples(trial, index)) for index, trial in enumerate(trials)]
        missing = [index for index, key in enumerate(wanted) if key not in known]
        tell(len(wanted) - len(missing))
        ending = threading.Event()

        def score(index: int) -> Score:
            return self._score(adapter, trials[index], wanted[index][2], ending)

        with ThreadPoolExecutor(workers, thread_name_prefix="crucible-measure") as pool:
            try:
                asked = {pool.submit(score, index): index for index in missing}
                for count, answered in enumerate(as_completed(asked), len(wanted) - len(missing) + 1):
                    journal.add(answered.result())  # as it comes: an interruption loses only what is in work
                    known[wanted[asked[answered]]] = answered.result()
                    tell(count)
            finally:
                ending.set()
                pool.shutdown(cancel_futures=True)
        return [known[key] for key in wanted]

    def _samples(self, trial: Trial, index: int) -> int:
        return self._settings.samples if trial.scored is not None and index < self._settings.sampled else 0

    def _score(self, adapter: str, trial: Trial, more: int, ending: threading.Event) -> Score:
        settings = self._settings
        samplings = [Sampling(max_tokens=settings.max_tokens, adapter=adapter, stop=self._stop)] + [
            Sampling(
                max_tokens=settings.max_tokens,
                temperature=settings.temperature,
                top_p=settings.top_p,
                seed=settings.seed + number,
                adapter=adapter,
                stop=self._stop,
            )
            for number in range(more)
        ]
        drawn = self._model.generate(direct_prompt(trial.task, self._recipe), samplings, cancel=ending)
        if (answering := self._model.identity) != self._measured:
            raise EngineError(
                f"{answering.name} on the {answering.engine} engine took over from {self._measured.name}: what it answers is "
                "not measured. Make that engine work again and repeat the command, which goes on"
            )
        codes = [self._program(each, trial.task) for each in drawn]
        held = {code: any(found.action != "allow" for found in self._validate(code)) for code in set(codes)}
        right = {code: not unsafe and self._right(code, trial.scored) for code, unsafe in held.items()}
        return Score(
            adapter=adapter,
            problem=trial.id,
            trial=trial.sha256,
            greedy=right[codes[0]],
            right=sum(right[code] for code in codes[1:]),
            samples=more,
            findings=held[codes[0]],
            tokens=sum(each.completion_tokens for each in drawn),
            program=redact(codes[0]).text,
        )

    @property
    def _stop(self) -> tuple[str, ...]:
        return ("\n```",) if self._recipe.opens_fence else ()

    def _program(self, drawn: Completion, task: Task) -> str:
        inside = self._recipe.opens_fence
        return extract_for(task, drawn.text, inside_fence=inside).code

    def _right(self, code: str, scored: Task | None) -> bool:
        """By a verdict that the program could not forge: a claimed pass is no proof."""
        if scored is None or not code.strip():
            return False
        verdict = self._judge.judge(code, scored)
        return verdict.verdict == "pass" and verdict.trust == "full"


def compare(before: Sequence[Score], after: Sequence[Score]) -> tuple[Measured, ...]:
    """Greedy pass@1, and pass@k where samples were drawn; the same problems in both."""
    found = [_measured("greedy pass@1", _greedy(before), _greedy(after), mcnemar)]
    k = min((score.samples for score in (*before, *after) if score.samples), default=0)
    if k:
        found.append(_measured(f"pass@{k}", _sampled(before, k), _sampled(after, k), None))
        found.append(_measured("pass@1 of samples", _sampled(before, 1), _sampled(after, 1), None))
    return tuple(found)


def changes(before: Sequence[Score], after: Sequence[Score]) -> tuple[Change, ...]:
    """The first SHOWN problems that only one of the two solved greedily, of either kind."""
    apart = [(old, new) for old, new in zip(before, after, strict=True) if old.greedy != new.greedy]
    shown = [pair for wanted in (True, False) for pair in [each for each in apart if each[1].greedy is wanted][:SHOWN]]
    return tuple(
        Change(problem=new.problem, gained=new.greedy, before=old.program, after=new.program) for old, new in shown
    )


def _greedy(scores: Iterable[Score]) -> dict[str, float]:
    return {score.problem: float(score.greedy) for score in scores}


def _sampled(scores: Iterable[Score], k: int) -> dict[str, float]:
    return {score.problem: pass_at_k(score.samples, score.right, k) for score in scores if score.samples >= k}


def _measured(
    what: str, before: Mapping[str, float], after: Mapping[str, float], test: Callable[[int, int], float] | None
) -> Measured:
    problems = [problem for problem in before if problem in after]
    differences = [after[problem] - before[problem] for problem in problems]
    gained, lost = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
    return Measured(
        what=what,
        before=fmean(before[problem] for problem in problems),
        after=fmean(after[problem] for problem in problems),
        problems=len(problems),
        gained=gained,
        lost=lost,
        p_value=test(gained, lost) if test else sign_test(differences),
    )
