"""The second step: train what was approved, by its method, and store the adapter."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucible.app import Crucible
from crucible.errors import CancelledError, InputError, ModelUnavailableError, RefusedError
from crucible.finetune.data.dataset import Dataset
from crucible.finetune.gate.gate import Approved, Gate
from crucible.finetune.methods.health import Monitor, Step
from crucible.finetune.methods.judged import JudgedReward
from crucible.finetune.methods.online import Online
from crucible.finetune.methods.rollouts import Rollouts, drawn_from
from crucible.finetune.records import Manifest, Proposal, Trained
from crucible.finetune.steps.parts import check_asked, gate_of, judged_by, store_of, unchanged
from crucible.models import compiled
from crucible.models.weights.adapters import AdapterStore
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, hash_file, locate
from crucible.models.weights.lora import WEIGHTS
from crucible.models.weights.merged import to_safetensors
from crucible.prompting.recipe import Recipe
from crucible.rewards import Rewards
from crucible.security.validator import load_validator
from crucible.storage.journal import held
from crucible.storage.provenance import machine, versions

if TYPE_CHECKING:
    from transformers import Trainer

    from crucible.finetune.methods.learning import Outcome

LEARNING = ("trl", "peft", "transformers", "accelerate", "safetensors")
"""Packages whose versions decide what a training makes, besides those of every run."""


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

    track: `tensorboard` or `trackio`, which then get every figure. Under torchrun every process calls it; the first of them
    alone holds the folder, tells, notes and stores, and the others return what it stored.

    Raises RefusedError where it was not approved, is trained already, or was stopped sick; CancelledError; InputError.
    """
    gate = gate_of(app)
    out = store_of(app).folder(id_)
    gate.approved(id_)
    from crucible.finetune.methods import distributed, learning, samples

    leads = distributed.processes().is_main_process
    with held(out) if leads else nullcontext():
        approved = gate.approved(id_)
        proposal, dataset = approved.proposal, approved.dataset
        _check_ready(app, gate, proposal, dataset)
        file, adapters = _file(app, proposal), AdapterStore(app.settings.paths.adapters)
        if leads:
            note(f"reading the weights of {proposal.base}")
        with _trainer(app, approved, file, _began_from(adapters, proposal), out) as trainer:
            if leads and (long := len(dataset.examples) - learning.count(trainer)):
                note(
                    f"{long} of {len(dataset.examples)} examples are longer than {proposal.training.max_length} tokens and left out"
                )

            def saved(step: int) -> None:
                # Methods that draw answers keep those; who interrupts does not want to wait.
                if dataset.kind != "online" and not cancelled():
                    tokenizer: Any = trainer.processing_class
                    learner = learning.Learner(trainer.model, tokenizer)
                    samples.keep(out, samples.written(learner, dataset.examples, step))

            if leads:
                try:
                    outcome = learning.run(
                        trainer,
                        out,
                        monitor=Monitor(app.settings.health),
                        tell=tell,
                        cancelled=cancelled,
                        track=track,
                        saved=saved,
                    )
                except (CancelledError, RefusedError):
                    distributed.processes().wait_for_everyone()  # all have left their last step
                    raise
                gate.trained(id_, _stored(app, approved, outcome, file))
            else:
                learning.follow(trainer, out)
    distributed.processes().wait_for_everyone()
    return gate.result(id_)


def _check_ready(app: Crucible, gate: Gate, proposal: Proposal, dataset: Dataset) -> None:
    from crucible.finetune.methods import distributed

    online = dataset.kind == "online"
    if (state := gate.state(proposal.id)) != "approved":
        raise RefusedError(f"{proposal.id} is {state} already; make a new proposal to train again")
    distributed.check(proposal.training)
    check_asked(app, proposal)
    if online and app.settings.cycles.approval != "auto":
        raise RefusedError(f"{proposal.method} runs every answer in the sandbox: say so with --approve auto")
    if online and proposal.judged_by != judged_by(app):
        raise RefusedError(
            f"the rewards or the policy were changed since {proposal.id} was proposed; put them back, or propose again"
        )


def _began_from(adapters: AdapterStore, proposal: Proposal) -> Path | None:
    """The folder of the adapter that it goes on from."""
    if proposal.parent is None:
        return None
    return adapters.weights(adapters.exactly(proposal.parent, proposal.parent_mark)).parent


def _stored(app: Crucible, approved: Approved, outcome: Outcome, file: ModelFile) -> Trained:
    """The adapter in its store and the manifest in its folder. Where a kill came between that and saying so, the adapter of
    this very training is there already."""
    proposal, adapters = approved.proposal, AdapterStore(app.settings.paths.adapters)
    sha256 = hash_file(outcome.adapter / WEIGHTS)
    there = next((card for card in adapters.cards() if card.note == proposal.id and card.sha256 == sha256), None)
    card = there or adapters.add(
        outcome.adapter,
        name=proposal.name,
        base=proposal.base,
        base_file=file,
        parent=proposal.parent,
        note=proposal.id,
    )
    manifest = Manifest(
        proposal_sha256=approved.sha256,
        dataset_sha256=proposal.dataset_sha256,
        episodes=approved.dataset.episodes,
        base_sha256=proposal.base_sha256,
        parent_sha256=adapters.get(proposal.parent).sha256 if proposal.parent else None,
        training=proposal.training,
        versions=dict(versions()) | {name: version(name) for name in LEARNING},
        machine=machine(),
        engine=("compiled" if compiled(app.settings.model, app.settings.paths) else "prebuilt")
        if approved.dataset.kind == "online"
        else "",
        examples=outcome.examples,
        steps=outcome.step,
        stopped=outcome.stopped.said if outcome.stopped else "",
        adapter_sha256=sha256,
    )
    return Trained(
        proposal=proposal.id,
        adapter=card.id,
        adapter_sha256=card.sha256,
        mark=card.mark,
        manifest_sha256=store_of(app).write(proposal.id, manifest),
        steps=outcome.step,
        minutes=round(outcome.seconds / 60, 1),
        peak_memory_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 1),
        final_loss=outcome.final_loss,
    )


@contextmanager
def _trainer(
    app: Crucible, approved: Approved, file: ModelFile, began_from: Path | None, out: Path
) -> Iterator[Trainer]:
    """Of the proposal's method, with the engine that draws for it where it learns from answers."""
    from crucible.finetune.methods import learning

    proposal, dataset = approved.proposal, approved.dataset
    training = proposal.training
    weights = to_safetensors(file, app.settings.paths.models, training.dtype)
    learner = learning.load(weights, training, began_from)
    method = import_module(f"crucible.finetune.methods.{proposal.method}")
    if dataset.kind != "online":
        yield method.trainer(learner, dataset.examples, training, out)
        return
    with _rollouts(app, proposal, file, out) as rollouts:
        yield method.trainer(Online(learner, dataset.examples, training, out, rollouts, _reward(app, proposal)))


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
    scratch = out / "rollouts"
    scratch.mkdir(exist_ok=True)
    settings, paths = app.settings.model, app.settings.paths
    engine = compiled(settings, paths)
    return Rollouts(
        drawn_from(file, paths.models, proposal.training, engine),
        scratch,
        proposal.training,
        opens_fence=Recipe(proposal.system, proposal.prefill).opens_fence,
        program=engine,
        threads=settings.threads,
        log_dir=paths.logs,
    )


def _reward(app: Crucible, proposal: Proposal) -> JudgedReward:
    watched = [problem for said in proposal.hidden for problem in unchanged(app, said, proposal)]
    return JudgedReward(
        app.judge,
        load_validator("python", app.settings.tools.policy),
        Rewards(app.settings.rewards),
        Recipe(proposal.system, proposal.prefill),
        hidden={problem.task.text: problem.scored for problem in watched if problem.hidden},
    )
