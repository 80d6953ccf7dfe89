"""The settings of `crucible train` and of fine-tuning: which problem is next, when a hint is given, when a training is ill.

They decide nothing about a single run, so they are no part of `Settings.hash`.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from crucible.config.section import Section

Factor = Annotated[float, Field(gt=1, le=1_000_000)]
Nats = Annotated[float, Field(gt=0, le=1e12)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class CurriculumSettings(Section):
    """When the curriculum of `crucible train` moves, and what it leaves for later."""

    window: int = Field(ge=1, le=100_000)
    """Latest episodes at the level whose success rate decides."""
    least: int = Field(ge=1, le=100_000)
    """Episodes at the level before anything is decided; as many as the level has problems, where those are fewer."""
    climb_at: float = Field(gt=0, le=1)
    """Success rate from which the next harder level follows."""
    back_under: float = Field(ge=0, lt=1)
    """Success rate under which the next easier level follows."""
    revisit: Fraction
    """Chance that an episode is of an easier level than the curriculum's, so that what was learnt there is kept in use."""
    rest_after: int = Field(ge=1, le=100_000)
    """Failed episodes after which a problem is left alone until nothing else is open."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.back_under >= self.climb_at:
            raise ValueError("back_under must be less than climb_at")
        return self


class HintSettings(Section):
    """When `crucible train` gives a hint."""

    stuck_after: int = Field(ge=1, le=100_000)
    """Failed episodes after which a problem is stuck."""
    chance: Fraction
    """Chance of a hint at the first decision on a stuck problem."""
    backoff: Fraction
    """Factor by which each further decision on a problem multiplies that chance."""


class HealthLimits(Section):
    """When a fine-tuning warns and stops. A figure that a method does not give is not watched."""

    exploding: Factor
    """Times the median gradient norm of the last steps, or the mean of the first ones; stops."""
    loss_rise: Factor
    """Times the lowest mean loss so far; warns."""
    kl_warn: Nats
    """Nats a token from the model that training began with; warns."""
    kl_stop: Nats
    """The same; stops."""
    entropy_warn: Fraction
    """Share of the entropy that the first steps had; less warns."""
    entropy_stop: Fraction
    """The same; less stops."""
    length_warn: Fraction
    """Share of the mean length that the first answers had; less, or as much above it, warns."""
    length_stop: Fraction
    """The same; stops."""
    repetition_warn: Fraction
    """Share of an answer's 4-grams that it wrote before; more warns."""
    repetition_stop: Fraction
    """The same; more stops."""
    gaming_warn: Fraction
    """Amount by which the gain, since the first steps, of the tests that pay may exceed that of the hidden ones; more warns."""
    gaming_stop: Fraction
    """The same; more stops."""
