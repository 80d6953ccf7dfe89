"""`crucible solve`, and what `crucible resume` shares with it: the work on a terminal, and the report."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crucible.errors import CrucibleError, OutputError, StoreError

if TYPE_CHECKING:
    from crucible.app import Crucible
    from crucible.config import Settings
    from crucible.types import Episode, Event


ApproveOption = Annotated[
    str | None,
    typer.Option(
        help="May candidates run in the sandbox? ask: at the terminal; auto: yes; never: static checks only. "
        "Without a terminal, ask means never.",
        metavar="ask|auto|never",
    ),
]
OutOption = Annotated[Path | None, typer.Option(help="Write the solution to this file, all of it or nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file in place of ./crucible.yaml.")]


def solve(
    task: Annotated[
        str, typer.Argument(help="The task as text, a file (.json, .yaml, .md or plain text), or - for stdin.")
    ],
    tests: Annotated[
        Path | None, typer.Option(help="Python file with asserts or doctests the program must pass.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language to write. [default: python]")] = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="auto, direct (one greedy sample), resample (best-of-n) or repair. [default: auto]"),
    ] = None,
    cycles: Annotated[int | None, typer.Option(min=1, help="Rounds of generate and test at most.")] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Samples a cycle, the first included (by default that is one greedy draw)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name, .gguf file, or owner/repo:file.gguf.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Fine-tuned adapter. [default: the promoted one; base: none]")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="auto, embedded, sglang, openai or scripted.")] = None,
    approve: ApproveOption = None,
    out: OutOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same model, same machine: same samples.")] = None,
    memory: Annotated[bool, typer.Option(help="Use solved episodes as examples.")] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Solve a programming task and remember how.

    The solution goes to stdout (or --out), progress to stderr. Exit code 0: all visible tests pass, or the task has
    none and the program is written, not verified; 1: not solved, the best attempt is printed; 3: candidates were not
    allowed to run. Examples in the task's words are its tests, unless it brings others.

      crucible solve "Write a function add(a, b). >>> add(1, 2) gives 3" --approve auto
      crucible solve task.yaml --tests test_task.py --approve auto --out solution.py
      crucible solve - --json --approve auto < task.md
    """
    from crucible.app import prepare
    from crucible.cli.output import say
    from crucible.cli.taskfile import read_task
    from crucible.config import load_settings

    given: dict[str, dict[str, Any]] = {
        "model": {"name": model, "adapter": adapter, "engine": engine},
        "cycles": {
            "strategy": strategy,
            "max_cycles": cycles,
            "samples": samples,
            "greedy_first": False if samples is not None else None,
            "approve": approve,
            "seed": seed,
        },
        "tools": {"memory": None if memory else False},
    }
    settings = load_settings(config_file=config, overrides=without_none(given))
    found = read_task(task, tests, language, visible_cases=settings.cycles.visible_cases)
    ready = prepare(found.task)
    check_out(out)
    for note in found.notes:
        say(f"note: {note}")
    return work(
        settings,
        lambda app, watch: app.solve(ready, hidden=found.hidden, watch=watch),
        out=out,
        as_json=as_json,
    )


def without_none(sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    kept = {name: {key: value for key, value in keys.items() if value is not None} for name, keys in sections.items()}
    return {name: keys for name, keys in kept.items() if keys}


def why_auto(settings: Settings) -> str:
    """Return why `engine: auto` means the engine it means here; empty where the engine was named."""
    from crucible.models import chosen_because

    return chosen_because(settings.model, settings.paths) if settings.model.engine == "auto" else ""


def check_out(out: Path | None) -> None:
    """Fail before the work, not after it."""
    from crucible.storage.files import check_place

    if out is not None:
        check_place(out)


def work(
    settings: Settings,
    run: Callable[[Crucible, Callable[[Event], None]], Episode],
    *,
    out: Path | None,
    as_json: bool,
) -> int:
    from rich.console import Console

    from crucible.app import Crucible
    from crucible.cli.output import stderr
    from crucible.cli.view import SolveView, TerminalApprover
    from crucible.security.trust.approval import approver_of

    console = Console(quiet=True) if as_json else stderr()
    interactive = sys.stdin.isatty() and console.is_terminal and not as_json
    asks = settings.cycles.asks and interactive
    with SolveView(console, max_cycles=settings.cycles.max_cycles, asks=asks, chosen=why_auto(settings)) as view:
        approver = approver_of(settings.cycles, TerminalApprover(view) if asks else None)
        view.doing(f"loading {settings.model.name}")
        with Crucible(settings=settings, approver=approver) as app:
            episode = run(app, view)
            view.totals(episode)
    return report(episode, out=out, as_json=as_json)


def report(episode: Episode, *, out: Path | None, as_json: bool) -> int:
    """Write the result where it belongs and return the exit code."""
    from crucible.cli.output import print_json, print_program, say
    from crucible.storage.files import write_atomically

    for warning in episode.warnings:
        say(f"warning: {warning}")
    hidden = episode.hidden_verdict
    if episode.status == "solved" and hidden is not None and hidden.verdict != "pass":
        say(f"warning: the program passes the visible tests, and {hidden.passed} of {hidden.total} hidden ones")
    unwritten = ""
    if out is not None and episode.code:
        try:
            write_atomically(out, episode.code)
        except CrucibleError as error:
            unwritten = str(error)
            say(f"error: {unwritten}; the program is on standard output")
    try:
        if as_json:
            shown = summary(episode)
            print_json({**shown, "warnings": [*shown["warnings"], *filter(None, [unwritten])]})
        elif episode.code and (out is None or unwritten):
            print_program(episode.code)
        sys.stdout.flush()
    except OutputError as error:
        raise OutputError(f"{error}; the program is kept: crucible runs show {episode.run_id} --json") from error
    if unwritten:
        return StoreError.exit_code
    return {"solved": 0, "unverified": 0, "unsolved": 1, "refused": 3, "error": 1}[episode.status]


def summary(episode: Episode) -> dict[str, Any]:
    """`solve --json`: the fields a program may rely on."""
    from crucible.security.judge.visible import visible

    verdict = episode.hidden_verdict or episode.verdict
    shown = visible(episode.task)
    best = next((attempt for attempt in episode.attempts if attempt.id == episode.best_attempt), None)
    return {
        "run_id": episode.run_id,
        "task_id": episode.task.id,
        "status": episode.status,
        "stop": episode.stop,
        "code": episode.code,
        "visible_tests": list(shown.visible_tests),
        "unread": list(shown.unread),
        "verdict": episode.verdict.model_dump(mode="json") if episode.verdict else None,
        "hidden_verdict": episode.hidden_verdict.model_dump(mode="json") if episode.hidden_verdict else None,
        "cycles": episode.cycles,
        "samples": len(episode.attempts),
        "tokens": episode.tokens.model_dump(),
        "wall_s": round(episode.wall_s, 3),
        "model": episode.model.name,
        "engine": episode.model.engine,
        "adapter": episode.model.adapter,
        "strategy": episode.strategy,
        # Laplace's rule of succession over the cases that ran: 3 of 3 passed says less than 30 of 30.
        "confidence": round((verdict.passed + 1) / (verdict.total + 2), 3) if verdict and verdict.total else None,
        "findings": [finding.model_dump(mode="json") for finding in (best.findings if best else ())],
        "retrieved": list(episode.retrieved),
        "episode_id": episode.episode_id,
        "warnings": list(episode.warnings),
    }
