"""Sick trainings are stopped, and healthy ones are left alone."""

from __future__ import annotations

import math
import random

import pytest

from crucible.config import HealthLimits, packaged
from crucible.finetune.methods.health import Monitor, repetition

HEALTHY = {"loss": 0.8, "grad_norm": 1.0, "entropy": 0.9, "kl": 0.05, "completions/mean_length": 80.0, "reward": 0.4}


def after(steps: int = 20, **start: float) -> Monitor:
    monitor, draw = Monitor(), random.Random(1)
    for step in range(steps):
        noisy = {name: value * draw.uniform(0.8, 1.2) for name, value in (HEALTHY | start).items()}
        assert monitor.see(step, noisy) == []
    return monitor


def test_a_noisy_but_sound_training_is_left_alone() -> None:
    assert after(300, hidden=0.4).signs == []


@pytest.mark.parametrize(
    ("figures", "what"),
    [
        ({"loss": math.nan}, "loss"),
        ({"loss": math.inf}, "loss"),
        ({"grad_norm": math.nan}, "grad_norm"),
        ({"grad_norm": 80.0}, "grad_norm"),
        ({"entropy": 0.01}, "entropy"),
        ({"kl": 30.0}, "kl"),
        ({"completions/mean_length": 3.0}, "length"),
        ({"completions/mean_length": 900.0}, "length"),
        ({"repetition": 0.9}, "repetition"),
    ],
)
def test_one_sick_step_stops_it(figures: dict[str, float], what: str) -> None:
    monitor = after()
    *_, (sign,) = [monitor.see(step, HEALTHY | figures) for step in range(20, 24)]
    assert (sign.level, sign.what, sign.step) == ("stop", what, 23) and sign.said and sign.change


@pytest.mark.parametrize(
    ("figures", "what"),
    [({"entropy": 0.2}, "entropy"), ({"kl": 2.0}, "kl"), ({"repetition": 0.4}, "repetition")],
)
def test_a_milder_one_warns(figures: dict[str, float], what: str) -> None:
    monitor = after()
    *_, (sign,) = [monitor.see(step, HEALTHY | figures) for step in range(20, 24)]
    assert (sign.level, sign.what) == ("warn", what)


@pytest.mark.parametrize(("more", "advice"), [({"reward": 0.4}, "raise beta"), ({}, "fewer epochs")])
def test_what_to_change_fits_the_method(more: dict[str, float], advice: str) -> None:
    monitor = Monitor()
    for step in range(10):
        monitor.see(step, {"loss": 0.1, "entropy": 0.1 if step < 5 else 0.01, **more})
    assert advice in monitor.signs[0].change and monitor.signs[0].what == "entropy"


def test_a_loss_that_keeps_rising_stops_it() -> None:
    monitor, sound = Monitor(), {"loss": 0.8, "grad_norm": 1.0}
    assert not any(monitor.see(step, sound) for step in range(20))
    levels = [sign.what for step in range(30) for sign in monitor.see(step, sound | {"loss": 0.8 * 1.2**step})]
    assert "loss" in levels


def test_an_objective_that_is_no_likelihood_is_not_judged_by_its_height() -> None:
    monitor, draw = Monitor(), random.Random(2)
    for step in range(100):
        figures = {"loss": 0.001 * 1.1**step * draw.uniform(-0.1, 1), "grad_norm": 1.0, "reward": 0.5}
        assert monitor.see(step, figures) == []


def test_one_gradient_after_many_that_were_next_to_none_is_no_explosion() -> None:
    monitor = Monitor()
    for step in range(20):
        assert monitor.see(step, {"loss": 0.0, "grad_norm": 0.005, "reward": 1.0}) == []
    assert monitor.see(20, {"loss": 0.1, "grad_norm": 0.9, "reward": 0.9}) == []


def test_one_round_of_short_answers_is_no_collapse() -> None:
    monitor = after()
    assert monitor.see(20, HEALTHY | {"completions/mean_length": 15.0}) == []


def test_tests_that_pass_without_the_hidden_ones_are_gamed() -> None:
    monitor = after(12, hidden=0.4, visible=0.4)
    seen = [monitor.see(step, HEALTHY | {"visible": 0.95, "hidden": 0.3}) for step in range(12, 24)]
    assert [sign.what for sign in seen[-1]] == ["gaming"] and seen[-1][0].level == "stop"


def test_tests_that_pass_with_the_hidden_ones_are_not() -> None:
    monitor = after(12, hidden=0.4, visible=0.4)
    for step in range(12, 24):
        assert monitor.see(step, HEALTHY | {"visible": 0.95, "hidden": 0.9}) == []


def test_limits_are_the_users_to_set() -> None:
    monitor = Monitor(packaged(HealthLimits, kl_stop=1e9, kl_warn=1e9))
    assert monitor.see(0, {"kl": 500.0}) == []


def test_repetition_counts_what_was_written_before() -> None:
    assert repetition([1, 2, 3]) == 0.0
    assert repetition(list(range(50))) == 0.0
    assert repetition([7] * 50) > 0.9
