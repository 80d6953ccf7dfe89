"""The report on a training, in the style of the benchmark's and with its canvas: training.md and training.html.

No problem's text and no program is in it. The same training gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from crucible.experience.curriculum import levels
from crucible.experience.record import Trained
from crucible.reporting.words import FAILURES, count, fraction, percent, together
from crucible.rewards import Means
from crucible.stats import Interval, wilson
from crucible.storage.files import write_atomically
from crucible.types import Frozen

HTML, MARKDOWN = "training.html", "training.md"


class LevelFacts(Frozen):
    """One level of difficulty, from 1. `ci95`: Wilson's, of the problems solved at least once."""

    number: int
    name: str
    problems: int
    episodes: int
    successes: int
    solved: int
    share: float
    ci95: Interval
    means: Means
    """Of its episodes' rewards, by the verdict that counts."""


def render(trained: Trained, out: Path) -> list[Path]:
    """Writes both pages into the folder `out`, each whole or not at all, and returns them. Raises StoreError."""
    from crucible.bench.report.pages import environment
    from crucible.experience.report.plots import draw

    values = {
        "trained": trained,
        "plan": trained.plan,
        "plots": draw(trained),
        "levels": list(level_facts(trained)),
        "effect": trained.hints,
        "hints_say": _sentence(trained.hints.says),
        "failures": _failures(trained),
        "subject": _subject(trained),
        "verdict": _verdict(trained),
        "measured": list(_measured(trained)),
    }
    pages = {out / MARKDOWN: "training.md.j2", out / HTML: "training.html.j2"}
    for path, template in pages.items():
        made = environment(markdown=path.suffix == ".md", package=__package__ or "").get_template(template)
        write_atomically(path, made.render(**values))
    return list(pages)


def level_facts(trained: Trained) -> Iterator[LevelFacts]:
    names = levels(problem.difficulty for problem in trained.plan.problems)
    for number, name in enumerate(names, 1):
        here = [problem.id for problem in trained.plan.problems if problem.difficulty.strip().casefold() == name]
        worked = [entry for entry in trained.entries if entry.difficulty.strip().casefold() == name]
        solved = len({entry.problem for entry in worked if entry.success})
        yield LevelFacts(
            number=number,
            name=name,
            problems=len(here),
            episodes=len(worked),
            successes=sum(entry.success for entry in worked),
            solved=solved,
            share=solved / len(here),
            ci95=wilson(solved, len(here)),
            means=Means.of(entry.rewards for entry in worked),
        )


def _failures(trained: Trained) -> list[tuple[str, str, int]]:
    counted = Counter(entry.failure for entry in trained.entries if entry.failure and not entry.success)
    return [(name, FAILURES[name], number) for name, number in counted.most_common()]


def _subject(trained: Trained) -> str:
    plan = trained.plan
    sets = together([each.name for each in plan.sets])
    return (
        f"{count(len(trained.entries))} episodes over {count(len(plan.problems))} problems of {sets}, seed {plan.seed}; "
        f"ended: {trained.stopped or 'not yet'}"
    )


def _verdict(trained: Trained) -> list[tuple[str, str]]:
    entries, problems = trained.entries, len(trained.plan.problems)
    if not entries:
        return [("No episode is done yet", "")]
    successes = sum(entry.success for entry in entries)
    said = [
        (
            f"{count(trained.solved)} of {count(problems)} problems were solved at least once",
            f"{count(successes)} of {count(len(entries))} episodes succeeded, by hidden tests; mean reward "
            f"{fmean(entry.reward for entry in entries):.3f}, quality {fraction(trained.means.quality)}; "
            f"{count(sum(entry.tokens for entry in entries))} tokens",
        )
    ]
    if len(done := trained.evaluations) > 1:
        first, last = done[0], done[-1]
        said.append(
            (
                f"On {count(last.problems)} problems not trained on: {percent(first.pass_at_1)} before, "
                f"{percent(last.pass_at_1)} after {count(last.after)} episodes",
                f"95 % intervals {percent(first.ci95.low)} to {percent(first.ci95.high)} and "
                f"{percent(last.ci95.low)} to {percent(last.ci95.high)}; no weights changed, memory grew",
            )
        )
    lead, _, figures = _sentence(trained.hints.says).partition(": ")
    return [*said, (lead, figures)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _measured(trained: Trained) -> Iterator[tuple[str, str]]:
    plan = trained.plan
    yield "model", plan.model.name
    yield "model's SHA-256", plan.model.sha256 or "not known"
    yield "engine", plan.model.engine
    if plan.model.adapter:
        yield "adapter", plan.model.adapter
    yield "tokens an episode may generate", "as the settings say" if plan.budget is None else count(plan.budget)
    yield "memory", "the user's own is read and written" if plan.memory else "written, not read"
    yield "solved problems", "worked again" if plan.again else "not worked again"
    for one in (*plan.sets, *plan.eval_sets):
        yield f"set {one.name}", f"{count(one.problems)} problems, SHA-256 {one.sha256}, read from {one.path}"
    for what, settings in (("curriculum", plan.curriculum), ("hints", plan.hints)):
        yield what, ", ".join(f"{name} {value}" for name, value in settings.model_dump().items())
    yield "settings", f"SHA-256 {plan.settings}"
    yield "asked for", ", ".join(f"{name} {value}" for name, value in trained.goal.items())
    yield "versions", ", ".join(f"{name} {version}" for name, version in plan.versions.items()) or "not known"
    yield "machine", ", ".join(f"{name} {value}" for name, value in plan.machine.items()) or "not known"
    yield "begun", plan.created or "not known"
