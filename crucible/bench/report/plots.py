"""The report's plots. Each says in its title what is to be seen, and in its description the numbers behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from crucible.bench.report.facts import Construct, Facts, Level
from crucible.reporting.canvas import (
    Plot,
    arm_key,
    canvas,
    colour,
    css,
    label,
    percents,
    rod,
    spread,
    ticks,
)
from crucible.reporting.svg import GRID, INK, MUTED, PAPER, inline
from crucible.reporting.words import NO_DIFFICULTY, brief, percent, together

FAILURE_COLOURS = {
    "hidden-only": "#56b4e9",
    "wrong-answer": "#0072b2",
    "runtime": "#d55e00",
    "timeout": "#e69f00",
    "missing-entry": "#f0e442",
    "syntax": "#cc79a7",
    "constraint": "#009e73",
    "no-code": INK,
    "other": "#999999",
}
"""From nearly right to nothing at all. Kinds that are not here are rare and share the last."""
ON = {"wrong-answer": "#ffffff", "no-code": PAPER}
"""Colours of a number on them, where that is not black."""
BINS = 28
MAX_NAMED = 4
"""Arms that a title names one by one."""


def draw(facts: Facts) -> list[Plot]:
    """Every plot, in the report's order; none where no cell is done."""
    if not facts.arms:
        return []
    cells = {summary.arm: summary.cells for summary in facts.arms}
    counts = {arm: {kind.name: kind.arms[arm] for kind in facts.failures if kind.arms[arm]} for arm in cells}
    return [
        accuracy(facts.curves, facts.plan.budget),
        difficulty(facts.levels, facts.names),
        failures(counts, cells),
        distribution("tokens", "Tokens a cell", "", facts.tokens),
        constructs(facts.constructs, facts.names),
        distribution("seconds", "Seconds a cell", "\N{NO-BREAK SPACE}s", facts.seconds),
    ]


def accuracy(curves: Mapping[str, Sequence[tuple[float, float]]], budget: int) -> Plot:
    """curves: by arm, (tokens, share of cells solved), ascending."""
    ends = {arm: points[-1] for arm, points in curves.items()}
    best = max(share for _, share in ends.values())
    leaders = [arm for arm, (_, share) in ends.items() if share == best]
    found = f"{together(leaders)} {'ends' if len(leaders) == 1 else 'end'} highest, at {percent(best)}"
    if not best:
        found = "no arm solves any problem"
    elif len(ends) == 1:
        found = f"{leaders[0]} ends at {percent(best)}"
    said = "; ".join(f"{arm}: {percent(share)} at {tokens:,.0f} tokens" for arm, (tokens, share) in ends.items())
    top = min(1.0, best * 1.2) or 1.0
    right = 1.04 * (max(tokens for tokens, _ in ends.values()) or budget)
    with canvas(3.6) as (figure, axes):
        axes.set(xlim=(0, right), ylim=(0, top * 1.02), xlabel="generated tokens in the cell, at most")
        places = spread([share for _, share in ends.values()], top * 0.075, top)
        for (arm, (tokens, share)), place in zip(ends.items(), places, strict=True):
            ink = colour(curves, arm)
            xs, ys = zip(*curves[arm], strict=True)
            axes.step(xs, ys, where="post", color=ink, linewidth=1.8)
            axes.plot([tokens, right * 0.985, right], [share, share, place], ":", color=MUTED, linewidth=0.6, zorder=1)
            axes.plot([tokens, right], [share, place], "o", color=ink, markersize=4.5, clip_on=False, zorder=3)
            text = f"{label(arm)}  {percent(share)}"
            axes.annotate(text, (right, place), (6, 0), textcoords="offset points", va="center", annotation_clip=False)
        percents(axes.yaxis)
        axes.grid(axis="y")
        title = f"Accuracy against tokens: {found}"
        note = "Share of cells that are solved and generated at most so many tokens. Where a line ends, the last one is solved."
        return Plot(title, note, (), inline(figure, "accuracy", title, said))


def difficulty(levels: Sequence[Level], arms: Sequence[str]) -> Plot:
    names = [label(level.name or NO_DIFFICULTY) for level in levels]
    best = [max(bar.pass_at_1 for bar in level.arms.values()) for level in levels]
    worst = min(best)
    where = f"lowest on {names[best.index(worst)]}" if worst < max(best) else together(names)
    title = f"Accuracy by difficulty: {where}, {percent(worst)} at best"
    said = "; ".join(
        f"{name}, {arm}: {percent(bar.pass_at_1)} ({percent(bar.ci95.low)} to {percent(bar.ci95.high)})"
        for name, level in zip(names, levels, strict=True)
        for arm, bar in level.arms.items()
    )
    width = 0.8 / len(arms)
    with canvas(3.2) as (figure, axes):
        for index, arm in enumerate(arms):
            for group, level in enumerate(levels):
                if (bar := level.arms.get(arm)) is None:
                    continue
                place = group + (index - (len(arms) - 1) / 2) * width
                axes.bar(place, bar.pass_at_1, width * 0.92, color=colour(arms, arm))
                rod(axes, [place, place], bar.ci95)
                if len(arms) * len(levels) <= 15:
                    top = (place, bar.ci95.high)
                    axes.annotate(
                        f"{100 * bar.pass_at_1:.0f}", top, (0, 2), textcoords="offset points", ha="center", size=9
                    )
        labels = [f"{name}\n{level.problems} problems" for name, level in zip(names, levels, strict=True)]
        axes.set_xticks(range(len(levels)), labels)
        axes.set(ylim=(0, 1.06), xlim=(-0.55, len(levels) - 0.45))
        percents(axes.yaxis)
        axes.grid(axis="y")
        note = "The numbers are pass@1 in per cent, the lines its 95 % intervals."
        return Plot(title, note, arm_key(arms), inline(figure, "difficulty", title, said))


def failures(counts: Mapping[str, Mapping[str, int]], cells: Mapping[str, int]) -> Plot:
    """counts: by arm, the cells of every kind of failure. cells: by arm, all of them."""
    shown: dict[str, Counter[str]] = {arm: Counter() for arm in counts}
    for arm, kinds in counts.items():
        for kind, number in kinds.items():
            shown[arm][kind if kind in FAILURE_COLOURS else "other"] += number
    total = sum(shown.values(), Counter[str]())
    found = "no cell failed"
    if total:
        kind, number = total.most_common(1)[0]
        found = f"{kind} is the commonest, {number} of {total.total()}"
    said = "; ".join(
        f"{arm}: {', '.join(f'{number} {kind}' for kind, number in kinds.items()) or 'no failure'} of {cells[arm]} cells"
        for arm, kinds in counts.items()
    )
    with canvas(0.75 + 0.5 * len(shown)) as (figure, axes):
        for row, (arm, kinds) in enumerate(shown.items()):
            done = 0.0
            for kind in (kind for kind in FAILURE_COLOURS if kinds[kind]):
                share = kinds[kind] / cells[arm]
                axes.barh(row, share, 0.62, done, color=FAILURE_COLOURS[kind], edgecolor=PAPER, linewidth=1)
                if share > 0.035:
                    on = ON.get(kind, "#000000")
                    axes.text(done + share / 2, row, str(kinds[kind]), ha="center", va="center", size=9.5, color=on)
                done += share
            axes.barh(row, 1 - done, 0.62, done, color=GRID, alpha=0.45, linewidth=0)
            if 1 - done > 0.16:
                passed = f"{cells[arm] - kinds.total()} passed"
                axes.text(0.99, row, passed, ha="right", va="center", size=9.5, color=MUTED)
        axes.set_yticks(range(len(shown)), [label(arm) for arm in shown])
        axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xlabel="share of cells")
        percents(axes.xaxis)
        axes.grid(axis="x")
        title = f"Failures: {found}"
        note = "Every cell once, by the worst thing its tests met; the numbers are cells."
        key = tuple((kind, css(drawn)) for kind, drawn in FAILURE_COLOURS.items() if total[kind])
        return Plot(title, note, key, inline(figure, "failures", title, said))


def distribution(name: str, what: str, unit: str, values: Mapping[str, Sequence[float]]) -> Plot:
    """One histogram an arm over a common logarithmic axis. unit: as it follows a number."""
    least = min((number for numbers in values.values() for number in numbers if number > 0), default=1.0)
    shown = {arm: [max(number, least) for number in numbers] for arm, numbers in values.items()}
    low, high = least * 0.9, max(number for numbers in shown.values() for number in numbers) * 1.1
    edges = [low * (high / low) ** (step / BINS) for step in range(BINS + 1)]
    bins = {
        arm: [sum(a <= number < b for number in numbers) for a, b in pairwise(edges)] for arm, numbers in shown.items()
    }
    tallest = max(max(counts) / sum(counts) for counts in bins.values())
    middles = {arm: f"{brief(median(numbers))}{unit}" for arm, numbers in values.items()}
    said = ", ".join(f"{arm}\N{NO-BREAK SPACE}{middle}" for arm, middle in middles.items())
    ends = {arm: middles[arm] for arm in sorted(shown, key=lambda arm: median(shown[arm]))[:: max(1, len(shown) - 1)]}
    found = said if len(middles) <= MAX_NAMED else " to ".join(f"{middle} ({arm})" for arm, middle in ends.items())
    with canvas(0.75 + 0.62 * len(bins)) as (figure, axes):
        for row, (arm, counts) in enumerate(bins.items()):
            base = len(bins) - 1 - row
            heights = [base + 0.62 * count / sum(counts) / tallest for count in counts]
            axes.stairs(heights, edges, baseline=base, fill=True, color=colour(values, arm), alpha=0.85)
            axes.axhline(base, color=GRID, linewidth=0.8)
            middle = median(shown[arm])
            rod(axes, [middle, middle], [base, base + 0.8])
            side, towards = ("right", -4) if middle > (low * high) ** 0.5 else ("left", 4)  # where there is more room
            where = (middle, base + 0.68)
            axes.annotate(middles[arm], where, (towards, 0), textcoords="offset points", size=9.5, ha=side)
        axes.set_xscale("log")
        axes.set(xlim=(low, high), ylim=(-0.06, len(bins)), xlabel=f"{what.lower()} (logarithmic)")
        axes.set_xticks(ticks(low, high), [f"{brief(tick)}{unit}" for tick in ticks(low, high)])
        axes.set_xticks([], minor=True)
        axes.set_yticks([len(bins) - 0.75 - row for row in range(len(bins))], [label(arm) for arm in bins])
        axes.grid(axis="x")
        title = f"{what}, median: {found}"
        note = "The dark line is the median cell; heights are shares of the arm's cells."
        return Plot(title, note, (), inline(figure, name, title, said))


def constructs(rows: Sequence[Construct], arms: Sequence[str]) -> Plot:
    found = "there is no program to look into"
    if rows:
        arm, share = max(rows[0].share.items(), key=lambda item: item[1])
        found = f"{label(rows[0].name)} is used most, by {percent(share)} of the programs of {arm}"
    said = "; ".join(
        f"{row.name}: " + ", ".join(f"{arm} {percent(share)}" for arm, share in row.share.items()) for row in rows
    )
    height = max(4, len(rows))
    with canvas(0.7 + 0.24 * height) as (figure, axes):
        for place, row in enumerate(rows):
            axes.plot([min(row.share.values()), max(row.share.values())], [place, place], color=MUTED, linewidth=1)
            for arm, share in row.share.items():
                axes.plot(
                    share, place, "o", color=colour(arms, arm), markersize=6, markeredgecolor=PAPER, clip_on=False
                )
        axes.set_yticks(range(len(rows)), [label(row.name) for row in rows])
        axes.set(xlim=(0, 1), ylim=(height - 0.4, -0.6), xlabel="share of programs that use it")
        percents(axes.xaxis)
        axes.grid(axis="both")
        title = f"Constructs: {found}"
        note = "What the chosen programs are made of (AST constructs), the most used first."
        return Plot(title, note, arm_key(arms), inline(figure, "constructs", title, said))
