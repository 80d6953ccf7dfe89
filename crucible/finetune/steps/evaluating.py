"""The third step: what an adapter changed, measured on problems it never saw, against what serves now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from crucible.app import Crucible
from crucible.errors import InputError, RefusedError
from crucible.finetune.gate.evaluate import Evaluator, Score, Trial, changes, compare
from crucible.finetune.gate.gate import BUDGET, decide
from crucible.finetune.records import Evaluation, EvaluationSettings, Proposal, digest
from crucible.finetune.steps.parts import base_of, check_asked, gate_of, policy_of, safety_trials, store_of, unchanged
from crucible.guards import guarded
from crucible.models.base import Model
from crucible.models.weights.adapters import AdapterStore
from crucible.prompting.recipe import Recipe
from crucible.security.validator import load_validator
from crucible.storage.journal import Journal, held
from crucible.storage.provenance import versions


def evaluate(
    app: Crucible,
    id_: str,
    *,
    settings: EvaluationSettings | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
    note: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure the trained adapter against what serves now, and record whether it may be promoted.

    It goes on where it was stopped. Raises RefusedError where programs may not be run without asking, or there is nothing
    trained; InputError where a set is not the one that was proposed, or the engine does not hold adapters.
    """
    if app.settings.cycles.approval != "auto":
        raise RefusedError("an evaluation runs every program in the sandbox: say so with --approve auto")
    settings = settings or EvaluationSettings()
    gate = gate_of(app)
    proposal = gate.approved(id_).proposal
    state = gate.state(id_)
    if state == "approved":
        raise RefusedError(f"{id_} is not trained; do that with: crucible finetune train {id_}")
    if state == "promoted":
        raise RefusedError(f"{id_} serves already: there is nothing else to measure it against")
    trained = gate.result(id_)
    file, _ = base_of(app)
    if file.sha256 != proposal.base_sha256:
        raise InputError(f"{id_} is of {proposal.base}: set model.name to that")
    check_asked(app, proposal)
    promoted = gate.promoted(proposal.base_sha256)
    before = promoted.adapter
    marks = {promoted.adapter: promoted.mark, trained.adapter: trained.mark}
    trials, policy = _trials(app, proposal), policy_of(app)
    possible = sum(each.scored is not None for each in trials)
    if settings.samples < BUDGET.k or settings.sampled < min(BUDGET.sampled, possible):
        note(f"nothing can be promoted by it: that takes {BUDGET.k} samples of {BUDGET.sampled} problems, or of all")
    scores = _measured(app, proposal, settings, marks, trials, tell, note)
    scored = {trial.id for trial in trials if trial.scored is not None}
    old, new = ([each for each in scores[name] if each.problem in scored] for name in (before, trained.adapter))
    unsafe = [
        sum(each.findings for each in scores[name] if each.problem not in scored) for name in (before, trained.adapter)
    ]
    measured = compare(old, new)
    passed, reasons = decide(measured, unsafe[0], unsafe[1])
    evaluation = Evaluation(
        proposal=id_,
        adapter=trained.adapter,
        against=before,
        settings=settings,
        policy_sha256=policy,
        measured=measured,
        changed=changes(old, new),
        safety_before=unsafe[0],
        safety_after=unsafe[1],
        passed=passed,
        reasons=reasons,
        created=datetime.now(UTC),
    )
    gate.evaluated(id_, evaluation)
    return evaluation


def _measured(
    app: Crucible,
    proposal: Proposal,
    settings: EvaluationSettings,
    marks: Mapping[str, str],
    trials: Sequence[Trial],
    tell: Callable[[int, int], None],
    note: Callable[[str], None],
) -> dict[str, list[Score]]:
    """The scores of the adapters, given by name and mark, in the order of the trials."""
    adapters, store, model = AdapterStore(app.settings.paths.adapters), store_of(app), guarded(app.model)
    _load(model, adapters, {name: mark for name, mark in marks.items() if name})
    recipe, validate = Recipe(proposal.system, proposal.prefill), load_validator("python", app.settings.tools.policy)
    evaluator = Evaluator(model, app.judge, validate, recipe, settings)
    workers, scores = app.settings.model.slots, dict[str, list[Score]]()
    with held(store.scores):
        # One adapter after the other: engines decode samples of one together, and mixed ones at little more than half the rate.
        for name, mark in marks.items():
            told = partial(_tell, tell, len(scores), len(marks), len(trials))
            with Journal(store.scores / _conditions(app, proposal, settings, mark), Score) as journal:
                if not scores and not journal.records:
                    who = name or "the model itself"
                    note(f"{who} is measured first: it never was with these settings, policy, engine and versions")
                scores[name] = evaluator.measure(trials, name, journal, workers=workers, tell=told)
    return scores


def _tell(tell: Callable[[int, int], None], before: int, adapters: int, trials: int, done: int) -> None:
    tell(before * trials + done, adapters * trials)


def _load(model: Model, adapters: AdapterStore, marks: Mapping[str, str]) -> None:
    """Make the engine hold these adapters, by name and mark. Raises InputError for an engine that takes none."""
    cards = {name: adapters.exactly(name, mark) for name, mark in marks.items()}
    form = getattr(model, "adapter_form", None)
    if form is None:
        raise InputError(
            "an evaluation needs an engine of this machine that holds several adapters at once: embedded, or sglang on a GPU"
        )
    model.load_adapters(
        {name: adapters.gguf(card) if form == "gguf" else adapters.weights(card).parent for name, card in cards.items()}
    )


def _conditions(app: Crucible, proposal: Proposal, settings: EvaluationSettings, mark: str) -> str:
    """A journal for every adapter and way of measuring. So what serves now is measured once, for all that are to replace it."""
    drawn_by = [mark, app.model.identity.model_dump(exclude={"adapter"}), proposal.system, proposal.prefill]
    judged_by = [policy_of(app), app.sandbox.tier, dict(versions())]
    return f"{digest(json.dumps([settings.model_dump(exclude={'sampled'}), drawn_by, judged_by]))[:16]}.jsonl"


def _trials(app: Crucible, proposal: Proposal) -> list[Trial]:
    problems = [problem for said in proposal.evaluation for problem in unchanged(app, said, proposal)]
    return [Trial(id=each.id, task=each.task, scored=each.scored) for each in problems] + safety_trials()
