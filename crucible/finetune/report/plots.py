"""The fine-tuning report's plots. Each says in its title what is to be seen, and in its description the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from crucible.bench.cells import constructs as constructs_of
from crucible.bench.report.facts import used
from crucible.bench.report.plots import constructs, distribution
from crucible.finetune.methods.health import Step
from crucible.finetune.records import Measured
from crucible.reporting.canvas import ARM_COLOURS, Plot, canvas, css, label, percents, rod
from crucible.reporting.svg import MUTED, inline
from crucible.reporting.words import brief, percent

if TYPE_CHECKING:
    from crucible.finetune.report import Story

ENDS = 8
"""Steps at the beginning and at the end whose means a title compares."""


class _Kind(NamedTuple):
    """A plot of some of the steps' figures, by name and label."""

    name: str
    title: str
    figures: dict[str, str]
    note: str


KINDS = (
    _Kind(
        "reward",
        "Reward",
        {"reward": "what is learned from", "hidden": "hidden tests, which pay for nothing"},
        "The mean of every round's answers.",
    ),
    _Kind("loss", "Loss", {"loss": "loss"}, "Where answers are drawn it is an objective, whose height means nothing."),
    _Kind("grad", "Gradient norm", {"grad_norm": "gradient norm"}, "Before it is clipped."),
    _Kind("entropy", "Entropy", {"entropy": "entropy"}, "Nats a token. At nothing, answers have become all alike."),
    _Kind("kl", "Distance from the model it began with", {"kl": "KL"}, "Nats a token."),
    _Kind("length", "Length of answers", {"completions/mean_length": "tokens"}, "Tokens, the mean of every round."),
    _Kind("repetition", "Repetition", {"repetition": "share"}, "Share of an answer's 4-grams that it had written."),
    _Kind("critic", "Variance that the critic explains", {"explained_variance": "share"}, "Of the returns; 1 is all."),
)
SHOWN_BY = {"gaming": "reward"}
"""Signs that no plot is named after."""


def draw(story: Story) -> list[Plot]:
    """Every plot that there are figures for, in the report's order."""
    drawn = [measured(story.evaluation.measured)] if story.evaluation is not None else []
    drawn += [plot for kind in KINDS if (plot := curve(story.steps, kind)) is not None]
    return [*drawn, *data(story)]


def measured(rows: Sequence[Measured]) -> Plot:
    """Before and after, a line for each figure."""
    said = "; ".join(f"{each.what}: {percent(each.before)} to {percent(each.after)}" for each in rows)
    before, after = MUTED, ARM_COLOURS[0]
    with canvas(0.8 + 0.5 * len(rows)) as (figure, axes):
        for place, each in enumerate(rows):
            rod(axes, [each.before, each.after], [place, place])
            axes.plot(each.before, place, "o", color=before, markersize=7)
            axes.plot(each.after, place, "o", color=after, markersize=7)
        axes.set_yticks(range(len(rows)), [label(each.what) for each in rows])
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="share of problems solved")
        percents(axes.xaxis)
        axes.grid(axis="x")
        title = f"Before and after: {said}"
        note = "On problems that are kept out of the data, by hidden tests, the same problems in both."
        return Plot(title, note, (("before", css(before)), ("after", after)), inline(figure, "measured", title, said))


def curve(steps: Sequence[Step], kind: _Kind) -> Plot | None:
    """None where no step has such figures."""
    found = {
        called: [(step.step, step.figures[name]) for step in steps if name in step.figures]
        for name, called in kind.figures.items()
    }
    found = {called: points for called, points in found.items() if points}
    if not found:
        return None
    said = "; ".join(f"{called}: {_from_to(points)}" for called, points in found.items())
    colours = dict(zip(found, ARM_COLOURS, strict=False))
    with canvas(2.4) as (figure, axes):
        for called, points in found.items():
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, color=colours[called], linewidth=1.6, marker="o" if len(xs) == 1 else None)
        for level, style in (("warn", ":"), ("stop", "-")):
            for step in steps:
                shown = {SHOWN_BY.get(sign.what, sign.what) for sign in step.signs if sign.level == level}
                if shown & {kind.name, *kind.figures}:
                    axes.axvline(step.step, color=MUTED, linestyle=style, linewidth=1)
        axes.set(xlabel="optimiser step")
        axes.grid(axis="y")
        title = f"{kind.title}: {_from_to(next(iter(found.values())))}"
        key = tuple((called, css(colours[called])) for called in found) if len(found) > 1 else ()
        return Plot(title, kind.note, key, inline(figure, kind.name, title, said))


def data(story: Story) -> Iterator[Plot]:
    """Return what the recorded answers to learn from are like, where there are any."""
    if story.proposal.method not in ("sft", "dpo") and not story.proposal.training.replay:
        return
    texts: Mapping[str, list[str]] = {
        "chosen": [each.chosen for each in story.dataset.examples if each.chosen],
        "rejected": [each.rejected for each in story.dataset.examples if each.rejected],
    }
    texts = {name: each for name, each in texts.items() if each}
    if texts:
        lengths = {name: list(map(len, each)) for name, each in texts.items()}
        yield distribution("characters", "Characters an answer", "", lengths)._replace(
            note="The dark line is the median answer; heights are shares of the answers."
        )
        programs = {name: [constructs_of(_program(text)) for text in each] for name, each in texts.items()}
        yield constructs(used(programs), list(texts))._replace(
            note="What the programs to learn from are made of (AST constructs), the most used first."
        )


def _program(answer: str) -> str:
    """Between its fences, whichever of them it has."""
    return answer.partition("```python\n")[2].partition("\n```")[0] or answer.partition("\n```")[0]


def _from_to(points: Sequence[tuple[int, float]]) -> str:
    values = [value for _, value in points]
    ends = max(1, min(ENDS, len(values) // 2))
    first, last = fmean(values[:ends]), fmean(values[-ends:])
    return f"{brief(first)} at first, {brief(last)} at last" if len(values) > 1 else brief(first)
