"""The critic's arithmetic against figures computed by hand, and that it is trained and saved with the model."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crucible.finetune.ppo import Critic, explained_variance, fit, gae, whitened
from crucible.finetune.records import Training


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


def test_a_fresh_critic_says_nothing_and_learns() -> None:
    torch.manual_seed(0)
    critic, states, mask = Critic(16), torch.randn(4, 5, 16), torch.tensor([[1, 1, 1, 1, 0]] * 4)
    returns = torch.where(mask.bool(), states[..., 0], 99.0)  # what stands after an answer is not learned
    assert critic(states).shape == (4, 5) and not critic(states).any()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2)
    once, often = (Training(batch=2, critic_epochs=epochs) for epochs in (1, 200))
    first = fit(critic, optimizer, states, returns, mask, once)
    fit(critic, optimizer, states, returns, mask, often)
    assert explained_variance(critic(states).detach(), returns, mask) > 0.9
    assert fit(critic, optimizer, states, returns, mask, once) < first / 10
