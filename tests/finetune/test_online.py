"""Online methods on a model of random weights: answers are the serving engine's, under the adapter as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import CancelledError, InputError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import learning
from crucible.finetune.methods.health import Step
from crucible.finetune.methods.learning import Learner
from crucible.finetune.methods.online import Online
from crucible.finetune.methods.rollouts import Asked, Drawn, Rollouts, _requests
from crucible.finetune.methods.samples import kept
from crucible.finetune.records import TrainingConfig
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.merged import to_safetensors
from crucible.types import Message, Task
from tests.finetune.tiny import tiny_gguf

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

TRAINING = TrainingConfig(
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
MORE = [
    Example(task=Task(prompt=text), prompt=(Message(role="user", content=text),), episodes=("e",))
    for text in ("Name a colour.", "Say something about a fox.", "Count.", "What is a crow?")
]
EXAMPLES = MORE[:2]


def worth(text: str) -> float:
    return min(1.0, text.count("e") / 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def weights(model: Path) -> Path:
    return to_safetensors(ModelFile(model, hash_file(model)), model.parent, "float32")


@pytest.fixture
def learner(weights: Path) -> Learner:
    return learning.load(weights, TRAINING)


def apart(some: Sequence[Drawn], others: Sequence[Drawn]) -> int:
    """How far their first tokens lie from each other in the vocabulary."""
    return sum(abs(one.ids[0] - other.ids[0]) for one, other in zip(some, others, strict=True))


def drawing(model: Path, scratch: Path) -> Rollouts:
    return Rollouts(model, scratch, TRAINING, threads=1)


@pytest.fixture
def rollouts(model: Path, tmp_path: Path) -> Iterator[Rollouts]:
    with drawing(model, tmp_path) as engine:
        yield engine


def test_the_same_step_draws_the_same_and_another_adapter_draws_otherwise(learner: Learner, rollouts: Rollouts) -> None:
    asked = [learning.prompt_ids(learner.tokenizer, each.prompt) for each in EXAMPLES for _ in range(4)]
    rollouts.take(learner.model, 0)
    drawn = rollouts.draw(asked)
    assert rollouts.draw(asked) == drawn
    assert len(drawn) == 8 and len({tuple(each.ids) for each in drawn}) > 4
    # Each prompt has its own answers, whoever is asked beside it: but for the rounding, which of these words, all about as likely,
    # draws a neighbour.
    alone = rollouts.draw(asked[4:])
    assert apart(alone, drawn[4:]) < apart(alone, drawn[:4]) / 20
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


@given(counts=st.lists(st.integers(1, 20)), slots=st.integers(1, 16))
def test_every_prompt_is_in_one_request_in_its_place(counts: list[int], slots: int) -> None:
    groups = [Asked([number], answers) for number, answers in enumerate(counts)]
    requests = list(_requests(groups, slots))
    assert [each for request in requests for each in request] == groups
    for request in requests:
        assert len({each.answers for each in request}) == 1
        assert len(request) == 1 or sum(each.answers for each in request) <= slots


@pytest.mark.parametrize("method", ["rloo", "grpo", "ppo"])
def test_a_round_is_drawn_rewarded_and_learned_from(
    method: str, learner: Learner, rollouts: Rollouts, tmp_path: Path
) -> None:
    heard: list[tuple[str, str]] = []

    def reward(examples: Sequence[Example], texts: Sequence[str]) -> list[dict[str, float]]:
        heard.extend((example.task.prompt, text) for example, text in zip(examples, texts, strict=True))
        return [{"total": worth(text), "hidden": 0.25} for text in texts]

    trainer = import_module(f"crucible.finetune.methods.{method}").trainer(
        Online(learner, EXAMPLES, TRAINING, tmp_path, rollouts, reward)
    )
    steps: list[Step] = []
    outcome = learning.run(trainer, tmp_path, tell=steps.append)
    assert (outcome.step, len(heard)) == (2, 8)
    assert {task for task, _ in heard} == {"Name a colour.", "Say something about a fox."}
    first = steps[0].figures
    expected = fmean(worth(text) for _, text in heard[: 4 * trainer.round_steps])
    assert first["reward"] == pytest.approx(expected) and first["hidden"] == 0.25
    assert {"entropy", "repetition", "ended", "kl"} <= set(first)
    changed = [weight.any().item() for name, weight in learner.model.named_parameters() if "lora_B.default" in name]
    assert all(changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_length": 16}, "0 of 2 tasks leave room for 8 tokens in 16; a round needs 2"),
        ({"batch": 8}, "2 of 2 tasks leave room for 8 tokens in 128; a round needs 4"),
        ({"answers": 3}, "a round is 8 answers .*, which is no multiple of 3 answers to a task"),
        ({"dropout": 0.1}, "dropout 0.1: probabilities that it makes noise of"),
    ],
)
def test_a_round_that_cannot_be_made_is_said(
    change: dict[str, float], said: str, learner: Learner, rollouts: Rollouts, tmp_path: Path
) -> None:
    from crucible.finetune.methods import grpo

    training = TRAINING.model_copy(update=change)
    with pytest.raises(InputError, match=said):
        grpo.trainer(Online(learner, EXAMPLES, training, tmp_path, rollouts, lambda *_: []))


def test_a_past_success_is_one_of_the_answers_where_there_is_one(
    learner: Learner, rollouts: Rollouts, tmp_path: Path
) -> None:
    from crucible.finetune.methods import grpo

    heard: list[tuple[str, str]] = []

    def reward(examples: Sequence[Example], texts: Sequence[str]) -> list[dict[str, float]]:
        heard.extend((example.task.prompt, text) for example, text in zip(examples, texts, strict=True))
        return [{"total": worth(text)} for text in texts]

    colour = EXAMPLES[0].model_copy(update={"chosen": "cerise"})
    training = TRAINING.model_copy(update={"replay": True})
    learning.run(grpo.trainer(Online(learner, [colour, EXAMPLES[1]], training, tmp_path, rollouts, reward)), tmp_path)
    answers = {task: [text for asked, text in heard if asked == task] for task, _ in heard}
    assert {task: len(texts) for task, texts in answers.items()} == {
        "Name a colour.": 4,
        "Say something about a fox.": 4,
    }
    assert answers["Name a colour."].count("cerise") == 1 and "cerise" not in answers["Say something about a fox."]
    found = {each.kind: each for each in kept(tmp_path)}
    drawn = [text for text in answers[found["best"].task] if text != "cerise"]
    assert (found["best"].reward, found["worst"].reward) == (max(map(worth, drawn)), min(map(worth, drawn)))


@pytest.mark.parametrize("method", ["rloo", "ppo"])
def test_what_was_interrupted_becomes_what_it_would_have_become(
    method: str, model: Path, weights: Path, tmp_path: Path
) -> None:
    """At the end of a round, amid an epoch, whenever it was asked to stop: weights, critic and the rest of the answers are
    the same."""
    training = TRAINING.model_copy(update={"max_steps": 4, "save_steps": 1})

    def train(out: Path, stop_after: int) -> dict[str, torch.Tensor]:
        out.mkdir(exist_ok=True)
        learner, steps = learning.load(weights, training), list[Step]()
        with drawing(model, out) as engine:
            made = Online(learner, MORE, training, out, engine, lambda _, texts: [{"total": worth(t)} for t in texts])
            trainer = import_module(f"crucible.finetune.methods.{method}").trainer(made)
            learning.run(trainer, out, tell=steps.append, cancelled=lambda: len(steps) >= stop_after)
        critic = trainer.critic.state_dict() if method == "ppo" else {}
        adapter = {name: weight for name, weight in learner.model.state_dict().items() if "default" in name}
        return adapter | {f"critic.{name}": weight for name, weight in critic.items()}

    whole = train(tmp_path / "whole", 99)
    with pytest.raises(CancelledError, match="after step 2"):
        train(tmp_path / "parts", 1)
    resumed = train(tmp_path / "parts", 99)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[name]) for name, weight in whole.items())
