"""The critic's arithmetic against figures computed by hand, and that it is trained and saved with the model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.finetune.methods.ppo import Critic, Round, explained_variance, fit, gae, whitened
from crucible.finetune.records import TrainingConfig


def test_advantages_are_those_computed_by_hand() -> None:
    # Row 1, three tokens, paid 1 at its last; gamma 0.9, lambda 0.5:
    #   surprises: 0 + 0.9*0.4 - 0.5 = -0.14;  0 + 0.9*0.2 - 0.4 = -0.22;  1 + 0 - 0.2 = 0.8
    #   advantages: 0.8;  -0.22 + 0.45*0.8 = 0.14;  -0.14 + 0.45*0.14 = -0.077
    # Row 2, one token, paid 0.3 where 0.1 was said; what stands after it counts for nothing.
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.3, 7.0, 7.0]])
    values = torch.tensor([[0.5, 0.4, 0.2], [0.1, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=0.5)
    assert torch.allclose(advantages, torch.tensor([[-0.077, 0.14, 0.8], [0.2, 0.0, 0.0]]), atol=1e-6)
    assert torch.allclose(returns, torch.tensor([[0.423, 0.54, 1.0], [0.3, 0.0, 0.0]]), atol=1e-6)


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=6),
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    st.floats(0.1, 1.0),
)
def test_with_lambda_one_it_is_what_came_less_what_was_said(paid: list[float], said: list[float], gamma: float) -> None:
    rewards, values = torch.tensor([paid], dtype=torch.float64), torch.tensor([said[: len(paid)]], dtype=torch.float64)
    _, returns = gae(rewards, values, torch.ones_like(rewards), gamma=gamma, lam=1.0)
    to_come = 0.0
    for t in reversed(range(len(paid))):
        to_come = paid[t] + gamma * to_come
        assert returns[0, t].item() == pytest.approx(to_come, abs=1e-9)


def test_with_lambda_zero_it_is_the_surprise_of_one_token() -> None:
    rewards, values = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.7]])
    advantages, _ = gae(rewards, values, torch.ones(1, 2), gamma=1.0, lam=0.0)
    assert torch.allclose(advantages, torch.tensor([[0.2, 0.3]]))


def test_whitening_leaves_out_what_is_no_token() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    white = whitened(torch.tensor([[1.0, 2.0, 99.0], [6.0, 99.0, 99.0]]), mask)
    kept = white[mask.bool()]
    assert kept.mean().item() == pytest.approx(0.0, abs=1e-6) and kept.var(correction=0).item() == pytest.approx(1.0)
    assert not white[~mask.bool()].any()
    assert torch.isfinite(whitened(torch.full((2, 3), 4.0), torch.ones(2, 3))).all()


def test_variance_that_is_foretold() -> None:
    returns, mask = torch.tensor([[0.0, 1.0, 50.0]]), torch.tensor([[1, 1, 0]])
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(torch.zeros(1, 3), returns, mask) == 0.0
    assert explained_variance(returns, torch.ones(1, 3), mask) == 0.0


def round_of(states: torch.Tensor, worth: torch.Tensor) -> Round:
    """Answers of one token each; states (B, H), worth (B,)."""
    return Round(states[:, None], worth[:, None], torch.ones(len(worth), 1))


def fitted(rounds: Sequence[Round], epochs: int, seed: int = 0) -> tuple[Critic, float]:
    torch.manual_seed(0)
    critic = Critic(rounds[0].states.shape[-1])
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    return critic, fit(critic, optimizer, rounds, TrainingConfig(batch=2, critic_epochs=epochs), seed)


def test_a_fresh_critic_says_nothing_and_learns() -> None:
    states, mask = torch.randn(4, 5, 16), torch.tensor([[1, 1, 1, 1, 0]] * 4)
    worth = states[:, 3, 0]
    rewards = torch.zeros(4, 5)
    rewards[:, 3], rewards[:, 4] = worth, 99.0  # what stands after an answer is not learned
    told = Round(states, rewards, mask)
    fresh, first = fitted([told], 1)
    assert Critic(16)(states).shape == (4, 5) and not Critic(16)(states).any()
    critic, later = fitted([told], 200)
    values, _, returns = told.judged(critic, TrainingConfig())
    assert explained_variance(values, returns, mask) > 0.9
    assert later < first / 3 and not values[:, 4].any()
    assert (fresh(states)[:, :4] - worth[:, None]).abs().mean() > (values[:, :4] - worth[:, None]).abs().mean()


def test_of_rounds_before_a_critic_learns_what_the_last_does_not_show() -> None:
    # What is asked for is in the first two rounds; the last one's states are others.
    torch.manual_seed(1)
    seen = torch.eye(8)
    rounds = [round_of(seen[[a, a + 1]], torch.tensor([1.0, 0.0])) for a in (0, 2, 4, 6)]
    asked = seen[[0, 1, 2, 3]][:, None]
    knows, _ = fitted(rounds, 50)
    forgot, _ = fitted(rounds[-1:], 200)
    truth = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    assert (knows(asked) - truth).abs().max() < 0.2 < (forgot(asked) - truth).abs().max()


def test_the_order_of_learning_is_the_seeds() -> None:
    torch.manual_seed(2)
    rounds = [round_of(torch.randn(4, 8), torch.rand(4)) for _ in range(3)]
    one, again, other = (fitted(rounds, 4, seed)[0].say.weight for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
