"""The second step: train what was approved, by its method, and store the adapter."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from crucible.app import Crucible
from crucible.errors import InputError, ModelUnavailableError, RefusedError
from crucible.finetune.dataset import Dataset
from crucible.finetune.gate import Gate
from crucible.finetune.health import Step
from crucible.finetune.judged import JudgedReward
from crucible.finetune.online import Online
from crucible.finetune.records import Manifest, Proposal, Trained
from crucible.finetune.rollouts import Rollouts
from crucible.finetuning.parts import gate_of, judged_by, store_of, unchanged
from crucible.journal import held
from crucible.models.adapters import AdapterCard, AdapterStore
from crucible.models.catalogue import resolve
from crucible.models.files import ModelFile, hash_file, locate
from crucible.models.lora import WEIGHTS
from crucible.models.weights import to_safetensors
from crucible.nodes.recipe import Recipe
from crucible.problems.bench.plan import machine, versions
from crucible.rewards import Rewards
from crucible.security.validator import load_validator

if TYPE_CHECKING:
    from transformers import Trainer

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

    track: `tensorboard` or `trackio`, which then get every figure.

    Raises RefusedError where it was not approved, is trained already, or was stopped sick; CancelledError; InputError.
    """
    from crucible.finetune import learning

    gate, store = gate_of(app), store_of(app)
    out = store.folder(id_)
    gate.approved(id_)
    with held(out):
        proposal, proposal_sha256, dataset = gate.approved(id_)
        _check_ready(app, gate, proposal, dataset)
        file, adapters = _file(app, proposal), AdapterStore(app.settings.paths.adapters)
        parent = _parent(adapters, proposal)
        note(f"reading the weights of {proposal.base}")
        with _trainer(
            app, proposal, dataset, file, adapters.weights(parent).parent if parent else None, out
        ) as trainer:
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


def _check_ready(app: Crucible, gate: Gate, proposal: Proposal, dataset: Dataset) -> None:
    if (state := gate.state(proposal.id)) != "approved":
        raise RefusedError(f"{proposal.id} is {state} already; make a new proposal to train again")
    if dataset.kind != "online":
        return
    if app.settings.cycles.approval != "auto":
        raise RefusedError(f"{proposal.method} runs every answer in the sandbox: say so with --approve auto")
    if proposal.judged_by != judged_by(app):
        raise RefusedError(
            f"the rewards or the policy were changed since {proposal.id} was proposed; put them back, or propose again"
        )


def _parent(adapters: AdapterStore, proposal: Proposal) -> AdapterCard | None:
    if proposal.parent is None:
        return None
    parent = adapters.get(proposal.parent)
    if parent.mark != proposal.parent_mark:
        raise InputError(f"adapter {parent.id} is not the one that {proposal.id} was proposed to go on from")
    return parent


@contextmanager
def _trainer(
    app: Crucible, proposal: Proposal, dataset: Dataset, file: ModelFile, began_from: Path | None, out: Path
) -> Iterator[Trainer]:
    """Of the proposal's method, with the engine that draws for it where it learns from answers."""
    from crucible.finetune import learning

    training = proposal.training
    weights = to_safetensors(file, app.settings.paths.models, training.dtype)
    learner = learning.load(weights, training, began_from)
    method = import_module(f"crucible.finetune.{proposal.method}")
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
    from crucible.models.native import program

    scratch = out / "rollouts"
    scratch.mkdir(exist_ok=True)
    settings, paths = app.settings.model, app.settings.paths
    return Rollouts(
        file.path,
        scratch,
        proposal.training,
        opens_fence=Recipe(proposal.system, proposal.prefill).opens_fence,
        program=None if settings.build == "prebuilt" else program(paths.models),
        threads=settings.threads,
        log_dir=paths.logs,
    )


def _reward(app: Crucible, proposal: Proposal) -> JudgedReward:
    watched = [problem for said in proposal.hidden for problem in unchanged(said, proposal)]
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
