"""`crucible` without a command: an interactive session over one loaded model."""

from __future__ import annotations

import sys

import typer

HELP = """Type a task and press Enter; finish a line with \\ to go on in the next. Asserts or >>> examples in the text are tests.
  /search WORDS   look into memory      /file PATH   solve a task file
  /help           this text             /quit        leave (also Ctrl-D)"""


def run(context: typer.Context) -> None:
    """Read tasks until the user leaves. Without a terminal there is nobody to talk to: show the help."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(context.get_help())
        return
    from crucible.app import Crucible
    from crucible.cli.output import say, stderr
    from crucible.cli.solve import why_auto
    from crucible.cli.view import SolveView, TerminalApprover
    from crucible.config import load_settings
    from crucible.errors import CancelledError, CrucibleError
    from crucible.security.trust.approval import approver_of

    settings = load_settings()
    say(f"Crucible with {settings.model.name}. /help shows what you can type.")
    asks = settings.cycles.asks
    view = SolveView(stderr(), max_cycles=settings.cycles.max_cycles, asks=asks, chosen=why_auto(settings))
    approver = approver_of(settings.cycles, TerminalApprover(view) if asks else None)
    with Crucible(settings=settings, approver=approver) as app:
        while (line := _read()) is not None:
            try:
                _act(line, app, view)
            except (CancelledError, KeyboardInterrupt):
                say("stopped; `crucible resume` goes on with it")
            except CrucibleError as error:
                say(f"error: {error}")


def _read() -> str | None:
    """One task, or None when the user leaves."""
    lines: list[str] = []
    try:
        while True:
            line = input("> " if not lines else ". ")
            lines.append(line.removesuffix("\\"))
            if not line.endswith("\\"):
                return "\n".join(lines)
    except (EOFError, KeyboardInterrupt):
        return None


def _act(line: str, app: object, view: object) -> None:
    from crucible.app import Crucible, prepare
    from crucible.cli.output import say
    from crucible.cli.solve import report
    from crucible.cli.taskfile import read_task
    from crucible.cli.view import SolveView
    from crucible.text import one_line

    assert isinstance(app, Crucible) and isinstance(view, SolveView)
    command, _, rest = line.strip().partition(" ")
    if command in ("/quit", "/exit"):
        raise typer.Exit
    if command == "/help":
        say(HELP)
    elif command == "/search" and rest.strip():
        for hit in app.memory.fetch_semantic(rest, 5):
            say(one_line(f"{hit.score:.2f}  {hit.episode_id[:8]}  {hit.title or hit.text.strip()[:70]}"))
    elif command.startswith("/") and command != "/file":
        say(f"unknown command {command}; /help shows what there is")
    elif line.strip():
        named = rest.strip() if command == "/file" else line
        found = read_task(named, visible_cases=app.settings.cycles.visible_cases)
        with view:
            view.doing(f"loading {app.settings.model.name}")
            episode = app.solve(prepare(found.task), hidden=found.hidden, watch=view)
            view.totals(episode)
        report(episode, out=None, as_json=False)
