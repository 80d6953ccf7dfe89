"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) with a learned critic and generalised advantage
estimation (Schulman et al. 2016, arXiv 1506.02438).

TRL's online trainer has the rounds of answers, the clipped surrogate and the pull to the model it began with. What is its
own here: a critic, which says of every token what the answer so far will be worth, and so an advantage for every token. The
critic reads the hidden states that the policy computes in any case, and changes nothing of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crucible.errors import MissingPartError
from crucible.finetune.grpo import GroupTrainer
from crucible.finetune.learning import NEEDS
from crucible.finetune.online import Online, build

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import Tensor, nn
    from trl.trainer.grpo_config import GRPOConfig
except ImportError as error:
    raise MissingPartError(NEEDS) from error

CRITIC = "critic.safetensors"
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


class _Trainer(GroupTrainer):
    """`critic` is part of the model, so that it is trained, and synchronised over processes, with it."""

    critic: Critic
    gamma: float
    lam: float
    vf_coef: float
    _values: Tensor
    """(B, prompt and answer), of the last forward pass."""
    _rewards: Tensor
    """(B,), of the round that was judged last, of all processes."""

    def watch(self, critic: Critic, decoder: nn.Module) -> None:
        self.critic, self._decoder = critic, decoder
        critic.to(device=next(decoder.parameters()).device, dtype=torch.float32)
        decoder.register_forward_hook(self._see)

    def _see(self, _: nn.Module, __: object, output: Any) -> None:  # noqa: ANN401
        states = output.last_hidden_state.detach()
        with torch.autocast(states.device.type, enabled=False):
            self._values = self.critic(states)

    def _calculate_rewards(self, *args: Any, **more: Any) -> Tensor:  # noqa: ANN401
        found: Tensor = super()._calculate_rewards(*args, **more)
        self._rewards = found.nansum(dim=1)
        return found

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:  # noqa: ANN401
        given: dict[str, Any] = super()._generate_and_score_completions(inputs)
        mask = given["completion_mask"]
        values = self._foretold(given)
        first = self.accelerator.process_index * len(mask)
        rewards = torch.zeros_like(values)
        last = mask.sum(1).clamp(min=1) - 1
        rewards[torch.arange(len(mask)), last] = self._rewards[first : first + len(mask)].to(values.dtype)
        advantages, returns = gae(rewards, values, mask, self.gamma, self.lam)
        self._metrics["train"]["explained_variance"].append(explained_variance(values, returns, mask))
        return given | {"advantages": whitened(advantages, mask), "old_values": values, "returns": returns}

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:  # noqa: ANN401
        theirs: Any = super()
        policy: Tensor = theirs._compute_loss(model, inputs)
        mask, old, returns = inputs["completion_mask"], inputs["old_values"], inputs["returns"]
        values = self._of_answers(mask)
        near = old + (values - old).clamp(-self.epsilon_high, self.epsilon_high)
        worse = torch.maximum((values - returns) ** 2, (near - returns) ** 2)
        loss = 0.5 * (worse * mask).sum() / mask.sum().clamp(min=1)
        self._metrics["train"]["value_loss"].append(float(loss.detach()))
        total: Tensor = policy + self.vf_coef * loss / self.current_gradient_accumulation_steps
        return total

    def _foretold(self, given: dict[str, Any]) -> Tensor:
        """(B, T), what the critic says of a round before it is learned from; as many answers at a time as in training."""
        ids = torch.cat([given["prompt_ids"], given["completion_ids"]], dim=1)
        there = torch.cat([given["prompt_mask"], given["completion_mask"]], dim=1)
        found, size = [], self.args.per_device_train_batch_size
        with torch.no_grad():
            for rows in (slice(start, start + size) for start in range(0, len(ids), size)):
                self._decoder(input_ids=ids[rows], attention_mask=there[rows], use_cache=False)
                found.append(self._of_answers(given["completion_mask"][rows]))
        return torch.cat(found)

    def _of_answers(self, mask: Tensor) -> Tensor:
        """(B, T): what was said of every token's state before that token."""
        return self._values[:, -mask.shape[1] - 1 : -1] * mask

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401
        super()._save(output_dir, state_dict)
        save_file(self.critic.state_dict(), Path(output_dir or self.args.output_dir or ".") / CRITIC)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.critic.load_state_dict(load_file(Path(resume_from_checkpoint) / CRITIC))


def trainer(online: Online) -> _Trainer:
    """Raises InputError where no round can be made of the examples."""
    training, model = online.training, online.learner.model
    model.critic = critic = Critic(model.config.hidden_size)
    policy = [weight for name, weight in model.named_parameters() if weight.requires_grad and "critic" not in name]
    groups: list[dict[str, Any]] = [{"params": policy}, {"params": [*critic.parameters()], "lr": training.critic_rate}]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, weight_decay=0.0)
    made: _Trainer = build(_Trainer, GRPOConfig, online, optimizer=optimizer, entropy_coef=training.entropy_coef)
    made.gamma, made.lam, made.vf_coef = training.gamma, training.lam, training.vf_coef
    made.watch(critic, model.get_base_model().get_decoder())
    return made
