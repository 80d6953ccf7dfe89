"""`crucible memory`: look into what was remembered."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from crucible.errors import InputError

app = typer.Typer(
    help="Search what earlier runs left behind. Every solve stores its episode; solved ones like a new task become its examples.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many results at most.")] = 5,
    solved: Annotated[
        bool | None, typer.Option("--solved/--unsolved", help="Only solved, or only unsolved, episodes.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Find episodes by meaning, the nearest first.

    The score is the cosine similarity of the task texts: 1 is the same text, above 0.6 is usually the same kind of task.

      crucible memory search "error handling patterns" -k 3
    """
    from crucible.cli.output import print_json, stdout
    from crucible.config import load_settings
    from crucible.memory import MemoryStore
    from crucible.text import one_line

    if not query.strip():
        raise InputError("the query is empty: say what to look for")
    store = MemoryStore(load_settings().paths.episodes)
    try:
        hits = store.fetch_semantic(query, k, solved=solved)
    finally:
        store.close()
    if as_json:
        print_json([hit.model_dump(mode="json") for hit in hits])
        return 0
    if not hits:
        typer.echo("nothing found: no episode is stored yet" if solved is None else "nothing found")
    for hit in hits:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(hit.created))
        mark = ("solved" if hit.solved else "unsolved") + (", low trust" if hit.trust == "low" else "")
        stdout().print(
            one_line(f"{hit.score:.2f}  {hit.episode_id[:8]}  {mark}  {when}  {hit.title or hit.text.strip()[:70]}"),
            markup=False,
            soft_wrap=True,
        )
        for line in hit.code.strip().splitlines()[:3]:
            stdout().print("      " + one_line(line), markup=False, style="dim", soft_wrap=True)
    return 0


@app.command()
def stats(as_json: JsonOption = False) -> int:
    """Count what is stored and say where."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.memory import MemoryStore

    store = MemoryStore(load_settings().paths.episodes)
    try:
        found = store.stats()
    finally:
        store.close()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return 0
    typer.echo(f"episodes  {found.episodes} ({found.solved} solved) of {found.tasks} tasks")
    typer.echo(f"size      {found.bytes / 1e6:.1f} MB, schema version {found.schema_version}")
    typer.echo(f"encoder   {found.encoder}")
    typer.echo(f"path      {found.path}")
    return 0
