"""The whole circle on the smallest real model: episodes → proposal → yes → training → measurement → yes → served → undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from crucible.app import Crucible, served
from crucible.config import load_settings
from crucible.config.settings import Settings
from crucible.errors import InputError, NotYetError, RefusedError
from crucible.finetune.data.schedule import When
from crucible.finetune.gate.gate import Budget
from crucible.finetune.methods.health import Step
from crucible.finetune.records import EvaluationSettings, TrainingConfig
from crucible.finetune.report import gather, render
from crucible.finetune.steps import evaluate, gate_of, promote, propose, store_of, train
from crucible.memory import MemoryStore
from crucible.models.llama.native import program
from crucible.models.serving import find
from crucible.models.weights.adapters import CARD, AdapterStore
from crucible.models.weights.lora import WEIGHTS
from crucible.types import Task
from tests.finetune.episodes import failed, solved
from tests.finetune.terminal import answered
from tests.models.serving import NAME, small_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

TRAINING = TrainingConfig(
    rank=4, alpha=8, learning_rate=1e-3, max_steps=3, batch=1, accumulation=1, save_steps=2, max_length=256
)
PATIENCE_S = 5.0
"""What a rollback may take, for a server that runs."""
QUICK = EvaluationSettings(samples=2, sampled=1, max_tokens=24)
PROBLEMS = [
    {
        "id": f"eval/{number}",
        "prompt": f"Write a function {name}(x) that {what}.",
        "tests": f"assert {name}(2) == {result}",
    }
    for number, (name, what, result) in enumerate(
        [("half", "gives half of x", 1), ("negated", "gives x with the other sign", -2)], 1
    )
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    small_model()
    home = tmp_path_factory.mktemp("home")
    with MemoryStore(home / "episodes") as memory:
        for number in range(3):
            code = f"def double(number):\n    result_{number} = number + number\n    return result_{number}\n"
            memory.add(solved(f"e{number}", code))
        memory.add(solved("copied", prompt=str(PROBLEMS[0]["prompt"])))
    chosen: dict[str, dict[str, object]] = {
        "model": {"name": NAME, "slots": 4, "context_length": 1024, "threads": 1, "engine": "embedded"},
        "cycles": {"approve": "auto"},
    }
    return load_settings(overrides=chosen).changed({}, home=home)


@pytest.fixture(scope="module")
def eval_set(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("set") / "small.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    return str(path)


def test_hidden_tests_are_the_reward_of_tasks_without_visible_ones(
    settings: Settings, eval_set: str, tmp_path: Path
) -> None:
    blind = failed("blind", prompt="Write ordered(words), which sorts a list of words by their last letters.")
    blind = blind.model_copy(update={"task": blind.task.model_copy(update={"tests": ""})})
    hidden = {"prompt": blind.task.prompt, "entry_point": "ordered", "hidden_tests": "assert ordered([]) == []"}
    (tmp_path / "hidden.json").write_text(json.dumps(hidden))
    with MemoryStore(tmp_path / "home" / "episodes") as memory:
        memory.add(blind)
    with Crucible(settings=settings.changed({}, home=tmp_path / "home")) as app:
        asked = partial(propose, app, name="small", eval_sets=[eval_set], method="grpo")
        with pytest.raises(InputError, match="without visible tests, and in no hidden set"):
            asked()
        assert asked(hidden_sets=[str(tmp_path / "hidden.json")]).examples == 1


def test_the_circle(settings: Settings, eval_set: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crucible.finetune.gate.gate.BUDGET", Budget(k=2, sampled=1))
    with Crucible(settings=settings) as app:
        with pytest.raises(InputError, match="problem set to measure on"):
            propose(app, name="small", eval_sets=[], training=TRAINING)
        proposal = propose(app, name="small", eval_sets=[eval_set], training=TRAINING)
        assert (proposal.examples, proposal.left_out) == (3, {"too like an evaluation problem": 1})
        assert proposal.risks and proposal.estimate.steps == 3
        with pytest.raises(NotYetError, match="there is no new verified episode"):
            propose(app, name="small", eval_sets=[eval_set], training=TRAINING, when=When(episodes=1))
        gate, id_ = gate_of(app), proposal.id
        with pytest.raises(RefusedError, match="not approved"):
            train(app, id_)
        assert answered(lambda: gate.approve(id_), id_)[0]
        steps: list[Step] = []
        trained = train(app, id_, tell=steps.append)
        assert len(steps) == 3 and trained.adapter == "small@1"
        with pytest.raises(RefusedError, match="is trained already"):
            train(app, id_)
        _made_again(settings, eval_set, trained.adapter_sha256)

        notes: list[str] = []
        found = evaluate(app, id_, settings=QUICK, note=notes.append)
        assert evaluate(app, id_, settings=QUICK, note=notes.append).measured == found.measured
        assert [note for note in notes if "measured" in note] == [  # and not the second time: it is known then
            "the model itself is measured first: it never was with these settings, policy, engine and versions"
        ]
        assert [each.what for each in found.measured] == ["greedy pass@1", "pass@2", "pass@1 of samples"]
        story = gather(app, id_)
        assert [each.step for each in story.samples] == [2, 3]
        assert {path.suffix for path in render(story, store_of(app).folder(id_))} == {".md", ".html"}
        assert found.measured[0].problems == 2 and found.against == ""
        assert served(settings).adapter is None
        if found.passed:
            _refused_where_it_cannot_serve(app, id_)
        assert answered(lambda: promote(app, id_), id_)[0] == found.passed
        if not found.passed:
            pytest.skip(f"three steps made it worse, as it may be: {found.reasons}")
        assert served(settings).adapter == "small@1"
        with pytest.raises(RefusedError, match="serves already"):
            evaluate(app, id_, settings=QUICK)
    with Crucible(settings=settings) as app:
        assert app.model.identity.adapter == "small@1"
        episode = app.solve(Task(prompt="Write a function f() that gives 1.", tests="assert f() == 1"))
        assert episode.model.adapter == "small@1"
        with _serving(settings) as note:
            assert _adapter(note) == "small@1"
            gate_of(app).roll_back(proposal.base_sha256)
            began = time.monotonic()
            while _adapter(note) is not None:
                assert time.monotonic() - began < PATIENCE_S
                time.sleep(0.05)
    with Crucible(settings=settings) as app:
        assert app.model.identity.adapter is None


def _refused_where_it_cannot_serve(app: Crucible, id_: str) -> None:
    """Before anybody is asked."""
    adapters = AdapterStore(app.settings.paths.adapters)
    card = adapters.folder(adapters.get("small@1")) / CARD
    text = card.read_text()
    card.unlink()
    with pytest.raises(InputError, match="there is no adapter 'small@1'"):
        promote(app, id_)
    card.write_text(text.replace('"config_sha256": "', '"config_sha256": "0'))
    with pytest.raises(RefusedError, match="not the one that was decided on"):
        promote(app, id_)
    card.write_text(text)


@contextmanager
def _serving(settings: Settings) -> Iterator[Path]:
    """`models serve` in a process of its own; its note."""
    model = {"CRUCIBLE_MODEL__NAME": NAME, "CRUCIBLE_MODEL__CONTEXT_LENGTH": "1024"}
    environment = {**os.environ, **model, "CRUCIBLE_HOME": str(settings.paths.home)}
    words = [sys.executable, "-m", "crucible", "models", "serve", "--engine", "embedded", "--slots", "1", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as serving:
        assert serving.stdout is not None and serving.stdout.readline()
        yield settings.paths.serving
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=20) == 130


def _adapter(note: Path) -> str | None:
    """Of the server; "starting" between two."""
    found = find(note)
    return found.adapter if found is not None else "starting"


def _made_again(settings: Settings, eval_set: str, sha256: str) -> None:
    """The same data and settings make the same bits: the manifest's promise."""
    with Crucible(settings=settings) as app:
        again = propose(app, name="again", eval_sets=[eval_set], training=TRAINING)
        assert answered(lambda: gate_of(app).approve(again.id), again.id)[0]
        assert train(app, again.id).adapter_sha256 == sha256
        manifest = json.loads((store_of(app).folder(again.id) / "manifest.json").read_text())
        assert manifest["adapter_sha256"] == sha256 and set(manifest["episodes"]) == {"e0", "e1", "e2"}
        card = AdapterStore(settings.paths.adapters).get("again")
        assert (AdapterStore(settings.paths.adapters).folder(card) / WEIGHTS).is_file()


def test_an_online_training_says_which_engine_drew_its_answers(settings: Settings, eval_set: str) -> None:
    online = TRAINING.model_copy(update={"answers": 2, "answer_tokens": 16, "accumulation": 2, "max_steps": 1})
    built, notes = program(settings.paths.models) is not None, list[str]()
    with Crucible(settings=settings) as app:
        proposal = propose(app, name="drawn", method="rloo", eval_sets=[eval_set], training=online, note=notes.append)
        assert any("crucible models build" in note for note in notes) is not built
        assert answered(lambda: gate_of(app).approve(proposal.id), proposal.id)[0]
        steps: list[Step] = []
        assert train(app, proposal.id, tell=steps.append).steps == 1
        assert 0.0 <= steps[0].figures["reward"] <= 1.0
        manifest = json.loads((store_of(app).folder(proposal.id) / "manifest.json").read_text())
        assert manifest["engine"] == ("compiled" if built else "prebuilt")


def test_a_set_that_was_changed_is_not_measured_on(settings: Settings, eval_set: str) -> None:
    with Crucible(settings=settings) as app:
        id_ = store_of(app).ids()[0]
        path = Path(eval_set)
        text = path.read_text()
        path.write_text(text.replace("half of x", "a half of x"))
        try:
            with pytest.raises(InputError, match="was changed since"):
                evaluate(app, id_, settings=QUICK)
        finally:
            path.write_text(text)
