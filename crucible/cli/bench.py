"""`crucible bench`: measure arms against each other on problem sets, and what was measured before."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from crucible.cli.output import clock
from crucible.cli.solve import ApproveOption, ConfigOption, without_none
from crucible.errors import InputError

if TYPE_CHECKING:
    from crucible.bench.record import Results
    from crucible.bench.run import Progress
    from crucible.bench.stats import ArmSummary, Comparison
    from crucible.cli.output import CountedBar

RUN = "run"


class _SetsFirst(TyperGroup):
    """`crucible bench SET …` is `crucible bench run SET …`: what is no command is the beginning of a run's arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - Typer's own copy of click's Context
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [RUN, *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=_SetsFirst,
    help="Measure arms against each other: same model, same problems, equal generated tokens, hidden tests at the end.\n\n"
    "  crucible bench starter --arm single --arm best-of-n --arm loop --out results --approve auto",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]


@app.command(RUN)
def run(
    sets: Annotated[list[str], typer.Argument(metavar="SET...", help="Problem files, folders, suites, or `starter`.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the results. One that was begun before goes on where it stopped.")
    ],
    arm: Annotated[
        list[str] | None,
        typer.Option(
            help="single, best-of-n, loop, no-memory, shuffled-memory, no-reflect or placebo; repeat it. "
            "[default: single, best-of-n, loop]"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0 to N-1; `single` is greedy and runs once.")] = 1,
    budget: Annotated[
        int, typer.Option(min=32, help="Tokens an arm may generate for a problem. A solved problem stops early.")
    ] = 1200,
    limit: Annotated[int | None, typer.Option(min=1, help="First problems of every set.")] = None,
    difficulty: Annotated[list[str] | None, typer.Option(help="Only problems of this difficulty; repeat it.")] = None,
    memory: Annotated[
        Path | None, typer.Option(help="Episodes that the loop may retrieve: a Crucible home. [default: none]")
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            min=1, max=256, help="Slots of the engine; a quarter more problems are worked at a time. [default: 16]"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name, .gguf file, or owner/repo:file.gguf.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Name of a fine-tuned adapter to serve on the model.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, embedded, sglang, openai or scripted.")] = None,
    approve: ApproveOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run a benchmark, or go on with one, and write its report.

    Every arm gets the same problems, seeds and tokens; visible tests may be used as the arm likes, hidden ones only score
    the final answer. It survives Ctrl-C and kill -9: the same command goes on, and ends with the same results.
    """
    from crucible.app import Crucible
    from crucible.bench.report import render
    from crucible.benchmark import ARMS, benchmark
    from crucible.cli.output import CountedBar, say
    from crucible.config import load_settings

    given: dict[str, dict[str, Any]] = {
        "model": {"name": model, "adapter": adapter, "engine": engine, "slots": parallel or PARALLEL},
        "cycles": {"approve": approve},
    }
    settings = load_settings(config_file=config, overrides=without_none(given))
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    settings = settings.changed({"cycles": {"approve": approved(settings.cycles.approval, as_json=as_json)}})
    with CountedBar("cells", quiet=as_json, note="loading the model") as bar, Crucible(settings=settings) as crucible:
        results = benchmark(
            crucible,
            sets,
            out=out,
            arms=arm or ARMS,
            seeds=range(seeds),
            budget=budget,
            difficulty=difficulty or (),
            limit=limit,
            memory=memory,
            command=f"crucible {shlex.join(sys.argv[1:])}",
            note=lambda text: say(f"note: {text}"),
            tell=_Progress(bar),
        )
    _show(results, render(results, out), as_json=as_json)
    return 0


PARALLEL = 16
"""Of 4, 8, 16 and 32, the number of streams at which two cores decoded most tokens a second (docs/benchmarks.md)."""


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A benchmark's folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: the benchmark's own]")] = None,
    as_json: JsonOption = False,
) -> int:
    """Write the report of a benchmark anew: report.md, report.html, summary.json. One that is not finished says so."""
    from crucible.bench.record import read
    from crucible.bench.report import render

    results = read(folder)
    _show(results, render(results, out or folder), as_json=as_json)
    return 0


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A benchmark's folder.")],
    b: Annotated[Path, typer.Argument(help="Another's, over the same problems.")],
    arm: Annotated[list[str] | None, typer.Option(help="Arms to compare. [default: all that both have]")] = None,
    as_json: JsonOption = False,
) -> int:
    """Compare two benchmarks, problem by problem: another model, an adapter, other settings."""
    from crucible.bench.record import read
    from crucible.bench.stats import compare_folders, verdict_sentence
    from crucible.cli.output import print_json, stdout
    from crucible.text import one_line

    first, second = read(a), read(b)
    both = [name for name in first.plan.arms if name in second.plan.arms]
    names = arm or both
    if missing := [name for name in names if name not in both]:
        raise InputError(f"not in both benchmarks: {', '.join(missing)}; both have: {', '.join(both) or 'no arm'}")
    if not names:
        raise InputError("the two benchmarks have no arm in common")
    found = {name: compare_folders(first, second, name) for name in names}
    if as_json:
        print_json({"a": str(a), "b": str(b), "comparisons": [each.model_dump(mode="json") for each in found.values()]})
        return 0
    for name, comparison in found.items():
        stdout().print(one_line(f"{name}: {verdict_sentence(comparison)}", 600), markup=False, soft_wrap=True)
    return 0


@app.command()
def rewards(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A benchmark's folder, or a Crucible home.")],
    a: Annotated[
        Path, typer.Option("--a", metavar="FILE", help="YAML with a `rewards` section, over the packaged one.")
    ],
    b: Annotated[Path, typer.Option("--b", metavar="FILE", help="Another one.")],
    as_json: JsonOption = False,
) -> int:
    """Compare two reward settings on recorded attempts: what each would have paid, and which program it would have chosen.

    Nothing is run again. It shows where two rewards differ, not which of them trains the better model.
    """
    from contextlib import closing

    from crucible.bench.reward_ab import ab, table
    from crucible.benchmark import episodes_of
    from crucible.cli.output import print_json, stdout
    from crucible.config.load import rewards_from
    from crucible.memory import MemoryStore

    one, other = rewards_from(a), rewards_from(b)
    with closing(MemoryStore(episodes_of(folder))) as store:
        comparison = ab(one, other, store.episodes())
    if as_json:
        print_json({"a": str(a), "b": str(b), **comparison.model_dump(mode="json")})
    else:
        stdout().print(table(comparison), markup=False, soft_wrap=True)
    return 0


def approved(mode: str, *, as_json: bool) -> str:
    """The yes that a benchmark or a training needs once, at the terminal where the settings say ask."""
    if mode == "ask" and sys.stdin.isatty() and not as_json:
        typer.confirm("Programs that the model writes will be executed in the sandbox. Go on?", abort=True, err=True)
        return "auto"
    return mode


def summary(results: Results) -> dict[str, Any]:
    """`bench --json`: the fields a program may rely on."""
    from crucible.bench.record import keys
    from crucible.bench.stats import summarise

    plan = results.plan
    arms = summarise(results)
    return {
        "set": ", ".join(each.name for each in plan.sets),
        "model": plan.model.name,
        "adapter": plan.model.adapter,
        "budget": plan.budget,
        "seeds": list(plan.seeds),
        "complete": results.complete,
        "cells": len(results.cells),
        "cells_planned": sum(1 for _ in keys(plan)),
        "arms": [arm.model_dump(mode="json") for arm in arms],
        "comparisons": [each.model_dump(mode="json") for each in _comparisons(results, arms)],
        "folder": results.folder,
    }


def _comparisons(results: Results, arms: list[ArmSummary]) -> list[Comparison]:
    """Every arm with every other."""
    from itertools import combinations

    from crucible.bench.stats import compare as compared

    return [compared(results, one.arm, other.arm) for one, other in combinations(arms, 2)]


def _show(results: Results, files: list[Path], *, as_json: bool) -> None:
    from crucible.cli.output import print_json, say

    if as_json:
        print_json(summary(results))
        return
    _table(results)
    for file in files:
        say(f"written: {file}")


def _table(results: Results) -> None:
    from rich.table import Table

    from crucible.bench.stats import summarise, verdict_sentence
    from crucible.cli.output import stdout
    from crucible.reporting.words import fraction
    from crucible.text import one_line

    table = Table(
        "arm",
        "pass@1",
        "95 % interval",
        "reward",
        "quality",
        "problems",
        "tokens a problem",
        "tokens a solved one",
        box=None,
    )
    arms = summarise(results)
    for arm in arms:
        low, high = arm.ci95
        solved = arm.tokens_per_solved
        table.add_row(
            arm.arm,
            f"{arm.pass_at_1:.1%}",
            f"{low:.0%} to {high:.0%}",
            fraction(arm.mean_reward),
            fraction(arm.quality),
            str(arm.problems),
            f"{arm.tokens_per_problem:.0f}",
            "-" if solved is None else f"{solved:.0f}",
        )
    stdout().print(table)
    for comparison in _comparisons(results, arms):
        stdout().print(one_line(verdict_sentence(comparison), 600), markup=False, soft_wrap=True)


class _Progress:
    """Call with every Progress."""

    def __init__(self, bar: CountedBar) -> None:
        self._bar = bar
        self._passed: dict[str, list[bool]] = {}

    def __call__(self, progress: Progress) -> None:
        self._passed.setdefault(progress.cell.arm, []).append(progress.cell.passed)
        self._bar.show("cells", progress.done, progress.total, progress.seconds, self._note(progress))

    def _note(self, progress: Progress) -> str:
        """Speed, what is left by the cells done so far, and how the arms stand since this call began."""
        begun = sum(map(len, self._passed.values()))
        left_s = progress.seconds / begun * (progress.total - progress.done)
        stand = ", ".join(f"{arm} {sum(passed)}/{len(passed)}" for arm, passed in self._passed.items())
        return f"{progress.tokens / max(progress.seconds, 1e-6):.0f} tokens/s, {clock(left_s)} left; {stand}"
