"""Where the graph goes next, as pure functions of the State."""

from __future__ import annotations

from typing import Literal

from crucible.config import CyclesSettings
from crucible.nodes.policy import why_stop
from crucible.types import State


def after_test(state: State, cycles: CyclesSettings, spent_s: float) -> Literal["reflect", "learn"]:
    """Solved, refused or out of budget: learn. Else reflect and go round again."""
    return "reflect" if why_stop(state, cycles, spent_s) is None else "learn"
