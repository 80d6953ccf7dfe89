"""The training report's plots. Each says in its title what is to be seen, and in its description the numbers behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean, median

from crucible.bench.report.plots import FAILURE_COLOURS
from crucible.experience.curriculum import levels
from crucible.experience.hints import Group
from crucible.experience.record import Trained
from crucible.reporting.canvas import ARM_COLOURS, Plot, canvas, css, label, percents, rod
from crucible.reporting.svg import GRID, MUTED, PAPER, inline
from crucible.reporting.words import NO_DIFFICULTY, brief, percent

WINDOW = 20
"""Episodes that a moving average is over; fewer at the beginning."""
BINS = 20
"""Groups of episodes, in order, whose failures are counted together."""
SUCCESS, REWARD, EVALUATION = ARM_COLOURS[0], ARM_COLOURS[1], ARM_COLOURS[2]


def draw(trained: Trained) -> list[Plot]:
    """Every plot, in the report's order; none where no episode is done."""
    if not trained.entries:
        return []
    drawn = [curves(trained), climb(trained), failures(trained), tokens(trained)]
    effect = trained.hints
    return [*drawn, hinted(effect.hinted, effect.unhinted)] if effect.decisions else drawn


def moving(values: Sequence[float], window: int = WINDOW) -> list[float]:
    """At each place the mean of the latest `window` values."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]


def curves(trained: Trained) -> Plot:
    numbers = [entry.episode for entry in trained.entries]
    success = moving([float(entry.success) for entry in trained.entries])
    reward = moving([entry.reward for entry in trained.entries])
    said = f"after {numbers[-1]} episodes: success {percent(success[-1])}, reward {reward[-1]:.2f}"
    for each in trained.evaluations:
        low, high = each.ci95
        said += f"; evaluation after {each.after}: {percent(each.pass_at_1)} ({percent(low)} to {percent(high)})"
    with canvas(3.4) as (figure, axes):
        axes.plot(numbers, success, color=SUCCESS, linewidth=1.8)
        axes.plot(numbers, reward, color=REWARD, linewidth=1.8)
        for each in trained.evaluations:
            rod(axes, [each.after, each.after], each.ci95)
            axes.plot(each.after, each.pass_at_1, "o", color=EVALUATION, markersize=7, markeredgecolor=PAPER, zorder=4)
        axes.set(xlim=(-0.02 * numbers[-1], numbers[-1] * 1.02 + 0.5), ylim=(0, 1.04), xlabel="episode")
        percents(axes.yaxis)
        axes.grid(axis="y")
        title = f"Success and reward: {percent(success[-1])} of the latest {min(WINDOW, len(numbers))} episodes succeed"
        note = (
            f"Moving averages over {WINDOW} episodes; the curriculum moves to harder problems, so a level curve is no "
            "standstill. Dots are evaluations on problems that are not trained on, lines their 95 % intervals."
        )
        key = (("success", css(SUCCESS)), ("reward", css(REWARD)), ("evaluation, pass@1", css(EVALUATION)))
        return Plot(title, note, key if trained.evaluations else key[:2], inline(figure, "curves", title, said))


def climb(trained: Trained) -> Plot:
    names = [label(name or NO_DIFFICULTY) for name in levels(each.difficulty for each in trained.plan.problems)]
    numbers, at = [entry.episode for entry in trained.entries], [entry.level for entry in trained.entries]
    found = f"it ends at {at[-1]} of {len(names)}, difficulty {names[at[-1] - 1]}"
    before = (None, *trained.entries)
    begun = [
        entry for last, entry in zip(before, trained.entries, strict=False) if last is None or last.level != entry.level
    ]
    said = "; ".join(f"level {entry.level} from episode {entry.episode}" for entry in begun)
    with canvas(0.9 + 0.3 * max(3, len(names))) as (figure, axes):
        axes.step([*numbers, numbers[-1] + 1], [*at, at[-1]], where="post", color=SUCCESS, linewidth=1.8)
        again = [entry for entry in trained.entries if entry.revisit]
        axes.plot(
            [each.episode for each in again], [_level(each.difficulty, trained) for each in again], ".", color=MUTED
        )
        axes.set_yticks(range(1, len(names) + 1), names)
        axes.set(xlim=(0, numbers[-1] + 1.5), ylim=(0.5, len(names) + 0.5), xlabel="episode")
        axes.grid(axis="y")
        title = f"Level: {found}"
        return Plot(
            title, "Dots are episodes that revisited an easier level.", (), inline(figure, "level", title, said)
        )


def _level(difficulty: str, trained: Trained) -> int:
    return 1 + levels(each.difficulty for each in trained.plan.problems).index(difficulty.strip().casefold())


def failures(trained: Trained) -> Plot:
    wide = max(1, -(-len(trained.entries) // BINS))
    groups = [trained.entries[at : at + wide] for at in range(0, len(trained.entries), wide)]
    total: Counter[str] = Counter()
    with canvas(3.2) as (figure, axes):
        for group in groups:
            kinds = Counter(
                each.failure if each.failure in FAILURE_COLOURS else "other" for each in group if not each.success
            )
            total += kinds
            done, left, width = 0.0, group[0].episode - 0.5, group[-1].episode - group[0].episode + 1
            for kind in (kind for kind in FAILURE_COLOURS if kinds[kind]):
                share = kinds[kind] / len(group)
                axes.bar(
                    left,
                    share,
                    width,
                    done,
                    align="edge",
                    color=FAILURE_COLOURS[kind],
                    edgecolor=PAPER,
                    linewidth=1,
                )
                done += share
            axes.bar(left, 1 - done, width, done, align="edge", color=GRID, alpha=0.45, linewidth=0)
        axes.set(xlim=(0.5, trained.entries[-1].episode + 0.5), ylim=(0, 1), xlabel="episode")
        percents(axes.yaxis)
        found = "no episode failed"
        if total:
            kind, number = total.most_common(1)[0]
            found = f"{kind} is the commonest, {number} of {total.total()}"
        title = f"Failures over time: {found}"
        said = ", ".join(f"{number} {kind}" for kind, number in total.most_common()) or found
        note = f"{wide} episode{'s' if wide > 1 else ''} a bar, each by the worst thing its tests met; grey succeeded."
        key = tuple((kind, css(ink)) for kind, ink in FAILURE_COLOURS.items() if total[kind])
        return Plot(title, note, key, inline(figure, "failures", title, said))


def tokens(trained: Trained) -> Plot:
    numbers = [entry.episode for entry in trained.entries]
    spent = [entry.tokens for entry in trained.entries]
    middle = median(spent)
    title = f"Tokens an episode: {brief(middle)} at the median"
    said = f"median {brief(middle)}, most {max(spent):,}, in all {sum(spent):,}"
    with canvas(2.6) as (figure, axes):
        axes.plot(numbers, spent, ".", color=MUTED, markersize=3)
        axes.plot(numbers, moving(spent), color=SUCCESS, linewidth=1.8)
        axes.set(xlim=(0, numbers[-1] + 1.5), ylim=(0, max(spent) * 1.05 or 1), xlabel="episode")
        axes.grid(axis="y")
        note = f"Dots are episodes, the line is the mean of the latest {WINDOW}."
        return Plot(title, note, (), inline(figure, "tokens", title, said))


def hinted(with_hint: Group, without: Group) -> Plot:
    rows = (("with a hint", with_hint, REWARD), ("without", without, SUCCESS))
    said = "; ".join(f"{name}: {group.successes} of {group.problems}" for name, group, _ in rows)
    with canvas(1.7) as (figure, axes):
        for place, (_, group, ink) in enumerate(rows):
            if group.problems:
                share = group.successes / group.problems
                axes.barh(place, share, 0.6, color=ink, alpha=0.85)
                rod(axes, group.ci95, [place, place])
        axes.set_yticks(
            range(len(rows)),
            [f"{name}, {group.problems} problem{'s' * (group.problems != 1)}" for name, group, _ in rows],
        )
        axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="share that succeeds at its first decision")
        percents(axes.xaxis)
        axes.grid(axis="x")
        title = f"Hints: {said}"
        note = "Stuck problems, by what the lot decided the first time; the lines are 95 % intervals."
        return Plot(title, note, (), inline(figure, "hints", title, said))
