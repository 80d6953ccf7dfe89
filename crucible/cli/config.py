"""`crucible config`: what is set, by whom, and whether it is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crucible.errors import InputError

if TYPE_CHECKING:
    from crucible.config.checks import Source

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
    from crucible.text import one_line

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
    """Check a settings file and name every problem with its line. Exit code 2 if there is one.

    Keys that other systems use (engine sgllang_trt, temperature, tools.enable and tools.disabled) are read as Crucible's own.
    A note tells where a value means something else here, or where nothing reads it.
    """
    from crucible.cli.output import print_json, say
    from crucible.config import examine_file
    from crucible.text import one_line

    problems, notes, source = examine_file(path)
    notes += [] if problems else _unknown_model(source)
    if as_json:
        print_json({"path": str(path), "valid": not problems, "problems": problems, "notes": notes})
    else:
        for problem in problems:
            say(problem)
        for note in notes:
            say(f"note: {note}")
        if not problems:
            typer.echo(one_line(f"{path}: ok"))
    return 2 if problems else 0


def _unknown_model(source: Source) -> list[str]:
    """A note on a model's name that no engine of this machine knows."""
    from crucible.models.weights.catalogue import resolve

    model = dict(source.sections()).get("model", {})
    if "name" not in model or model.get("base_url") or model.get("engine") in ("openai", "scripted"):
        return []
    try:
        resolve(model["name"])
    except InputError as error:
        return [f"{source.locate(('model', 'name'))}: model.name: {error}"]
    return []
