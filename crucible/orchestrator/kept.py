"""The settings that a run keeps: a resumed run goes on with the model and the budgets it began with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from crucible.config import Settings

KEPT = {
    "model": [
        "name",
        "engine",
        "adapter",
        "base_url",
        "server",
        "script",
        "max_tokens",
        "temperatures",
        "top_p",
        "prefill",
    ],
    "cycles": [
        "max_cycles",
        "max_reflect",
        "samples",
        "greedy_first",
        "max_total_tokens",
        "max_wall_s",
        "strategy",
        "seed",
    ],
    "tools": ["memory", "reflection"],
}
"""Not the approval: whoever resumes says anew whether programs may run. Not keys: secrets are in no store."""

SAID = ("model.name", "model.engine", "model.adapter", "cycles.max_cycles", "cycles.strategy")


class Restored(NamedTuple):
    """`notes`: what differs from the settings, or from what the run began with, in words."""

    settings: Settings
    notes: tuple[str, ...] = ()


def kept(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what of `settings` a run goes on with, JSON-ready; an address with a password in it is left out."""
    dumped = settings.model_dump(mode="json", include={name: set(keys) for name, keys in KEPT.items()})
    if "@" in urlsplit(dumped["model"]["base_url"] or "").netloc:
        del dumped["model"]["base_url"]
    return dumped


def restored(settings: Settings, began: dict[str, dict[str, Any]], explicit: Callable[[str], bool]) -> Restored:
    """`settings` with those that a run began with. explicit: whether a dotted key was given anew, which then counts.

    Raises ValueError for settings that are none any more."""
    now = kept(settings)
    changes: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for section, values in began.items():
        for key, value in values.items():
            dotted, current = f"{section}.{key}", now.get(section, {}).get(key)
            if key not in KEPT.get(section, ()) or value == current:
                continue
            if explicit(dotted):
                notes.append(f"{dotted} is {current} now; the run began with {value}")
                continue
            changes.setdefault(section, {})[key] = value
            if dotted in SAID:
                notes.append(f"{dotted} is {value}, as the run began; the settings say {current}")
    return Restored(settings.changed(changes) if changes else settings, tuple(notes))
