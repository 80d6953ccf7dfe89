"""`crucible resume`: go on with a run, with the model and the budgets it began with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crucible.cli.solve import ApproveOption, ConfigOption, JsonOption, OutOption, check_out, without_none, work
from crucible.errors import InputError, RefusedError

if TYPE_CHECKING:
    from crucible.config import Settings
    from crucible.orchestrator.checkpoints import RunStore


def resume(
    run: Annotated[
        str | None, typer.Argument(help="Run id or its first characters. [default: the latest unfinished]")
    ] = None,
    cycles: Annotated[int | None, typer.Option(min=1, help="Rounds of generate and test at most.")] = None,
    model: Annotated[str | None, typer.Option(help="Catalogue name, .gguf file, or owner/repo:file.gguf.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Fine-tuned adapter; base: none.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, embedded, sglang, openai or scripted.")] = None,
    approve: ApproveOption = None,
    out: OutOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Go on with an interrupted run from its last checkpoint, with the model and the budgets it began with.

    A run survives Ctrl-C, a crash and a kill -9: at most the step it was in is done again. An option given here counts
    instead of what the run began with. `crucible runs list` shows what there is.
    """
    from crucible.cli.output import say
    from crucible.config import load_settings
    from crucible.orchestrator.checkpoints import RunStore

    given: dict[str, dict[str, Any]] = {
        "model": {"name": model, "adapter": adapter, "engine": engine},
        "cycles": {"max_cycles": cycles, "approve": approve},
    }
    settings = load_settings(config_file=config, overrides=without_none(given))
    check_out(out)
    store = RunStore(settings.paths.runs)
    try:
        run_id = store.find(run).run_id
        settings, notes = _as_begun(settings, store, run_id, config)
        _refuse_unasked(settings, store, run_id, as_json=as_json)
    finally:
        store.close()
    for note in notes:
        say(f"note: {note}")
    return work(settings, lambda app, watch: app.resume(run_id, watch=watch), out=out, as_json=as_json)


def _as_begun(
    settings: Settings, store: RunStore, run_id: str, config: Path | None
) -> tuple[Settings, tuple[str, ...]]:
    from crucible.orchestrator.kept import restored

    def explicit(key: str) -> bool:
        origin = settings.origin.get(key, "")
        return origin == "option" or (config is not None and origin.startswith(f"{config}:"))

    try:
        return restored(settings, store.request(run_id).settings, explicit)
    except ValueError as error:
        raise InputError(
            f"run {run_id} began with settings that do not hold any more ({str(error).splitlines()[0]}); "
            "name --model, --engine and --cycles"
        ) from error


def _refuse_unasked(settings: Settings, store: RunStore, run_id: str, *, as_json: bool) -> None:
    """Without a terminal nobody can be asked: the run would end as refused, for good."""
    from crucible.orchestrator.run import saved_state

    if settings.cycles.approval != "ask" or (sys.stdin.isatty() and sys.stderr.isatty() and not as_json):
        return
    approval = saved_state(store.saver, run_id).get("approval")
    if approval is None or not approval.granted:
        raise RefusedError(
            f"run {run_id}: nobody can be asked whether its programs may run; say --approve auto or --approve never "
            "(the run stays as it is)"
        )
