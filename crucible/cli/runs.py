"""`crucible runs`: which runs there are."""

from __future__ import annotations

import time
from typing import Annotated

import typer

app = typer.Typer(
    help="List runs and look at one. An interrupted run goes on with `crucible resume RUN`.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 20,
    as_json: JsonOption = False,
) -> int:
    """List the latest runs: running, interrupted, failed or finished."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.orchestrator.checkpoints import RunStore
    from crucible.text import one_line

    store = RunStore(load_settings().paths.runs)
    runs = store.list(limit)
    store.close()
    if as_json:
        print_json([run.model_dump(mode="json") for run in runs])
        return 0
    if not runs:
        typer.echo("no runs yet")
    for run in runs:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created))
        typer.echo(f"{run.run_id}  {when}  {run.state:<11}  {run.status or '-':<8}  {one_line(run.title)[:70]}")
    return 0


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Run id or its first characters.")],
    as_json: JsonOption = False,
) -> int:
    """Show one run: its task, every attempt, and what came of each."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.orchestrator.checkpoints import RunStore
    from crucible.orchestrator.run import saved_state
    from crucible.text import one_line, printable

    store = RunStore(load_settings().paths.runs)
    try:
        record = store.find(run)
        request = store.request(record.run_id)
        state = saved_state(store.saver, record.run_id)
    finally:
        store.close()
    attempts = state.get("attempts", [])
    if as_json:
        print_json(
            {
                **record.model_dump(mode="json"),
                "task": request.task.model_dump(mode="json"),
                "cycle": state.get("cycle", 0),
                "attempts": [attempt.model_dump(mode="json") for attempt in attempts],
                "feedback": [finding.model_dump(mode="json") for finding in state.get("feedback", [])],
            }
        )
        return 0
    typer.echo(one_line(f"{record.run_id}  {record.state}  {record.status or '-'}  {record.model}"))
    for line in printable(request.task.prompt.strip()).splitlines():
        typer.echo(f"    {line}")  # indented, so that no line of it looks like one of ours
    for attempt in attempts:
        verdict = attempt.verdict
        result = f"{verdict.verdict} {verdict.passed}/{verdict.total}" if verdict else "not run"
        typer.echo(f"{attempt.id}  {one_line(attempt.strategy)}, temperature {attempt.temperature:g}: {result}")
        for finding in attempt.findings[:3]:
            typer.echo("      " + one_line(f"{finding.kind}: {finding.message}"))
    return 0
