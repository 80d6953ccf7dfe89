"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) with a learned critic and generalised advantage
estimation (Schulman et al. 2016, arXiv 1506.02438).

TRL's online trainer has the rounds of answers, the clipped surrogate and the pull to the model it began with. What is its
own here: a critic, which says of every token what the answer so far will be worth, and so an advantage for every token. The
critic reads the policy's hidden states, changes nothing of them, and is trained after every round by itself, on that round and on
some before it: a round's answers are too few to foretell the next from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from crucible.errors import MissingPartError
from crucible.finetune.methods import NEEDS
from crucible.finetune.methods.grpo import GroupTrainer
from crucible.finetune.methods.online import Online, build
from crucible.finetune.records import TrainingConfig

try:
    import torch
    from torch import Tensor, nn
    from trl.trainer.grpo_config import GRPOConfig
except ImportError as error:
    raise MissingPartError(NEEDS) from error

CRITIC = "critic.pt"
WIDTH = 256
LEAST = 0.05
"""Deviation of advantages below which they are not made larger."""


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, all (B, T): rewards[t] is paid for token t, values[t] was said before it, mask is 1 up to an
    answer's last token. After that nothing is to come (arXiv 1506.02438, eq. 16)."""
    advantages, ahead, following = (
        torch.zeros_like(values),
        torch.zeros_like(values[:, 0]),
        torch.zeros_like(values[:, 0]),
    )
    for t in range(values.shape[1] - 1, -1, -1):
        there = mask[:, t].to(values.dtype)
        surprise = rewards[:, t] + gamma * following - values[:, t]
        ahead = there * (surprise + gamma * lam * ahead)
        following = there * values[:, t]
        advantages[:, t] = ahead
    return advantages, (advantages + values) * mask


def whitened(advantages: Tensor, mask: Tensor) -> Tensor:
    """Over all tokens of `mask`: mean 0 and variance 1, or less where they hardly differ: rewards lie between 0 and 1, and a
    critic's last errors are not to be made as much of as a reward."""
    mask = mask.to(advantages.dtype)
    count = mask.sum().clamp(min=1)
    centred = (advantages - (advantages * mask).sum() / count) * mask
    return centred / ((centred**2).sum() / count).sqrt().clamp(min=LEAST)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """The share of the returns' variance that the values foretell; 0 where all returns are alike."""
    said, came = values[mask.bool()], returns[mask.bool()]
    variance = came.var(correction=0)
    return float(1 - (came - said).var(correction=0) / variance) if variance > 0 else 0.0


class Critic(nn.Module):
    """Hidden states (B, T, H) to values (B, T). A fresh one says 0 of everything."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, WIDTH), nn.GELU())
        self.say = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.say.weight)
        nn.init.zeros_(self.say.bias)

    def forward(self, states: Tensor) -> Tensor:
        value: Tensor = self.say(self.read(states.float()))
        return value.squeeze(-1)


class Round(NamedTuple):
    """The policy's view before every token of a round's answers, and each token's reward."""

    states: Tensor
    """(B, T, H), in bfloat16: many rounds are kept."""
    rewards: Tensor
    """(B, T)."""
    mask: Tensor
    """(B, T), 1 up to an answer's last token."""

    def judged(self, critic: Critic, training: TrainingConfig) -> tuple[Tensor, Tensor, Tensor]:
        """Values, advantages and returns as the critic is now, all (B, T)."""
        with torch.no_grad():
            values = critic(self.states) * self.mask
        return values, *gae(self.rewards, values, self.mask, training.gamma, training.lam)


class _Trainer(GroupTrainer):
    """TRL's loss takes an advantage for every token; the critic that they come from is trained here, apart from the policy."""

    critic: Critic
    learned: torch.optim.AdamW
    """What trains the critic."""
    rounds: deque[Round]
    """What it is trained on."""
    training: TrainingConfig
    _states: Tensor
    """(B, prompt and answer, H), of the last forward pass."""
    _rewards: Tensor
    """(B,), of the round that was judged last, of all processes."""

    def watch(self, decoder: Any, training: TrainingConfig) -> None:  # noqa: ANN401
        device = next(decoder.parameters()).device
        self.critic, self.training = Critic(decoder.config.hidden_size).to(device), training
        self.learned = torch.optim.AdamW(self.critic.parameters(), lr=training.critic_rate, weight_decay=0.0)
        self.rounds = deque(maxlen=training.critic_rounds)
        self._decoder = decoder
        decoder.register_forward_hook(self._see)

    def _see(self, _: nn.Module, __: object, output: Any) -> None:  # noqa: ANN401
        self._states = output.last_hidden_state.detach()

    def _calculate_rewards(self, *args: Any, **more: Any) -> Tensor:  # noqa: ANN401
        found: Tensor = super()._calculate_rewards(*args, **more)
        self._rewards = found.nansum(dim=1)
        return found

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:  # noqa: ANN401
        given: dict[str, Any] = super()._generate_and_score_completions(inputs)
        mask = given["completion_mask"]
        first = self.accelerator.process_index * len(mask)
        rewards = torch.zeros_like(mask, dtype=torch.float32)
        last = mask.sum(1).clamp(min=1) - 1
        rewards[torch.arange(len(mask)), last] = self._rewards[first : first + len(mask)].float()
        drawn = Round(self._read(given), rewards, mask)
        values, advantages, returns = drawn.judged(self.critic, self.training)
        self.rounds.append(drawn)
        loss = fit(self.critic, self.learned, self.rounds, self.training, self.state.global_step)
        self._metrics["train"]["explained_variance"].append(explained_variance(values, returns, mask))
        self._metrics["train"]["value_loss"].append(loss)
        return given | {"advantages": whitened(advantages, mask)}

    def _read(self, given: dict[str, Any]) -> Tensor:
        """(B, T, H), of every token of an answer the state before it; as many answers at a time as in training."""
        ids = torch.cat([given["prompt_ids"], given["completion_ids"]], dim=1)
        there = torch.cat([given["prompt_mask"], given["completion_mask"]], dim=1)
        found, size = [], self.args.per_device_train_batch_size
        with torch.no_grad():
            for start in range(0, len(ids), size):
                rows = slice(start, start + size)
                self._decoder(input_ids=ids[rows], attention_mask=there[rows], use_cache=False)
                found.append(self._states[:, -given["completion_ids"].shape[1] - 1 : -1].bfloat16())
        return torch.cat(found)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401
        super()._save(output_dir, state_dict)
        state = {
            "critic": self.critic.state_dict(),
            "learned": self.learned.state_dict(),
            "rounds": [tuple(each) for each in self.rounds],
        }
        torch.save(state, Path(output_dir or self.args.output_dir or ".") / CRITIC)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        state = torch.load(Path(resume_from_checkpoint) / CRITIC, weights_only=True)
        self.critic.load_state_dict(state["critic"])
        self.learned.load_state_dict(state["learned"])
        self.rounds = deque((Round(*each) for each in state["rounds"]), self.training.critic_rounds)


def fit(
    critic: Critic, optimizer: torch.optim.Optimizer, rounds: Sequence[Round], training: TrainingConfig, seed: int
) -> float:
    """Brings the critic nearer to the returns of `rounds`, `critic_epochs` times over them in an order that `seed` decides; the
    mean loss. A past round's returns are those by the critic as it is now.

    Policy and critic share no weights, so each is trained as often as suits it, and the critic on what the policy would no longer
    learn from (Cobbe et al. 2020, arXiv 2009.04416). Its steps are not clipped: Andrychowicz et al. 2020 (arXiv 2006.05990) found
    that to do harm."""
    batches = [
        batch
        for each in rounds
        for batch in zip(
            *(torch.split(part, training.batch) for part in (each.states, each.judged(critic, training)[2], each.mask)),
            strict=True,
        )
    ]
    losses, order = [], torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(training.critic_epochs):
            for number in torch.randperm(len(batches), generator=order).tolist():
                states, returns, mask = batches[number]
                loss = ((critic(states) - returns) ** 2 * mask).sum() / mask.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(float(loss.detach()))
    return fmean(losses)


def trainer(online: Online) -> _Trainer:
    """Raises InputError where no round can be made of the examples."""
    made: _Trainer = build(_Trainer, GRPOConfig, online, entropy_coef=online.training.entropy_coef)
    made.watch(online.learner.model.get_base_model().get_decoder(), online.training)
    return made
