"""`crucible audit`: who let generated code run, and whether the record of it is whole."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="The audit log: every decision on whether generated code may run, each record chained to the one before it.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command()
def verify(as_json: JsonOption = False) -> int:
    """Check that no record was changed, removed, added, moved or cut off. Exit 1 if one was.

    Whoever may write your files can also write a new log that verifies: to hold the log against them, note the hash that
    this command prints elsewhere and look for it later.
    """
    from crucible.cli.output import print_json, say
    from crucible.config import load_settings
    from crucible.security.trust.audit import AuditLog
    from crucible.text import one_line

    report = AuditLog(load_settings().paths.audit).verify()
    if as_json:
        print_json({**report.model_dump(mode="json"), "ok": report.ok})
        return 0 if report.ok else 1
    for line in (*report.notes, *report.problems):
        say(one_line(line))
    typer.echo(f"{'whole' if report.ok else 'BROKEN'}, {report.records} records, last {report.last}")
    return 0 if report.ok else 1


@app.command()
def show(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="How many, the latest.")] = 20,
    as_json: JsonOption = False,
) -> int:
    """Show the latest records, the oldest of them first. Shows what the file says; `verify` says whether to believe it."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.security.trust.audit import AuditLog
    from crucible.text import one_line

    records = AuditLog(load_settings().paths.audit).last(limit)
    if as_json:
        print_json(records)
        return 0
    if not records:
        typer.echo("nothing recorded yet")
    for record in records:
        about = " ".join(f"{key}={value}" for part in ("subject", "details") for key, value in record[part].items())
        typer.echo(
            one_line(f"{record['seq']:>5}  {record['time'][:19]}  {record['actor']}  {record['event']}  {about}")
        )
    return 0
