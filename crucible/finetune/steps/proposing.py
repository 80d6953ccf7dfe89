"""The first step: what could be learned from the episodes, written down for a person to decide on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from crucible.app import Crucible
from crucible.errors import InputError, NotYetError, StoreError
from crucible.finetune.data.contamination import Contamination, Evaluated
from crucible.finetune.data.dataset import Dataset, DataSettings, Kind, build
from crucible.finetune.data.schedule import When
from crucible.finetune.methods.hardware import product_gflops, usual_dtype
from crucible.finetune.records import KINDS, EvaluationSet, Method, Proposal, TrainingConfig, digest
from crucible.finetune.steps.estimate import estimate
from crucible.finetune.steps.parts import base_of, gate_of, judged_by, safety_trials, store_of
from crucible.finetune.store import FinetuneStore
from crucible.models import compiled
from crucible.models.weights.adapters import AdapterCard, AdapterStore, check_name
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile
from crucible.problems.problem import Problem
from crucible.problems.sets import load_all
from crucible.prompting.recipe import Recipe

FEW = 50
SLOWER = (
    "answers will be drawn by the prebuilt engine; compiled for this machine (`crucible models build`, once) it is up "
    "to 1.7 times as fast"
)


def propose(
    app: Crucible,
    *,
    name: str,
    eval_sets: Sequence[str],
    method: Method = "sft",
    parent: str | None = None,
    hidden_sets: Sequence[str] = (),
    data: DataSettings | None = None,
    training: TrainingConfig | None = None,
    when: When | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Write down, for a person to decide on, what could be learned from the episodes in memory. Nothing is trained.

    eval_sets: the problems it will be measured on; whatever is too like them is left out of the data. parent: the adapter
    to go on from. hidden_sets: for online methods, the sets that the tasks came from: their hidden tests watch over the
    training, and pay for tasks without visible ones. when: only if it is due. Raises InputError where there is nothing to
    learn from, or nothing to measure on; NotYetError.
    """
    if not eval_sets:
        raise InputError(
            "name at least one problem set to measure on (--eval-set); its problems are kept out of the data"
        )
    training = training or TrainingConfig.usual(method, dtype=usual_dtype())
    check_name(name)
    if training.processes > 1 and KINDS[method] == "online":
        raise InputError(f"{method} is of one process: its answers come from one engine")
    file, recipe = base_of(app)
    problems, sets = _sets(app, eval_sets)
    _check_measurable(problems)
    card = _parent(app, parent, file) if parent else None
    if card is not None:
        training = training.model_copy(update={"rank": card.rank, "alpha": round(card.alpha)})
        note(f"rank {card.rank} and alpha {card.alpha:g}, as {card.id} has them")
    note("reading the episodes")
    watching, hidden = _sets(app, hidden_sets)
    paid = {problem.task.text for problem in watching if problem.hidden}
    dataset = _dataset(app, KINDS[method], recipe, problems, data, paid)
    if hidden and not any(example.task.text in paid for example in dataset.examples):
        raise InputError(
            "none of the hidden sets' problems is a task of the data; name the sets that the episodes came from"
        )
    if dataset.kind == "online" and compiled(app.settings.model, app.settings.paths) is None:
        note(SLOWER)
    store, gate = store_of(app), gate_of(app)
    if when is not None and (why := _not_yet(when, dataset, store, gate.ids(), file)):
        raise NotYetError(f"not yet: {why}")
    proposal = Proposal(
        id=store.new(method, gate.ids()),
        method=method,
        name=name,
        base=resolve(app.settings.model.name).name,
        base_sha256=file.sha256,
        parent=card.id if card else None,
        parent_mark=card.mark if card else "",
        system=recipe.system,
        prefill=recipe.prefill,
        judged_by=judged_by(app) if dataset.kind == "online" else "",
        dataset_sha256=dataset.sha256,
        data_file_sha256=digest(dataset.model_dump_json()),
        examples=len(dataset.examples),
        levels=dataset.levels,
        left_out=dataset.left_out,
        episodes=len(dataset.episodes),
        training=training,
        evaluation=sets,
        hidden=hidden,
        estimate=estimate(dataset, training, file.path.stat().st_size, product_gflops(training.dtype)),
        risks=_risks(dataset, training, problems),
        created=datetime.now(UTC),
    )
    store.propose(proposal, dataset)
    gate.propose(proposal.id)
    return proposal


def _dataset(
    app: Crucible, kind: Kind, recipe: Recipe, problems: Sequence[Problem], data: DataSettings | None, paid: Set[str]
) -> Dataset:
    """What the episodes in memory hold of it, and nothing of the problems to measure on.

    Raises InputError for a memory of another kind that does not list its episodes."""
    if not hasattr(app.memory, "episodes"):
        raise InputError(f"{type(app.memory).__name__} cannot list its episodes: give it a method episodes()")
    known = Contamination(
        Evaluated(id=problem.id, text=problem.task.text, solutions=problem.solutions) for problem in problems
    )
    dataset = build(kind, app.memory.episodes(), recipe, known, data, paid)
    if not dataset.examples:
        why = "; ".join(f"{count} {reason}" for reason, count in dataset.left_out.items()) or "there are no episodes"
        raise InputError(f"there is nothing to learn from: {why}. `crucible train SET` gathers episodes")
    return dataset


def _parent(app: Crucible, spec: str, file: ModelFile) -> AdapterCard:
    card = AdapterStore(app.settings.paths.adapters).get(spec)
    if card.base_sha256 != file.sha256:
        raise InputError(f"adapter {card.id} was trained on {card.base}, not on {app.settings.model.name}")
    return card


def _not_yet(when: When, dataset: Dataset, store: FinetuneStore, logged: Set[str], file: ModelFile) -> str:
    """logged: what nobody was told of, as it was killed on the way, is no proposal."""
    earlier = [id_ for id_ in store.ids() if id_ in logged and store.proposal(id_)[0].base_sha256 == file.sha256]
    known: set[str] = set()
    for id_ in earlier:
        with suppress(StoreError):  # what is damaged is learned from by nobody
            known |= store.dataset(store.proposal(id_)[0]).episodes.keys()
    last = max((store.proposal(id_)[0].created for id_ in earlier), default=None)
    return when.not_yet(len(dataset.episodes.keys() - known), last, datetime.now(UTC))


def _check_measurable(problems: Sequence[Problem]) -> None:
    """Raises InputError for problems that nothing decides, or that share an id: their scores would be one."""
    names = Counter([problem.id for problem in problems] + [trial.id for trial in safety_trials()])
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"two problems to measure on are called {twice[0]}; give one of them another id")
    for problem in problems:
        scored = problem.scored
        if not (scored.tests.strip() or scored.examples):
            raise InputError(f"{problem.origin or problem.id}: nothing decides it, it has no tests; leave it out")


def _sets(app: Crucible, specs: Sequence[str]) -> tuple[list[Problem], tuple[EvaluationSet, ...]]:
    loaded = load_all(specs, visible_cases=app.settings.cycles.visible_cases)
    sets = tuple(
        EvaluationSet(
            path=str(Path(each.path).absolute()) if Path(each.path).exists() else each.path,
            sha256=each.sha256,
            problems=len(each.problems),
        )
        for each in loaded
    )
    return [problem for each in loaded for problem in each.problems], sets


def _risks(dataset: Dataset, training: TrainingConfig, problems: Sequence[Problem]) -> tuple[str, ...]:
    found = ["what it gains on tasks like these it may lose on others; only the evaluation sets are measured"]
    if len(dataset.examples) < FEW:
        found.append(f"{len(dataset.examples)} examples are few: it may learn them by heart")
    if len(dataset.levels) == 1:
        found.append(f"all examples are of one difficulty ({next(iter(dataset.levels))})")
    if training.epochs > 3:
        found.append(f"{training.epochs:g} epochs over the same answers make a model say the same in every sample")
    if len(problems) < 100:
        found.append(f"{len(problems)} problems to measure on: a difference below ten points may be chance")
    return tuple(found)
