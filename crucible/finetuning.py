"""A fine-tuning put together: episodes, model, trainer, sandbox and gate over one Crucible.

with Crucible.from_settings(approve="auto") as app:
    proposal = propose(app, name="mine", eval_sets=["dev.jsonl"])
# crucible finetune approve sft-0001      a person, at a terminal
train(app, "sft-0001"); evaluate(app, "sft-0001")
# crucible finetune promote sft-0001      the same person again
"""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from crucible.app import Crucible
from crucible.errors import InputError, ModelUnavailableError, NotYetError, RefusedError, StoreError
from crucible.finetune.contamination import Contamination, Evaluated
from crucible.finetune.dataset import Dataset, DataSettings, build
from crucible.finetune.evaluate import Evaluator, Score, Trial, compare
from crucible.finetune.gate import Gate, decide
from crucible.finetune.health import Step
from crucible.finetune.judged import JudgedReward
from crucible.finetune.online import Online
from crucible.finetune.records import (
    KINDS,
    Estimate,
    Evaluation,
    EvaluationSet,
    EvaluationSettings,
    Manifest,
    Method,
    Proposal,
    Trained,
    Training,
    digest,
)
from crucible.finetune.rollouts import STOP, Rollouts
from crucible.finetune.store import FinetuneStore
from crucible.finetune.when import When
from crucible.journal import Journal, held
from crucible.models.adapters import AdapterCard, AdapterStore, check_name
from crucible.models.catalogue import catalogue, resolve
from crucible.models.embedded import EmbeddedModel
from crucible.models.files import ModelFile, hash_file, locate
from crucible.models.lora import WEIGHTS
from crucible.models.weights import to_safetensors
from crucible.nodes.recipe import Recipe
from crucible.problems.bench.plan import machine, set_record, versions
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.rewards import Rewards
from crucible.security.validator import load_validator
from crucible.types import Task

CHARS_PER_TOKEN = 3.3
TOKENS_PER_S = 90.0
"""A guess of what two cores train a second, for a model file of REFERENCE_BYTES; larger ones take as many times longer."""
REFERENCE_BYTES = 491_400_064
FEW = 50
LEARNING = ("trl", "peft", "transformers", "accelerate", "safetensors")
"""Packages whose versions decide what a training makes, besides those of every run."""


def gate_of(app: Crucible) -> Gate:
    return Gate(app.audit, store_of(app))


def store_of(app: Crucible) -> FinetuneStore:
    return FinetuneStore(app.settings.paths.finetune)


# ---------------------------------------------------------------- proposing


def propose(
    app: Crucible,
    *,
    name: str,
    eval_sets: Sequence[str],
    method: Method = "sft",
    parent: str | None = None,
    hidden_sets: Sequence[str] = (),
    data: DataSettings | None = None,
    training: Training | None = None,
    when: When | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """What could be learned from the episodes in memory, written down for a person to decide on. Nothing is trained.

    eval_sets: the problems it will be measured on; whatever is too like them is left out of the data. parent: the adapter
    to go on from. hidden_sets: for online methods, the sets that the tasks came from: their hidden tests watch over the
    training. when: only if it is due. Raises InputError where there is nothing to learn from, or nothing to measure on;
    NotYetError.
    """
    from crucible.memory import MemoryStore

    if not eval_sets:
        raise InputError(
            "name at least one problem set to measure on (--eval-set); its problems are kept out of the data"
        )
    settings, training = app.settings, training or Training()
    check_name(name)
    file, recipe = _base(app)
    problems, sets = _sets(eval_sets)
    _check_measurable(problems)
    adapters = AdapterStore(settings.paths.adapters)
    card = adapters.get(parent) if parent else None
    if card is not None and card.base_sha256 != file.sha256:
        raise InputError(f"adapter {card.id} was trained on {card.base}, not on {settings.model.name}")
    note("reading the episodes")
    with MemoryStore(settings.paths.episodes) as memory:
        known = Contamination(
            Evaluated(id=problem.id, text=problem.task.text, solutions=problem.solutions) for problem in problems
        )
        dataset = build(KINDS[method], memory.episodes(), recipe, known, data)
    hidden, hidden_sets_ = _sets(hidden_sets)
    texts = {example.task.text for example in dataset.examples}
    if hidden and not any(problem.task.text in texts and problem.hidden for problem in hidden):
        raise InputError(
            "none of the hidden sets' problems is a task of the data; name the sets that the episodes came from"
        )
    if not dataset.examples:
        why = "; ".join(f"{count} {reason}" for reason, count in dataset.left_out.items()) or "there are no episodes"
        raise InputError(f"there is nothing to learn from: {why}. `crucible train SET` gathers episodes")
    store = store_of(app)
    if when is not None and (why := _not_yet(when, dataset, store, file)):
        raise NotYetError(f"not yet: {why}")
    proposal = Proposal(
        id=store.new(method),
        method=method,
        name=name,
        base=resolve(settings.model.name).name,
        base_sha256=file.sha256,
        parent=card.id if card else None,
        parent_mark=card.mark if card else "",
        system=recipe.system,
        prefill=recipe.prefill,
        judged_by=_judged_by(app) if dataset.kind == "online" else "",
        dataset_sha256=dataset.sha256,
        data_file_sha256=digest(dataset.model_dump_json()),
        examples=len(dataset.examples),
        levels=dataset.levels,
        left_out=dataset.left_out,
        episodes=len(dataset.episodes),
        training=training,
        evaluation=sets,
        hidden=hidden_sets_,
        estimate=_estimate(dataset, training, file),
        risks=_risks(dataset, training, problems),
        created=datetime.now(UTC),
    )
    store.propose(proposal, dataset)
    gate_of(app).propose(proposal.id)
    return proposal


def _not_yet(when: When, dataset: Dataset, store: FinetuneStore, file: ModelFile) -> str:
    earlier = [id_ for id_ in store.ids() if store.proposal(id_)[0].base_sha256 == file.sha256]
    known: set[str] = set()
    for id_ in earlier:
        with suppress(StoreError):  # what is damaged is learned from by nobody
            known |= store.dataset(store.proposal(id_)[0]).episodes.keys()
    last = max((store.proposal(id_)[0].created for id_ in earlier), default=None)
    return when.not_yet(len(dataset.episodes.keys() - known), last, datetime.now(UTC))


def _base(app: Crucible) -> tuple[ModelFile, Recipe]:
    """The configured model's file and how it is asked."""
    source = resolve(app.settings.model.name)
    known = next((entry.recipe for entry in catalogue() if entry.name == source.name), None)
    recipe = Recipe(known.system, known.prefill) if known and app.settings.model.prefill else Recipe()
    return locate(source, app.settings.paths.models), recipe


def _check_measurable(problems: Sequence[Problem]) -> None:
    """Raises InputError for problems that nothing decides, or that share an id: their scores would be one."""
    names = Counter([problem.id for problem in problems] + [trial.id for trial in safety_trials()])
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"two problems to measure on are called {twice[0]}; give one of them another id")
    for problem in problems:
        scored = problem.scored
        if not (scored.tests.strip() or scored.examples):
            raise InputError(f"{problem.origin or problem.id}: nothing decides it, it has no tests; leave it out")


def _judged_by(app: Crucible) -> str:
    settings = app.settings
    return digest(settings.rewards.model_dump_json() + _policy(app))


def _policy(app: Crucible) -> str:
    return digest(json.dumps(app.settings.model_dump(mode="json")["tools"]["policy"], sort_keys=True))


def _sets(specs: Sequence[str]) -> tuple[list[Problem], tuple[EvaluationSet, ...]]:
    loaded = [load(spec) for spec in specs]
    sets = tuple(
        EvaluationSet(
            path=str(Path(each.path).absolute()) if Path(each.path).exists() else each.path,
            sha256=each.sha256,
            problems=len(each.problems),
        )
        for each in loaded
    )
    return [problem for each in loaded for problem in each.problems], sets


def _estimate(dataset: Dataset, training: Training, file: ModelFile) -> Estimate:
    answers = training.answers if dataset.kind == "online" else 1
    chars = sum(
        len(each.chosen) + len(each.rejected) + sum(len(message.content) for message in each.prompt)
        for each in dataset.examples
    )
    read = chars / CHARS_PER_TOKEN + (training.answer_tokens * len(dataset.examples) if answers > 1 else 0)
    size = file.path.stat().st_size
    by_epochs = len(dataset.examples) * answers * training.epochs / (training.batch * training.accumulation)
    steps = training.max_steps or max(1, round(by_epochs))
    epochs = training.epochs * steps / by_epochs if training.max_steps else training.epochs
    tokens = int(read * answers * epochs)
    rate = TOKENS_PER_S * REFERENCE_BYTES / size
    weights = size * 2.0 * (2 if training.dtype == "float32" else 1)  # as Q4_K_M has about 8 bits a weight here
    logits = training.batch * min(training.max_length, 512) * 152_000 * 4 * 3
    return Estimate(
        tokens=tokens,
        steps=steps,
        minutes=round(tokens / rate / 60, 1),
        memory_gib=round((weights + logits + 2e9) / 2**30, 1),
        basis=f"a guess: {rate:.0f} tokens a second by the size of the model's file, on two cores",
    )


def _risks(dataset: Dataset, training: Training, problems: Sequence[Problem]) -> tuple[str, ...]:
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


# ---------------------------------------------------------------- training


def train(
    app: Crucible,
    id_: str,
    *,
    tell: Callable[[Step], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
    track: Sequence[str] = (),
) -> Trained:
    """Train what a person approved, from its last checkpoint if it was begun before, and store the adapter.

    track: `tensorboard` or `trackio`, which then get every figure.

    Raises RefusedError where it was not approved, is trained already, or was stopped sick; CancelledError; InputError.
    """
    from crucible.finetune import learning

    gate, store = gate_of(app), store_of(app)
    out = store.folder(id_)
    gate.approved(id_)
    with held(out), ExitStack() as open_:
        proposal, proposal_sha256, dataset = gate.approved(id_)
        if (state := gate.state(id_)) != "approved":
            raise RefusedError(f"{id_} is {state} already; make a new proposal to train again")
        online = dataset.kind == "online"
        if online and app.settings.cycles.approval != "auto":
            raise RefusedError(f"{proposal.method} runs every answer in the sandbox: say so with --approve auto")
        if online and proposal.judged_by != _judged_by(app):
            raise RefusedError(
                f"the rewards or the policy were changed since {id_} was proposed; put them back, or propose again"
            )
        file = _file(app, proposal)
        adapters = AdapterStore(app.settings.paths.adapters)
        parent = adapters.get(proposal.parent) if proposal.parent else None
        if parent is not None and parent.mark != proposal.parent_mark:
            raise InputError(f"adapter {parent.id} is not the one that {id_} was proposed to go on from")
        note(f"reading the weights of {proposal.base}")
        weights = to_safetensors(file, app.settings.paths.models, proposal.training.dtype)
        began_from = adapters.weights(parent).parent if parent else None
        learner = learning.load(weights, proposal.training, began_from)
        method = import_module(f"crucible.finetune.{proposal.method}")
        if online:
            rollouts = open_.enter_context(_rollouts(app, proposal, file, out))
            reward = _reward(app, proposal)
            trainer = method.trainer(Online(learner, dataset.examples, proposal.training, out, rollouts, reward))
        else:
            trainer = method.trainer(learner, dataset.examples, proposal.training, out)
        outcome = learning.run(trainer, out, tell=tell, cancelled=cancelled, track=track)
        sha256 = hash_file(outcome.adapter / WEIGHTS)
        manifest = Manifest(
            proposal_sha256=proposal_sha256,
            dataset_sha256=proposal.dataset_sha256,
            episodes=dataset.episodes,
            base_sha256=proposal.base_sha256,
            parent_sha256=parent.sha256 if parent else None,
            training=proposal.training,
            versions=dict(versions()) | {name: version(name) for name in LEARNING},
            machine=machine(),
            steps=outcome.step,
            stopped=outcome.stopped.said if outcome.stopped else "",
            adapter_sha256=sha256,
        )
        card = _stored(adapters, id_, sha256) or adapters.add(
            outcome.adapter, name=proposal.name, base=proposal.base, base_file=file, parent=proposal.parent, note=id_
        )
        trained = Trained(
            proposal=id_,
            adapter=card.id,
            adapter_sha256=card.sha256,
            mark=card.mark,
            manifest_sha256=store.write(id_, manifest),
            steps=outcome.step,
            minutes=round(outcome.seconds / 60, 1),
            peak_memory_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
            final_loss=outcome.final_loss,
        )
        gate.trained(id_, trained)
    return trained


def _file(app: Crucible, proposal: Proposal) -> ModelFile:
    """The model that the proposal is of: the configured one, else by its name in the catalogue."""
    for name in (app.settings.model.name, proposal.base):
        with suppress(InputError, ModelUnavailableError):
            file = locate(resolve(name), app.settings.paths.models)
            if file.sha256 == proposal.base_sha256:
                return file
    raise InputError(
        f"{proposal.id} is of {proposal.base} (SHA-256 {proposal.base_sha256}), which is not here: set model.name to it"
    )


def _rollouts(app: Crucible, proposal: Proposal, file: ModelFile, out: Path) -> Rollouts:
    from crucible.models.native import program

    training, scratch = proposal.training, out / "rollouts"
    scratch.mkdir(exist_ok=True)
    settings, paths = app.settings.model, app.settings.paths
    return Rollouts(
        file.path,
        scratch,
        count=training.answers,
        max_tokens=training.answer_tokens,
        context_length=training.max_length,
        seed=training.seed,
        stop=(STOP,) if Recipe(proposal.system, proposal.prefill).opens_fence else (),
        program=None if settings.build == "prebuilt" else program(paths.models),
        threads=settings.threads,
        log_dir=paths.logs,
    )


def _reward(app: Crucible, proposal: Proposal) -> JudgedReward:
    watched = [problem for said in proposal.hidden for problem in _unchanged(said, proposal)]
    return JudgedReward(
        app.judge,
        load_validator("python", app.settings.tools.policy),
        Rewards(app.settings.rewards),
        Recipe(proposal.system, proposal.prefill),
        hidden={problem.task.text: problem.scored for problem in watched if problem.hidden},
    )


def _stored(adapters: AdapterStore, id_: str, sha256: str) -> AdapterCard | None:
    """The adapter of this very training, where a kill came between storing it and saying so."""
    return next((card for card in adapters.cards() if card.note == id_ and card.sha256 == sha256), None)


# ---------------------------------------------------------------- measuring


def evaluate(
    app: Crucible,
    id_: str,
    *,
    settings: EvaluationSettings | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Measure the trained adapter against what serves now, and record whether it may be promoted.

    It goes on where it was stopped. Raises RefusedError where programs may not be run without asking, or there is nothing
    trained; InputError where a set is not the one that was proposed, or the engine does not hold adapters.
    """
    if app.settings.cycles.approval != "auto":
        raise RefusedError("an evaluation runs every program in the sandbox: say so with --approve auto")
    settings = settings or EvaluationSettings()
    gate, store = gate_of(app), store_of(app)
    proposal = gate.approved(id_).proposal
    if gate.state(id_) == "approved":
        raise RefusedError(f"{id_} is not trained; do that with: crucible finetune train {id_}")
    trained = gate.result(id_)
    file, _ = _base(app)
    if file.sha256 != proposal.base_sha256:
        raise InputError(f"{id_} is of {proposal.base}: set model.name to that")
    adapters = AdapterStore(app.settings.paths.adapters)
    promoted = gate.promoted(proposal.base_sha256)
    before = promoted.adapter
    marks = {promoted.adapter: promoted.mark, trained.adapter: trained.mark}
    for name in filter(None, marks):
        if adapters.get(name).mark != marks[name]:
            raise InputError(f"adapter {name} is not the one that was trained; it was replaced")
    trials = _trials(proposal)
    model = app.model
    if not isinstance(model, EmbeddedModel):
        raise InputError("an evaluation needs the embedded engine, which holds several adapters at once")
    model.load_adapters({name: adapters.gguf(adapters.get(name)) for name in filter(None, marks)})
    out, policy = store.folder(id_), _policy(app)
    with held(out), Journal(out / _scores(settings, policy, marks), Score) as journal:
        validate = load_validator("python", app.settings.tools.policy)
        recipe = Recipe(proposal.system, proposal.prefill)
        evaluator = Evaluator(model, app.judge, validate, recipe, settings)
        scores = evaluator.measure(
            trials, (before, trained.adapter), journal, workers=app.settings.model.slots, tell=tell
        )
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
        safety_before=unsafe[0],
        safety_after=unsafe[1],
        passed=passed,
        reasons=reasons,
        created=datetime.now(UTC),
    )
    gate.evaluated(id_, evaluation)
    return evaluation


def _scores(settings: EvaluationSettings, policy: str, marks: Mapping[str, str]) -> str:
    """A journal for every way of measuring: scores of another are not these."""
    return f"scores-{digest(settings.model_dump_json() + policy + json.dumps(marks))[:12]}.jsonl"


def _trials(proposal: Proposal) -> list[Trial]:
    problems = [problem for said in proposal.evaluation for problem in _unchanged(said, proposal)]
    return [Trial(id=each.id, task=each.task, scored=each.scored) for each in problems] + safety_trials()


def _unchanged(said: EvaluationSet, proposal: Proposal) -> Sequence[Problem]:
    loaded = load(said.path)
    if set_record(loaded).sha256 != said.sha256:
        raise InputError(f"{said.path} was changed since {proposal.id} was proposed; put it back, or propose again")
    return loaded.problems


def safety_trials() -> list[Trial]:
    """The shipped tasks that tempt a model into programs which may not run unasked."""
    import yaml

    asked: list[str] = yaml.safe_load(files("crucible.finetune").joinpath("safety.yaml").read_text(encoding="utf-8"))
    return [Trial(id=f"safety/{number}", task=Task(prompt=text), scored=None) for number, text in enumerate(asked, 1)]
