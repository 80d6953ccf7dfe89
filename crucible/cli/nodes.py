"""`crucible nodes` and `crucible graph`: what the loop is made of."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

app = typer.Typer(help="The steps of the loop, built-in and plugin.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_nodes(as_json: JsonOption = False) -> int:
    """List the registered nodes, where each runs, and which package it is from.

    A plugin is a package with a BaseNode class and an entry point in the group `crucible.nodes`; see
    examples/crucible-complexity.
    """
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.nodes.registry import load_nodes
    from crucible.security.text import one_line

    specs = load_nodes(tuple(load_settings().tools.disabled_nodes))
    if as_json:
        rows = [
            {"name": spec.name, "after": spec.after, "package": spec.package, "version": spec.version}
            for spec in specs.values()
        ]
        print_json(rows)
        return 0
    for spec in specs.values():
        place = f"after {spec.after}" if spec.after else "built in"
        typer.echo(one_line(f"{spec.name:<16} {place:<16} {spec.package} {spec.version}"))
    return 0


def graph(
    form: Annotated[
        Literal["ascii", "mermaid"], typer.Option("--format", help="ascii for a terminal, mermaid for a document.")
    ] = "ascii",
) -> int:
    """Draw the state machine as it is wired now, plugins included."""
    from crucible.config import load_settings
    from crucible.nodes.registry import load_nodes
    from crucible.orchestrator.graph import draw

    specs = load_nodes(tuple(load_settings().tools.disabled_nodes))
    typer.echo(draw(specs, form))
    return 0
