"""Settings of a training, said as NAME=VALUE."""

from __future__ import annotations

import pytest

from crucible.errors import InputError
from crucible.finetune.records import KINDS, USUAL, Method, TrainingConfig


def test_every_setting_can_be_said_and_no_other_changes() -> None:
    training = TrainingConfig(rank=4)
    changed = training.changed(["entropy_coef=0.002", "batch=4", "quantize=true", "dtype=bfloat16"])
    assert (changed.entropy_coef, changed.batch, changed.quantize, changed.dtype) == (0.002, 4, True, "bfloat16")
    same = set(TrainingConfig.model_fields) - {"entropy_coef", "batch", "quantize", "dtype"}
    assert all(getattr(changed, name) == getattr(training, name) for name in same)
    assert training.changed(f"{name}={value}" for name, value in changed.model_dump().items()) == changed


@pytest.mark.parametrize("said", ["entropy=0.1", "batch", "", "=3", "model_fields=1"])
def test_what_is_no_setting_is_named_with_those_there_are(said: str) -> None:
    with pytest.raises(InputError, match=f"{said!r} is no setting of a training: NAME=VALUE, of rank, alpha"):
        TrainingConfig().changed([said])


@pytest.mark.parametrize("said", ["lam=2", "batch=0", "batch=1.5", "dtype=int8", "quantize=perhaps", "gamma=nan"])
def test_a_value_that_may_not_be_is_refused_by_name(said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}: "):
        TrainingConfig().changed(["seed=1", said])


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("learning_rate", 2.0), ("rank", 2000), ("answers", 300)])
def test_a_usual_training_refuses_by_name_too(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"^{name}={value}: "):
        TrainingConfig.usual("grpo", **{name: value})


@pytest.mark.parametrize("method", KINDS)
def test_a_method_has_its_own_usual_values_but_for_those_that_are_said(method: Method) -> None:
    usual, said = TrainingConfig.usual(method, rank=4), TrainingConfig.usual(method, learning_rate=0.5, beta=0.7)
    assert usual.rank == 4 and usual.learning_rate == USUAL[method]["learning_rate"]
    assert (said.learning_rate, said.beta) == (0.5, 0.7)
