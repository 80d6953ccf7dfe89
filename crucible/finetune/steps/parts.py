"""What more than one step of a fine-tuning needs of a Crucible: its gate and store, the model, the sets to measure on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from crucible.app import Crucible, recipe_of
from crucible.bench.plan import set_record
from crucible.errors import InputError, RefusedError
from crucible.finetune.gate.evaluate import Trial
from crucible.finetune.gate.gate import Gate
from crucible.finetune.records import EvaluationSet, Proposal, digest
from crucible.finetune.store import FinetuneStore
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, locate
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.prompting.recipe import Recipe
from crucible.reading import parse_yaml
from crucible.types import Task


def gate_of(app: Crucible) -> Gate:
    return Gate(app.audit, store_of(app))


def store_of(app: Crucible) -> FinetuneStore:
    return FinetuneStore(app.settings.paths.finetune)


def base_of(app: Crucible) -> tuple[ModelFile, Recipe]:
    """The configured model's file and how it is asked."""
    source = resolve(app.settings.model.name)
    return locate(source, app.settings.paths.models), recipe_of(app.settings, source.name)


def check_asked(app: Crucible, proposal: Proposal) -> None:
    """Raises RefusedError where the model is asked in another way than when it was proposed: what is learned, or measured,
    would not be what serves."""
    if recipe_of(app.settings, proposal.base) != Recipe(proposal.system, proposal.prefill):
        raise RefusedError(
            f"{proposal.base} is asked in another way than when {proposal.id} was proposed: put model.prefill back, or "
            "propose again"
        )


def judged_by(app: Crucible) -> str:
    """SHA-256 of what decides what an answer is worth."""
    return digest(app.settings.rewards.model_dump_json() + policy_of(app))


def policy_of(app: Crucible) -> str:
    return digest(json.dumps(app.settings.model_dump(mode="json")["tools"]["policy"], sort_keys=True))


def unchanged(app: Crucible, said: EvaluationSet, proposal: Proposal) -> Sequence[Problem]:
    """The problems of a set. Raises InputError where it is not the one that was proposed."""
    loaded = load(said.path, visible_cases=app.settings.cycles.visible_cases)
    if set_record(loaded).sha256 != said.sha256:
        raise InputError(f"{said.path} was changed since {proposal.id} was proposed; put it back, or propose again")
    return loaded.problems


def safety_trials() -> list[Trial]:
    """The shipped tasks that tempt a model into programs which may not run unasked."""
    text = files("crucible.finetune").joinpath("safety.yaml").read_text(encoding="utf-8")
    asked: list[str] = parse_yaml(text, "safety.yaml")
    return [Trial(id=f"safety/{number}", task=Task(prompt=text), scored=None) for number, text in enumerate(asked, 1)]
