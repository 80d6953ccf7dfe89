"""What a training is said to take, held against one that was measured, and against what must change it."""

from __future__ import annotations

import pytest

from crucible.finetune.data.dataset import Dataset, Example, Kind
from crucible.finetune.records import Estimate, TrainingConfig
from crucible.finetune.steps.estimate import CHARS_PER_TOKEN, estimate
from crucible.types import Message, Task

BYTES, GFLOPS = 491_400_064, 111.0


def dataset(kind: Kind, tokens: list[int]) -> Dataset:
    """Examples of so many tokens, half of them the answer's; of pairs each answer's."""
    half = [round(count * CHARS_PER_TOKEN / 2) for count in tokens]
    examples = [
        Example(
            task=Task(prompt="p"),
            prompt=(Message(role="user", content="p" * chars),),
            chosen="a" * chars,
            rejected="b" * chars if kind == "dpo" else "",
            episodes=("e",),
        )
        for chars in half
    ]
    return Dataset(kind=kind, examples=tuple(examples), episodes={}, left_out={})


def told(training: TrainingConfig, *, kind: Kind = "sft", size: int = BYTES, gflops: float = GFLOPS) -> Estimate:
    return estimate(dataset(kind, [100, 100, 200, 400]), training, size, gflops)


def test_the_training_that_was_measured_is_foretold() -> None:
    """104 examples of 291 tokens, the longest 546, two epochs: 60,620 tokens, 42.8 minutes, 9.8 GiB."""
    found = estimate(dataset("sft", [546, *[289] * 103]), TrainingConfig(epochs=2.0), BYTES, GFLOPS)
    assert found.steps == 26 and found.tokens == pytest.approx(60_620, rel=0.02)
    assert found.minutes == pytest.approx(42.8, rel=0.1) and found.memory_gib == pytest.approx(9.8, rel=0.1)


def test_the_pairs_that_were_measured_are_foretold() -> None:
    """25 pairs of 626 tokens, prompts read twice, the longest some 880, three epochs: 46,947 tokens, 13.8 GiB, and a full step
    of 5,151 tokens in 360 seconds while nothing else ran."""
    found = estimate(dataset("dpo", [440, *[308] * 24]), TrainingConfig(epochs=3.0), BYTES, GFLOPS)
    assert found.steps == 12 and found.tokens == pytest.approx(46_947, rel=0.02)
    assert found.minutes == pytest.approx(46_947 / 5_151 * 360 / 60, rel=0.15)
    assert found.memory_gib == pytest.approx(13.8, rel=0.1)


def test_products_that_cost_little_leave_the_rest() -> None:
    """223 examples of 345 tokens in bfloat16, at 1,285 GFLOPS: 28 steps in 15.8 minutes, 81 tokens a second."""
    found = estimate(dataset("sft", [345] * 223), TrainingConfig(epochs=1.0, dtype="bfloat16"), BYTES, 1285.0)
    assert found.steps == 28 and found.minutes == pytest.approx(15.8, rel=0.1)


@pytest.mark.parametrize(("examples", "epochs", "steps"), [(25, 3.0, 12), (24, 3.0, 9), (3, 2.0, 2), (25, 0.5, 2)])
def test_what_is_left_of_an_epoch_is_a_step_of_its_own_and_is_read_once(
    examples: int, epochs: float, steps: int
) -> None:
    found = estimate(dataset("sft", [100] * examples), TrainingConfig(epochs=epochs), BYTES, GFLOPS)
    assert found.steps == steps
    assert found.tokens == pytest.approx(100 * examples * epochs, rel=0.01)


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"max_steps": 8}, 1),
        ({"max_steps": 16}, 2),
        ({"max_steps": 8, "accumulation": 8}, 2),
        ({"max_steps": 8, "processes": 2}, 2),
        ({"epochs": 16.0}, 1),
        ({"epochs": 64.0}, 4),
    ],
)
def test_tokens_and_minutes_go_by_the_steps_and_what_each_reads(more: dict[str, float], times: int) -> None:
    one, found = told(TrainingConfig(max_steps=8)), told(TrainingConfig.model_validate(more))
    assert found.tokens == pytest.approx(times * one.tokens, rel=0.01)
    assert found.minutes == pytest.approx(times * one.minutes, rel=0.05)


def test_a_faster_machine_and_a_smaller_model_take_less_time() -> None:
    one = told(TrainingConfig(max_steps=100))
    assert one.minutes / 10 < told(TrainingConfig(max_steps=100), gflops=10 * GFLOPS).minutes < one.minutes / 2
    assert told(TrainingConfig(max_steps=100), size=BYTES // 2).minutes == pytest.approx(one.minutes / 2, abs=0.1)


def test_memory_goes_by_the_longest_example_that_is_not_left_out() -> None:
    one, cut = told(TrainingConfig()), told(TrainingConfig(max_length=200))
    assert cut.memory_gib < one.memory_gib < told(TrainingConfig(batch=4)).memory_gib
    assert (
        told(TrainingConfig(dtype="bfloat16")).memory_gib
        < one.memory_gib
        < told(TrainingConfig(), size=2 * BYTES).memory_gib
    )


def test_what_is_drawn_is_counted_in_the_place_of_what_was_there() -> None:
    short, long = (
        told(TrainingConfig(answers=4, answer_tokens=drawn, max_steps=10), kind="online").tokens for drawn in (50, 150)
    )
    assert short == pytest.approx(10 * 8 * (100 + 50), rel=0.01) and long - short == 10 * 8 * 100
