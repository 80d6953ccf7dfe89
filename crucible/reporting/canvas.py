"""What the plots share: the paper they are drawn on, their colours, and where labels and ticks go.

Colours are those of Okabe and Ito (2008), told apart with any kind of colour vision. matplotlib is used through its objects
alone, inside `rc_context`: nothing of the process's own matplotlib state is read or left changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from math import ceil, floor, log10
from typing import TYPE_CHECKING, NamedTuple

from crucible.reporting.svg import INK, PAPER, STYLE, VARIABLES
from crucible.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH = 5.6
"""Inches of 72 units: narrow enough that a phone shows the text at a size that can be read."""
ARM_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442", INK)
MAX_LABEL = 20


class Plot(NamedTuple):
    """`key`: label and colour, for what the drawing does not label itself. `note`: how to read it."""

    title: str
    note: str
    key: tuple[tuple[str, str], ...]
    svg: str


@contextmanager
def canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """`height` in inches. The figure is to be written before this is left."""
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()  # whoever draws, whatever their matplotlibrc
        rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def colour(arms: Iterable[str], arm: str) -> str:
    return ARM_COLOURS[list(arms).index(arm) % len(ARM_COLOURS)]


def css(drawn: str) -> str:
    """A drawing's colour as the page writes it."""
    return VARIABLES.get(drawn, drawn)


def arm_key(arms: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((arm, css(colour(arms, arm))) for arm in arms)


def label(text: str) -> str:
    return one_line(text, MAX_LABEL)


def percents(axis: Axis) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))


def rod(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> None:
    """A line that stands out from whatever it crosses."""
    axes.plot(xs, ys, color=PAPER, linewidth=2.6, solid_capstyle="butt")
    axes.plot(xs, ys, color=INK, linewidth=1.2, solid_capstyle="butt")


def spread(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Places for labels: as wanted where there is room, else pushed apart, none above `top`."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = list(wanted)
    for below, above in pairwise(order):
        placed[above] = max(placed[above], placed[below] + gap)
    if order:
        placed[order[-1]] = min(placed[order[-1]], top)
    for above, below in pairwise(reversed(order)):
        placed[below] = min(placed[below], placed[above] - gap)
    return placed


def ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, … between the two, or only the powers of ten where those would be too many."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    every = [(step, step * 10.0**power) for power in powers for step in (1, 2, 5)]
    there = [(step, tick) for step, tick in every if low <= tick <= high]
    return [tick for step, tick in there if step == 1 or len(there) <= 7]
