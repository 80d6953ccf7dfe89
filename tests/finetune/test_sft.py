"""SFT with TRL and PEFT on a tiny model: it learns, repeats itself bit for bit, survives being stopped, and stops when sick."""

from __future__ import annotations

import hashlib
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crucible.errors import CancelledError, InputError, RefusedError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import learning
from crucible.finetune.methods.health import Step
from crucible.finetune.methods.learning import Outcome, check_start, checkpoints, encode
from crucible.finetune.records import TrainingConfig
from crucible.models.weights.lora import WEIGHTS
from crucible.types import Message, Task
from tests.finetune.tiny import tiny_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

ASKED = (Message(role="user", content="Double it."), Message(role="assistant", content="Here:\n```python\n"))
EXAMPLES = [
    Example(
        task=Task(prompt=f"Double {n}."), prompt=ASKED, chosen=f"def f():\n    return {2 * n}\n```", episodes=(f"e{n}",)
    )
    for n in range(8)
]
TRAINING = TrainingConfig(
    rank=4, alpha=8, learning_rate=5e-3, max_steps=8, batch=2, accumulation=1, save_steps=2, dtype="float32"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def train(weights: Path, out: Path, training: TrainingConfig = TRAINING, **more: Any) -> Outcome:
    from crucible.finetune.methods import sft

    out.mkdir(exist_ok=True)
    poison: Callable[[Any], None] = more.pop("poison", lambda _: None)
    learner = learning.load(weights, training)
    trainer = sft.trainer(learner, EXAMPLES, training, out)
    poison(trainer)
    return learning.run(trainer, out, **more)


def hashed(outcome: Outcome) -> str:
    return hashlib.sha256((outcome.adapter / WEIGHTS).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, list[Step]]:
    steps: list[Step] = []
    return train(weights, tmp_path_factory.mktemp("whole"), tell=steps.append), steps


def test_it_learns_and_every_step_is_told_and_logged(whole: tuple[Outcome, list[Step]]) -> None:
    outcome, steps = whole
    assert outcome.stopped is None and (outcome.step, outcome.steps) == (8, 8)
    losses = [step.figures["loss"] for step in steps]
    assert len(losses) == 8 and losses[-1] < losses[0] - 0.2
    logged = (outcome.adapter.parent / learning.LOG).read_text().splitlines()
    assert [Step.model_validate_json(line) for line in logged] == steps


def test_the_same_seed_gives_the_same_bits_looked_at_or_not(
    whole: tuple[Outcome, list[Step]], weights: Path, tmp_path: Path
) -> None:
    from crucible.finetune.methods import sft
    from crucible.finetune.methods.samples import written

    learner, seen, out = learning.load(weights, TRAINING), list[str](), tmp_path / "again"
    out.mkdir()
    trainer = sft.trainer(learner, EXAMPLES, TRAINING, out)
    outcome = learning.run(
        trainer, out, saved=lambda step: seen.extend(each.answer for each in written(learner, EXAMPLES, step))
    )
    assert len(seen) == 8  # of two tasks at four checkpoints
    assert hashed(outcome) == hashed(whole[0])
    other = TRAINING.model_copy(update={"seed": 1})
    assert hashed(train(weights, tmp_path / "other", other)) != hashed(whole[0])


def test_interrupted_it_goes_on_to_the_same_bits(
    whole: tuple[Outcome, list[Step]], weights: Path, tmp_path: Path
) -> None:
    seen: list[Step] = []
    with pytest.raises(CancelledError, match="after step 3"):
        train(weights, tmp_path, tell=seen.append, cancelled=lambda: len(seen) >= 3 or _at(tmp_path, 3))
    assert hashed(train(weights, tmp_path)) == hashed(whole[0])


def test_killed_when_all_steps_were_made_it_only_saves(
    whole: tuple[Outcome, list[Step]], weights: Path, tmp_path: Path
) -> None:
    """Between the last checkpoint and what is said of the training, and again between the same."""
    train(weights, tmp_path)
    for _ in range(2):
        steps: list[Step] = []
        outcome = train(weights, tmp_path, tell=steps.append, cancelled=lambda: True)
        assert steps == [] and hashed(outcome) == hashed(whole[0])
        assert (outcome.step, outcome.steps, outcome.final_loss) == (8, 8, whole[0].final_loss)


def _at(out: Path, step: int) -> bool:
    log = out / learning.LOG
    return log.is_file() and len(log.read_text().splitlines()) >= step - 1


def test_a_tracker_gets_every_figure_and_one_that_is_not_there_is_said(weights: Path, tmp_path: Path) -> None:
    short = TRAINING.model_copy(update={"max_steps": 2})
    train(weights, tmp_path / "seen", short, track=["tensorboard"])
    (events,) = (tmp_path / "seen").rglob("events.out.tfevents.*")
    assert events.read_bytes().count(b"train/loss") == 2
    with pytest.raises(InputError, match="no tracker 'telepathy'; there are: tensorboard, trackio"):
        train(weights, tmp_path / "none", short, track=["telepathy"])


SCRIPT = """
import sys
from pathlib import Path
from tests.finetune.test_sft import train
train(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_kill_9_at_any_moment_costs_at_most_the_steps_since_the_last_checkpoint(
    whole: tuple[Outcome, list[Step]], weights: Path, tmp_path: Path
) -> None:
    for lines in (3, 5):  # once before and once after a further checkpoint
        with subprocess.Popen([sys.executable, "-c", SCRIPT, str(weights), str(tmp_path)]) as process:
            log = tmp_path / learning.LOG
            while process.poll() is None and not (log.is_file() and log.read_text().count("\n") >= lines):
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
    assert hashed(train(weights, tmp_path)) == hashed(whole[0])


def test_a_checkpoint_that_was_not_finished_is_not_gone_on_from(
    whole: tuple[Outcome, list[Step]], weights: Path, tmp_path: Path
) -> None:
    with pytest.raises(CancelledError):
        train(weights, tmp_path, cancelled=lambda: _at(tmp_path, 5))
    *_, before, last = checkpoints(tmp_path)
    state = last / learning.STATE
    state.write_bytes(state.read_bytes()[:40])
    assert checkpoints(tmp_path)[-1] == before
    assert hashed(train(weights, tmp_path)) == hashed(whole[0])


def test_nan_stops_it_and_the_last_healthy_checkpoint_is_kept(weights: Path, tmp_path: Path) -> None:
    outcome = train(weights, tmp_path, poison=nan_at(5))
    assert outcome.stopped is not None and outcome.stopped.step == 5 and "nan" in outcome.stopped.said
    assert outcome.step == 4
    from safetensors.torch import load_file

    kept = load_file(outcome.adapter / WEIGHTS)
    assert all(torch.isfinite(weight).all() for weight in kept.values())
    assert sorted(path.name for path in outcome.adapter.iterdir() if path.suffix in (".pt", ".pth")) == []


def test_nan_before_any_checkpoint_leaves_nothing(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"stopped at step 1: loss is nan\. To change: lower the learning rate"):
        train(weights, tmp_path, poison=nan_at(1))
    assert not (tmp_path / learning.ADAPTER).exists()


def nan_at(step: int) -> Callable[[Any], None]:
    """The loss of that step is NaN, as a bad batch or an overflow makes it."""

    def poison(trainer: Any) -> None:
        compute = trainer.compute_loss

        def poisoned(*args: Any, **more: Any) -> Any:
            found = compute(*args, **more)
            if trainer.state.global_step != step - 1:
                return found
            return (found[0] * math.nan, *found[1:]) if isinstance(found, tuple) else found * math.nan

        trainer.compute_loss = poisoned

    return poison


def test_the_loss_is_over_the_answer_alone(weights: Path) -> None:
    tokenizer = learning.load(weights, TRAINING).tokenizer
    row = encode(tokenizer, ASKED, "x = 1\n```")
    start = row.completion_mask.index(1)
    assert set(row.completion_mask[:start]) == {0} and set(row.completion_mask[start:]) == {1}
    assert str(tokenizer.decode(row.input_ids[:start])).endswith("Here:\n```python\n")
    assert tokenizer.decode(row.input_ids[start:]) == "x = 1\n```" + str(tokenizer.eos_token)


@pytest.mark.parametrize("ends", [True, False])
def test_the_end_of_an_answer_is_read_only_where_it_is_to_be_learned(weights: Path, tmp_path: Path, ends: bool) -> None:
    from crucible.finetune.methods import sft

    learner = learning.load(weights, TRAINING)
    examples = [each.model_copy(update={"ends": ends}) for each in EXAMPLES]
    rows: Any = sft.trainer(learner, examples, TRAINING, tmp_path).train_dataset
    assert [row["input_ids"][-1] == learner.tokenizer.eos_token_id for row in rows] == [ends] * len(EXAMPLES)


def test_examples_that_do_not_fit_are_left_out_and_none_at_all_is_said(weights: Path, tmp_path: Path) -> None:
    from crucible.finetune.methods import sft

    learner = learning.load(weights, TRAINING)
    short = TRAINING.model_copy(update={"max_length": 16})
    with pytest.raises(InputError, match="none of the 8 examples fits in 16 tokens"):
        sft.trainer(learner, EXAMPLES, short, tmp_path)


def test_an_adapter_that_does_not_start_as_it_should_is_refused(weights: Path) -> None:
    learner = learning.load(weights, TRAINING)
    name, weight = next((n, w) for n, w in learner.model.named_parameters() if "lora_B" in n)
    weight.data[0, 0] = 1.0
    with pytest.raises(InputError, match="not zero"):
        check_start(learner.model, fresh=True)
    check_start(learner.model, fresh=False)
    weight.data[0, 0] = math.nan
    with pytest.raises(InputError, match="not finite"):
        check_start(learner.model, fresh=False)
    assert name


def test_who_goes_on_from_an_adapter_trains_what_was_agreed_to(
    weights: Path, whole: tuple[Outcome, list[Step]], tmp_path: Path
) -> None:
    """Its parent's rank is what it has, and its own dropout."""
    parent = whole[0].adapter
    with pytest.raises(InputError, match="has rank 4, and this training is of rank 8"):
        learning.load(weights, TRAINING.model_copy(update={"rank": 8}), parent)
    noisy = learning.load(weights, TRAINING.model_copy(update={"dropout": 0.25}), parent)
    assert {each.p for name, each in noisy.model.named_modules() if name.endswith("lora_dropout.default")} == {0.25}
    plain = learning.load(weights, TRAINING, parent)
    assert any(weight.any() for name, weight in plain.model.named_parameters() if "lora_B" in name)
    assert all(weight.requires_grad for name, weight in plain.model.named_parameters() if "lora_" in name)
