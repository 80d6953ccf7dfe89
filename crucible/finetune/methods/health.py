"""Whether a training is still in health: what is watched, when it warns, when it stops.

Pure: a `Monitor` sees one step's figures after the other. The figures are TRL's, by TRL's names where it has them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, median
from typing import Literal

from crucible.config import HealthLimits, packaged
from crucible.types import Frozen

WINDOW = 8
"""Steps that a figure is compared with."""
SMALL = 0.05
"""A gradient norm of no consequence: 20 times as much is what a step is clipped to by default."""


class Alert(Frozen):
    """Something that was seen."""

    step: int
    level: Literal["warn", "stop"]
    what: str
    """The figure's name."""
    said: str
    """In words, with the figures."""
    change: str
    """What to change before another try."""


class Step(Frozen):
    """The figures of an optimiser step. seconds: since this process began to train."""

    step: int
    steps: int
    seconds: float
    figures: dict[str, float]
    signs: tuple[Alert, ...] = ()


LOWER_RATE = "lower the learning rate, or raise the warm-up"
MORE_KL = "raise beta (the pull to the model it began with), or lower the learning rate"
MORE_DATA = "take more and more varied data, fewer epochs"
LESS_OF_IT = "take fewer epochs, a lower learning rate, or more and more varied data"
BETTER_REWARD = "reward hidden tests, or more of them; look at the sample completions"


class Monitor:
    """Sees the figures of one step after the other and says what is wrong with them."""

    def __init__(self, limits: HealthLimits | None = None) -> None:
        self._limits = limits or packaged(HealthLimits)
        self._recent: dict[str, deque[float]] = {}
        self._first: dict[str, list[float]] = {}
        self._lowest_loss = math.inf
        self.signs: list[Alert] = []

    def see(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        """Return what this step shows, kept in `signs` too."""
        found = [
            *self._finite(step, figures),
            *self._explodes(step, figures),
            *self._rises(step, figures),
            *self._collapses(step, figures),
            *self._drifts(step, figures),
            *self._games(step, figures),
        ]
        for name, value in figures.items():
            if math.isfinite(value):
                self._recent.setdefault(name, deque(maxlen=WINDOW)).append(value)
                first = self._first.setdefault(name, [])
                if len(first) < WINDOW // 2:
                    first.append(value)
        self.signs += found
        return found

    def _finite(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        return [
            Alert(step=step, level="stop", what=name, said=f"{name} is {figures[name]}", change=LOWER_RATE)
            for name in ("loss", "grad_norm")
            if name in figures and not math.isfinite(figures[name])
        ]

    def _explodes(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        recent, now = self._recent.get("grad_norm", ()), figures.get("grad_norm", 0.0)
        if len(recent) < WINDOW // 2 or not math.isfinite(now):
            return []
        # Where all answers are worth the same there is next to no gradient: that is not what the next one is held against.
        usual = max(median(recent), fmean(self._first["grad_norm"]), SMALL)
        if now <= self._limits.exploding * usual:
            return []
        said = f"the gradient's norm is {now:.3g}, of late it was {usual:.3g}"
        return [Alert(step=step, level="stop", what="grad_norm", said=said, change=LOWER_RATE)]

    def _rises(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        if self._draws(figures):
            return []  # the height of an objective that is no likelihood means nothing
        recent = [*self._recent.get("loss", ()), figures.get("loss", math.nan)][-WINDOW:]
        if len(recent) < WINDOW or not all(math.isfinite(value) for value in recent):
            return []
        mean = fmean(recent)
        lowest, self._lowest_loss = self._lowest_loss, min(self._lowest_loss, mean)
        if mean <= self._limits.loss_rise * lowest:
            return []
        said = f"the loss rose to {mean:.3g}, it had been {lowest:.3g}"
        return [Alert(step=step, level="stop", what="loss", said=said, change=LOWER_RATE)]

    def _collapses(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        limits, found = self._limits, []
        if (share := self._share("entropy", figures)) is not None and share < limits.entropy_warn:
            drawn = self._draws(figures)
            means = "answers become all alike" if drawn else "it may be learning its examples by heart"
            said = f"the entropy fell to {100 * share:.0f} % of what it was: {means}"
            grave = share < limits.entropy_stop
            found.append(_sign(step, "entropy", grave, said, MORE_KL if drawn else LESS_OF_IT))
        if (share := self._share("completions/mean_length", figures)) is not None:
            share = min(share, 1 / share) if share > 0 else 0.0
            if share < limits.length_warn:
                said = f"answers are {figures['completions/mean_length']:.0f} tokens long, as many times off what they were"
                found.append(_sign(step, "length", share < limits.length_stop, said, MORE_KL))
        if (now := figures.get("repetition", 0.0)) > limits.repetition_warn:
            said = f"{100 * now:.0f} % of what is written was written before in the same answer"
            found.append(_sign(step, "repetition", now > limits.repetition_stop, said, MORE_DATA))
        return found

    def _drifts(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        if (now := figures.get("kl", 0.0)) <= self._limits.kl_warn:
            return []
        said = f"{now:.2g} nats a token away from the model it began with"
        return [_sign(step, "kl", now > self._limits.kl_stop, said, MORE_KL)]

    def _games(self, step: int, figures: Mapping[str, float]) -> list[Alert]:
        """What is paid for rises and what it stands for does not (Goodhart): the visible tests are gamed."""
        gains = []
        for name in ("visible", "hidden"):
            first, recent = self._first.get(name, []), self._recent.get(name, ())
            if name not in figures or len(recent) < WINDOW:
                return []
            gains.append(fmean([*recent, figures[name]][-WINDOW:]) - fmean(first))
        ahead = gains[0] - max(gains[1], 0.0)
        if gains[0] <= 0 or ahead <= self._limits.gaming_warn:
            return []
        said = f"the tests that pay gained {gains[0]:.2f}, the hidden ones {gains[1]:+.2f}"
        return [_sign(step, "gaming", ahead > self._limits.gaming_stop, said, BETTER_REWARD)]

    def _draws(self, figures: Mapping[str, float]) -> bool:
        """Whether the method learns from answers that it draws, and not from recorded ones."""
        return "reward" in self._first or "reward" in figures

    def _share(self, name: str, figures: Mapping[str, float]) -> float | None:
        """Of what the first steps had; None where there is nothing to compare."""
        first = self._first.get(name, [])
        if name not in figures or len(first) < WINDOW // 2 or fmean(first) <= 0:
            return None
        return fmean([*self._recent[name], figures[name]][-WINDOW // 2 :]) / fmean(first)


def _sign(step: int, what: str, grave: bool, said: str, change: str) -> Alert:
    return Alert(step=step, level="stop" if grave else "warn", what=what, said=said, change=change)


def repetition(tokens: list[int], n: int = 4) -> float:
    """Share of the n-grams that occurred before in the same sequence; 0 for one too short to have two."""
    grams = [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
