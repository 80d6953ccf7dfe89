"""`crucible doctor`: is everything there that a run needs, and if not, what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from crucible.errors import CrucibleError

if TYPE_CHECKING:
    from crucible.config import Settings


class Finding(NamedTuple):
    part: str
    ok: bool
    detail: str


def doctor(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> int:
    """Check settings, stores, model, sandbox and nodes, and say how to fix what is wrong. Exit 3 if a part is missing."""
    from crucible.cli.output import print_json
    from crucible.text import one_line

    findings = list(_examine())
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(one_line(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.part:<10} {finding.detail}"))
    return 0 if all(finding.ok for finding in findings) else 3


def _examine() -> Iterator[Finding]:
    from crucible.config import load_settings

    yield Finding("python", True, f"{sys.version.split()[0]} at {sys.executable}")
    try:
        settings = load_settings()
    except CrucibleError as error:
        yield Finding("settings", False, str(error))
        return
    yield Finding("settings", True, f"home {settings.paths.home}, cache {settings.paths.cache}")
    for part, check in (
        ("disk", _disk),
        ("model", _model),
        ("sglang", _sglang),
        ("sandbox", _sandbox),
        ("memory", _memory),
        ("runs", _runs),
        ("audit", _audit),
        ("adapters", _adapters),
        ("finetune", _finetune),
        ("nodes", _nodes),
    ):
        yield _try(part, check, settings)


def _try(part: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, True, check(settings))
    except CrucibleError as error:
        return Finding(part, False, str(error))
    except (OSError, ValueError) as error:  # one part that cannot be looked at hides no other
        return Finding(part, False, f"cannot be looked at: {error}")


def _disk(settings: Settings) -> str:
    from crucible.errors import StoreError

    place = settings.paths.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < 100 * 2**20:
        raise StoreError(f"only {free / 1e6:.0f} MB free at {place}; episodes and checkpoints need room")
    if not os.access(place, os.W_OK | os.X_OK):
        raise StoreError(f"{place} is not writable for you; set CRUCIBLE_HOME to a folder that is")
    return f"{free / 1e9:.1f} GB free at {place}"


def _model(settings: Settings) -> str:
    from crucible.models import find_model

    return find_model(settings.model, settings.paths)


def _sglang(settings: Settings) -> str:
    from crucible.models import chosen_because, engine_of
    from crucible.models.sglang import environment as sglang_env

    chosen, why = engine_of(settings.model, settings.paths), chosen_because(settings.model, settings.paths)
    return f"{sglang_env.serveable(settings.paths.models)}; engine in use: {chosen} ({why})"


def _sandbox(settings: Settings) -> str:
    from crucible.security.sandbox.probe import select_sandbox

    return f"tier {select_sandbox(settings.sandbox.tier).tier}, as a canary program observed it"


def _memory(settings: Settings) -> str:
    from crucible.errors import StoreError
    from crucible.memory import MemoryStore

    if settings.paths.episodes.is_symlink() and not settings.paths.episodes.exists():
        raise StoreError(f"{settings.paths.episodes} is a link to nowhere; remove it, or make the folder it names")
    store = MemoryStore(settings.paths.episodes)
    try:
        return f"{store.stats().episodes} episodes at {settings.paths.episodes}"
    finally:
        store.close()


def _runs(settings: Settings) -> str:
    from crucible.orchestrator.checkpoints import RunStore

    path = settings.paths.runs
    if not os.path.lexists(path):
        return "none yet"
    store = RunStore(path)
    try:
        return f"{store.check()} runs at {path}"
    finally:
        store.close()


def _audit(settings: Settings) -> str:
    from crucible.errors import StoreError
    from crucible.security.trust.audit import AuditLog

    report = AuditLog(settings.paths.audit).verify()
    if not report.ok:
        raise StoreError(
            f"{report.path}: {report.problems[0]}; crucible audit verify says more; move the log and its "
            ".head.json away to begin a new one"
        )
    return f"{report.records} records at {report.path}"


def _adapters(settings: Settings) -> str:
    from crucible.errors import StoreError
    from crucible.models.weights.adapters import CARD, AdapterCard, AdapterStore

    store, found = AdapterStore(settings.paths.adapters), 0
    for path in sorted(store.root.glob(f"*/[0-9]*/{CARD}")) if store.root.is_dir() else []:
        try:
            card = AdapterCard.model_validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"{path} is damaged ({reason}); restore it, or move {path.parent} away") from error
        store.weights(card)
        store.gguf(card)
        found += 1
    return f"{found} adapters at {store.root}" if found else "none yet"


def _finetune(settings: Settings) -> str:
    from crucible.errors import StoreError
    from crucible.finetune.store import FinetuneStore

    store = FinetuneStore(settings.paths.finetune)
    ids = store.ids()
    try:
        for id_ in ids:
            store.dataset(store.proposal(id_)[0])
            store.trained(id_)
            store.evaluation(id_)
            store.manifest(id_)
    except StoreError as error:
        raise StoreError(f"{error}; restore the file, or move its folder away") from error
    return f"{len(ids)} fine-tunings at {settings.paths.finetune}" if ids else "none yet"


def _nodes(settings: Settings) -> str:
    from crucible.nodes.registry import load_nodes

    return ", ".join(load_nodes(tuple(settings.tools.disabled_nodes)))
