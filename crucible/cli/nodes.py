"""`crucible nodes` and `crucible graph`: what the loop is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from crucible.nodes.registry import NodeSpec

app = typer.Typer(help="The steps of the loop, built-in and plugin.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_nodes(as_json: JsonOption = False) -> int:
    """List the registered nodes, where each runs, and which package it is from.

    A plugin is a package with a BaseNode class and an entry point in the group `crucible.nodes`; see
    examples/crucible-complexity. A script needs no package: it hands its classes to Crucible(nodes=[…]).
    """
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.nodes.registry import load_nodes
    from crucible.text import one_line

    specs = load_nodes(tuple(load_settings().tools.disabled_nodes))
    if as_json:
        print_json([_row(spec) for spec in specs.values()])
        return 0
    for spec in specs.values():
        place = f"{spec.place[0].replace('_', ' ')} {spec.place[1]}" if spec.place else "built in"
        typer.echo(one_line(f"{spec.name:<16} {place:<16} {spec.package} {spec.version}"))
    return 0


def _row(spec: NodeSpec) -> dict[str, str | None]:
    """`before` and `instead_of` only where a node sets them."""
    row = {"name": spec.name, "after": spec.after, "package": spec.package, "version": spec.version}
    return row | {key: value for key, value in (("before", spec.before), ("instead_of", spec.instead_of)) if value}


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
