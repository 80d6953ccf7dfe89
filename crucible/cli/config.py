"""`crucible config`: what is set, by whom, and whether it is right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Settings come from the packaged defaults, your user file, ./crucible.yaml, CRUCIBLE_SECTION__KEY variables and "
    "options, each over the one before.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command()
def show(as_json: JsonOption = False) -> int:
    """Show every setting, its value, and where the value comes from. Secrets are masked."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.security.text import one_line

    rows = load_settings().explain()
    if as_json:
        print_json({row.key: {"value": row.value, "source": row.source} for row in rows})
        return 0
    width = max(len(row.key) for row in rows)
    for row in rows:
        typer.echo(one_line(f"{row.key:<{width}}  {row.value!s:<28}  {row.source}"))
    return 0


@app.command()
def validate(
    path: Annotated[Path, typer.Argument(help="A settings file.")] = Path("crucible.yaml"),
    as_json: JsonOption = False,
) -> int:
    """Check a settings file and name every problem with its line. Exit code 2 if there is one."""
    from crucible.cli.output import print_json, say
    from crucible.config import validate_file
    from crucible.security.text import one_line

    problems = validate_file(path)
    if as_json:
        print_json({"path": str(path), "valid": not problems, "problems": problems})
    else:
        for problem in problems:
            say(problem)
        if not problems:
            typer.echo(one_line(f"{path}: ok"))
    return 2 if problems else 0
