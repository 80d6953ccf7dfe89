"""`crucible train`: run the loop over a problem set to gather experience."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crucible.cli.bench import PARALLEL, approved
from crucible.cli.output import clock
from crucible.cli.solve import ApproveOption, ConfigOption, without_none
from crucible.errors import InputError

if TYPE_CHECKING:
    from crucible.cli.output import CountedBar
    from crucible.experience.record import Trained
    from crucible.experience.train import Progress

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]


def train(
    sets: Annotated[list[str], typer.Argument(metavar="SET...", help="Problem files, folders, suites, or `starter`.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the results. One that was begun before goes on where it stopped.")
    ],
    episodes: Annotated[
        int, typer.Option(min=1, help="Episodes in all, those in the folder included; give more to go on.")
    ] = 100,
    save_every: Annotated[int, typer.Option(min=1, help="Episodes after which results and report are written.")] = 50,
    eval_set: Annotated[
        list[str] | None, typer.Option(help="Problems to evaluate on, none of them trained on; repeat it.")
    ] = None,
    eval_every: Annotated[
        int, typer.Option(min=0, help="Episodes between evaluations. [default: before the first and after the last]")
    ] = 0,
    eval_limit: Annotated[int | None, typer.Option(min=1, help="First problems of every evaluation set.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=32, help="Tokens an episode may generate. [default: as the settings say]")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Work solved problems again.")] = False,
    difficulty: Annotated[list[str] | None, typer.Option(help="Only problems of this difficulty; repeat it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First problems of every set.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides samples, order and hints.")] = 0,
    parallel: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Problems worked at a time, and slots of the engine. [default: 16]"),
    ] = None,
    memory: Annotated[bool, typer.Option(help="Use solved episodes as examples. They are stored either way.")] = True,
    model: Annotated[str | None, typer.Option(help="Catalogue name, .gguf file, or owner/repo:file.gguf.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Name of a fine-tuned adapter to serve on the model.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, embedded, sglang, openai or scripted.")] = None,
    approve: ApproveOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run the loop over a problem set, easy problems first, and remember every episode.

    What is solved becomes an example for what is like it; no weights change. The level climbs where at least 7 of 10
    episodes succeed and steps back under 3 of 10. A problem that failed three times may get one of its hints, by lot, so
    that their effect is measured. It ends after --episodes, or when every problem is solved.

    It survives Ctrl-C and kill -9: the same command goes on. Exit code 0: done; 3: programs were not allowed to run.

      crucible train starter --episodes 200 --out training --approve auto
      crucible train starter --out training --eval-set my-problems.yaml --eval-every 50 --approve auto
    """
    from crucible.app import Crucible
    from crucible.cli.output import CountedBar, print_json, say
    from crucible.config import load_settings
    from crucible.experience.record import RESULTS
    from crucible.training import train as trained_by

    given: dict[str, dict[str, Any]] = {
        "model": {"name": model, "adapter": adapter, "engine": engine, "slots": parallel or PARALLEL},
        "cycles": {"approve": approve},
        "tools": {"memory": None if memory else False},
    }
    settings = load_settings(config_file=config, overrides=without_none(given))
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    settings = settings.changed({"cycles": {"approve": approved(settings.cycles.approval, as_json=as_json)}})
    with (
        CountedBar("episodes", quiet=as_json, note="loading the model") as bar,
        Crucible(settings=settings) as crucible,
    ):
        progress = _Progress(bar)
        trained = trained_by(
            crucible,
            sets,
            out=out,
            episodes=episodes,
            save_every=save_every,
            eval_sets=eval_set or (),
            eval_every=eval_every,
            eval_limit=eval_limit,
            budget=budget,
            seed=seed,
            again=again,
            difficulty=difficulty or (),
            limit=limit,
            command=f"crucible {shlex.join(sys.argv[1:])}",
            note=lambda text: say(f"note: {text}"),
            tell=progress,
            alive=progress.alive,
        )
    if as_json:
        print_json(summary(trained))
        return 0
    _show(trained)
    for name in (RESULTS, "training.md", "training.html"):
        say(f"written: {out / name}")
    return 0


def summary(trained: Trained) -> dict[str, Any]:
    """`train --json`: the fields a program may rely on; the history is in training_results.json."""
    entries = trained.entries
    return {
        "folder": trained.folder,
        "stopped": trained.stopped,
        "episodes": len(entries),
        "successes": sum(entry.success for entry in entries),
        "problems": len(trained.plan.problems),
        "problems_solved": trained.solved,
        "mean_reward": trained.means.reward,
        "quality": trained.means.quality,
        "level": entries[-1].level if entries else 1,
        "tokens": sum(entry.tokens for entry in entries),
        "evaluations": [each.model_dump(mode="json") for each in trained.evaluations],
        "hints": trained.hints.model_dump(mode="json"),
    }


def _show(trained: Trained) -> None:
    from rich.table import Table

    from crucible.cli.output import stdout
    from crucible.experience.report import level_facts
    from crucible.reporting.words import fraction
    from crucible.text import one_line

    table = Table("level", "difficulty", "problems", "solved", "episodes", "succeeded", "reward", "quality", box=None)
    for level in level_facts(trained):
        numbers = (level.problems, level.solved, level.episodes, level.successes)
        means = (fraction(level.means.reward), fraction(level.means.quality))
        table.add_row(str(level.number), one_line(level.name or "not graded", 40), *map(str, numbers), *means)
    stdout().print(table)
    lines = [
        f"evaluation after {each.after} episodes: {each.passed} of {each.problems} "
        f"({each.pass_at_1:.1%}, 95 % interval {each.ci95.low:.0%} to {each.ci95.high:.0%})"
        for each in trained.evaluations
    ]
    for line in (*lines, f"hints: {trained.hints.says}", f"ended: {trained.stopped}"):
        stdout().print(line, markup=False, soft_wrap=True)


class _Progress:
    """Call with the Progress after every episode."""

    def __init__(self, bar: CountedBar) -> None:
        self._bar = bar
        self._begun = self._succeeded = self._tokens = 0

    def __call__(self, progress: Progress) -> None:
        if progress.entry is not None:
            self._begun += 1
            self._tokens = progress.tokens
            self._succeeded += progress.entry.success
        self.alive(progress)

    def alive(self, progress: Progress) -> None:
        """Show the same with what was drawn meanwhile."""
        entry = progress.entry
        what, note = ("episodes", self._note(progress)) if entry or not self._begun else ("evaluation", "")
        self._bar.show(what, progress.done, progress.total, progress.seconds, note)

    def _note(self, progress: Progress) -> str:
        """Speed over ended and running episodes, what is left by the tokens of those of this call, and the level."""
        entry = progress.entry
        rate = (progress.tokens + progress.running) / max(progress.seconds, 1e-6)
        left = "time left not known yet"
        if self._begun and rate:
            # What ended says how long an episode is; what runs is part of what is left, and drawn already.
            expected = self._tokens / self._begun * (progress.total - progress.done)
            left = f"{clock(max(0.0, expected - progress.running) / rate)} left"
        return (
            f"{rate:.0f} tokens/s, {left}; level {entry.level if entry else 1}, "
            f"{self._succeeded}/{self._begun} succeeded"
        )
