"""Online methods on the smallest real model: answers are the serving engine's, under the adapter as it is."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import torch

from crucible.errors import InputError
from crucible.finetune import learning
from crucible.finetune.dataset import Example
from crucible.finetune.health import Step
from crucible.finetune.learning import Learner
from crucible.finetune.records import Training
from crucible.finetune.rollouts import Rollouts
from crucible.types import Message, Task
from tests.finetune.tiny import tokenizer_folder
from tests.models.serving import small_model

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

TRAINING = Training(
    rank=4,
    alpha=8,
    dtype="float32",
    learning_rate=1e-3,
    max_steps=2,
    batch=4,
    accumulation=1,
    answers=4,
    answer_tokens=8,
    max_length=128,
    save_steps=100,
)
EXAMPLES = [
    Example(task=Task(prompt=text), prompt=(Message(role="user", content=text),), episodes=("e",))
    for text in ("Name a colour.", "Say something about a fox.")
]


@pytest.fixture
def learner() -> Learner:
    return learning.load(tokenizer_folder(), TRAINING)


@pytest.fixture
def rollouts(tmp_path: Path) -> Iterator[Rollouts]:
    with Rollouts(small_model(), tmp_path, count=4, max_tokens=8, context_length=256, threads=1) as engine:
        yield engine


def test_the_same_step_draws_the_same_and_another_adapter_draws_otherwise(learner: Learner, rollouts: Rollouts) -> None:
    asked = [learning.prompt_ids(learner.tokenizer, each.prompt) for each in EXAMPLES for _ in range(4)]
    rollouts.take(learner.model, 0)
    drawn = rollouts.draw(asked)
    assert rollouts.draw(asked) == drawn
    assert len(drawn) == 8 and len({tuple(each.ids) for each in drawn}) > 4
    for each in drawn:
        assert 0 < len(each.ids) <= 8
        assert each.ended or len(each.ids) == 8
    with torch.no_grad():
        for name, weight in learner.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.05)
    rollouts.take(learner.model, 0)
    assert rollouts.draw(asked) == drawn  # that step's adapter is there already
    rollouts.take(learner.model, 1)
    assert rollouts.draw(asked) != drawn


@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_a_round_is_drawn_rewarded_and_learned_from(
    method: str, learner: Learner, rollouts: Rollouts, tmp_path: Path
) -> None:
    heard: list[tuple[str, str]] = []

    def reward(example: Example, text: str) -> float:
        heard.append((example.task.prompt, text))
        return min(1.0, text.count("e") / 4)

    trainer = import_module(f"crucible.finetune.{method}").trainer(
        learner, EXAMPLES, TRAINING, tmp_path, rollouts, reward
    )
    steps: list[Step] = []
    outcome = learning.run(trainer, tmp_path, tell=steps.append)
    assert (
        outcome.step == 2
        and len(heard) == 8
        and {task for task, _ in heard} == {"Name a colour.", "Say something about a fox."}
    )
    first = steps[0].figures
    expected = sum(min(1.0, text.count("e") / 4) for _, text in heard) / 8
    assert first["reward"] == pytest.approx(expected) and {"entropy", "repetition", "ended", "kl"} <= set(first)
    changed = [weight.any().item() for name, weight in learner.model.named_parameters() if "lora_B.default" in name]
    assert all(changed)


def test_prompts_that_leave_no_room_are_said(learner: Learner, rollouts: Rollouts, tmp_path: Path) -> None:
    from crucible.finetune import rloo

    short = TRAINING.model_copy(update={"max_length": 16})
    with pytest.raises(InputError, match="no prompt leaves room for 8 tokens in 16"):
        rloo.trainer(learner, EXAMPLES, short, tmp_path, rollouts, lambda *_: 0.0)
