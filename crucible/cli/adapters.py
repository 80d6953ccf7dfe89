"""`crucible models adapters`: the fine-tuned adapters on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Fine-tuned adapters: what there is, taking one in, deleting one.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
SpecArgument = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The newest version where none is given.")]


@app.command("list")
def list_adapters(as_json: JsonOption = False) -> int:
    """List all adapters and versions, with what each was trained from."""
    from crucible.cli.output import print_json, say
    from crucible.config import load_settings
    from crucible.models.weights.adapters import AdapterStore
    from crucible.text import one_line

    store = AdapterStore(load_settings().paths.adapters)
    cards, damaged = store.cards(), store.damaged()
    for each in damaged:
        say(one_line(f"{each}; remove it with: crucible models adapters remove {each.id}"))
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards])
        return 0
    for card in cards:
        origin = f"from {card.parent}" if card.parent else "from the model itself"
        typer.echo(one_line(f"{card.id:<24} {card.base:<20} rank {card.rank:<4} {origin:<26} {card.note}"))
    if not cards and not damaged:
        typer.echo("none; take a PEFT adapter in with: crucible models adapters add FOLDER NAME")
    return 0


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A LoRA adapter as PEFT saves it.")],
    name: Annotated[str, typer.Argument(help="What it shall be called; a known name gets a new version.")],
    model: Annotated[
        str | None, typer.Option(help="The model it was trained on. [default: the configured one]")
    ] = None,
    note: Annotated[str, typer.Option(help="A line to remember it by.")] = "",
    as_json: JsonOption = False,
) -> int:
    """Take a copy of an adapter in, converted for llama.cpp. Serving it is another matter: `solve --adapter NAME`."""
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.models.weights.adapters import AdapterStore
    from crucible.models.weights.catalogue import resolve
    from crucible.models.weights.files import locate

    settings = load_settings(overrides={"model": {"name": model}} if model else None)
    source = resolve(settings.model.name)
    base_file = locate(source, settings.paths.models)
    card = AdapterStore(settings.paths.adapters).add(
        folder, name=name, base=source.name, base_file=base_file, note=note
    )
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        typer.echo(card.id)
    return 0


@app.command()
def remove(spec: SpecArgument) -> int:
    """Delete one version. Not one that another was trained from, nor one that was promoted and not rolled back."""
    from crucible.cli.output import say
    from crucible.config import load_settings
    from crucible.errors import InputError
    from crucible.finetune.gate.gate import Gate
    from crucible.finetune.store import FinetuneStore
    from crucible.models.weights.adapters import AdapterStore
    from crucible.security.trust.audit import AuditLog

    paths = load_settings().paths
    store = AdapterStore(paths.adapters)
    if (id_ := store.which(spec)) in Gate(AuditLog(paths.audit), FinetuneStore(paths.finetune)).serving():
        raise InputError(f"{id_} serves, or would after a rollback: first roll it back with crucible finetune rollback")
    say(f"removed {store.remove(id_)}")
    return 0
