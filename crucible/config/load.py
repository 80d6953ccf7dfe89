"""Reads the sources, checks each by itself, and merges them:

    packaged defaults < user file < ./crucible.yaml (or the file given) < CRUCIBLE_SECTION__KEY < options

Every source is checked before merging, so a message names the file and line, the variable or the option
that is wrong, even where a later source would have hidden it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from crucible.config.checks import Source, check
from crucible.config.document import Document, Said, parse_document, read_document
from crucible.config.paths import find_paths, user_file
from crucible.config.policy import Action, loosens
from crucible.config.section import Section
from crucible.config.settings import RewardSettings, Sections, Settings
from crucible.config.translate import translate
from crucible.errors import ConfigError

S = TypeVar("S", bound=Section)
PROJECT_FILE = "crucible.yaml"
USERS_OWN: dict[tuple[str, str], object] = {
    ("cycles", "approve"): "auto",
    ("cycles", "require_human_approval"): False,
    ("sandbox", "tier"): "B",
    ("model", "base_url"): None,
    ("model", "sglang_args"): None,
    ("model", "hub_url"): None,
    ("model", "adapter"): None,
}
"""What ./crucible.yaml may not set, or not to this value: it comes with whatever was checked out, and must neither let
code run, nor weaken what it runs in, nor send tasks elsewhere, nor name an adapter to serve that nobody here promoted. Your
own file, the environment, --config and options may."""

DEFAULT_FILES = ("model.yaml", "cycles.yaml", "tools.yaml", "rewards.yaml", "learning.yaml")


def load_settings(
    *,
    project_dir: Path | None = None,
    config_file: Path | None = None,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """The settings of this process.

    project_dir: folder whose crucible.yaml counts, default the working directory.
    config_file: a file read in place of that one; it must exist.
    overrides: by section and key, as the command line gives them; they are the strongest.
    Raises ConfigError: one line naming source, place, key and what is wrong.
    """
    from crucible.config.environment import environment_source  # pydantic-settings costs 40 ms to import

    sources = [_defaults()]
    strangers: Source | None = None
    project = (project_dir or Path()) / PROJECT_FILE
    if _there(user_file()):
        sources.append(file_source(user_file()))
    if config_file is not None:
        sources.append(file_source(config_file))
    elif _there(project):
        strangers = file_source(project)
        sources.append(strangers)
    sources.append(environment_source())
    sources.append(_options(overrides or {}))
    merged: dict[str, dict[str, Any]] = {name: {} for name in Sections.model_fields}
    origin: dict[str, str] = {}
    for source in sources:
        _refuse(check(source) or (_users_own(source, merged) if source is strangers else []))
        for section, values in source.sections():
            for key, value in values.items():
                origin[f"{section}.{key}"] = source.origin((section, key))
                if isinstance(value, Mapping):  # adds to what is there, entry by entry
                    origin |= {f"{section}.{key}.{name}": source.origin((section, key, name)) for name in value}
                    merged[section][key] = {**merged[section].get(key, {}), **value}
                else:
                    merged[section][key] = value
    together = Source(merged, lambda _: "settings", lambda _: "", strict=False)
    _refuse(check(together))  # each source can be right, and what they make together not
    return Settings.model_validate({**merged, "paths": find_paths(), "origin": origin})


def _there(path: Path) -> bool:
    """Whether there is such a file for this user; none in a folder that is closed to them, as another user's home is."""
    try:
        return path.is_file()
    except PermissionError:
        return False


class Examined(NamedTuple):
    """Lines about a settings file. `notes`: values that mean something else here than in other systems, or that nothing reads.
    `source`: what the file sets."""

    problems: list[str]
    notes: list[str]
    source: Source


def examine_file(path: Path) -> Examined:
    """Every problem of a settings file and every note on it."""
    source = file_source(path)
    return Examined(check(source), list(source.notes), source)


def validate_file(path: Path) -> list[str]:
    """Every problem of a settings file, one line each; empty when it is right."""
    return examine_file(path).problems


def file_source(path: Path) -> Source:
    document = read_document(path)
    notes = translate(document, context_length=_defaults().data["model"]["context_length"])
    return _source(document, str(path), sorted(notes, key=lambda note: note[0] or (0, 0)))


def default_policy() -> dict[str, Action]:
    """The packaged `tools.policy`."""
    policy: dict[str, Action] = _defaults().data["tools"]["policy"]
    return policy


def packaged(kind: type[S], **changed: object) -> S:
    """The packaged settings of one section, with some of them changed. Raises ValueError as a settings file does."""
    (name,) = [name for name, field in Sections.model_fields.items() if field.annotation is kind]
    return kind.model_validate({**_defaults().data[name], **changed})


def rewards_from(path: Path) -> RewardSettings:
    """The packaged `rewards` with what the settings file at `path` says over them, and nothing else. Raises ConfigError."""
    source = file_source(path)
    _refuse(check(source))
    given = dict(source.sections()).get("rewards")
    if given is None:
        raise ConfigError(f"{path}: there is no section `rewards` in it")
    return RewardSettings.model_validate({**_defaults().data["rewards"], **given})


def _users_own(source: Source, before: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a project's file sets and may not. before: the settings it would change."""
    problems = [
        f"{source.locate(place)}: {'.'.join(place)}: a project's file may make this stricter, not looser; "
        "use your user file, the environment or an option"
        for place in _loosened(source, before)
    ]
    sections = dict(source.sections())
    for (section, key), forbidden in USERS_OWN.items():
        values = sections.get(section, {})
        if key in values and forbidden in (None, values[key]):
            problems.append(
                f"{source.locate((section, key))}: {section}.{key}: a project's file may not set this; "
                "use your user file, the environment or an option"
            )
    return problems


def _loosened(source: Source, before: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    sections = dict(source.sections())
    for key, action in sections.get("tools", {}).get("policy", {}).items():
        if loosens(before["tools"]["policy"], key, action):
            yield "tools", "policy", key
    modes = ("auto", "ask", "never")
    for severity, mode in sections.get("cycles", {}).get("approve_findings", {}).items():
        if modes.index(mode) < modes.index(before["cycles"]["approve_findings"].get(severity, "ask")):
            yield "cycles", "approve_findings", severity


def _refuse(problems: list[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(problems[0] + more)


def _source(document: Document, name: str, notes: Sequence[Said] = ()) -> Source:
    def lines(found: Sequence[Said]) -> tuple[str, ...]:
        return tuple(
            f"{name}:{position[0]}:{position[1]}: {text}" if position else f"{name}: {text}" for position, text in found
        )

    def locate(place: tuple[str | int, ...]) -> str:
        position = document.position(place)
        return f"{name}:{position[0]}:{position[1]}" if position else name

    def origin(place: tuple[str | int, ...]) -> str:
        position = document.position(place)
        return f"{name}:{position[0]}" if position else name

    return Source(document.data, locate, origin, strict=True, problems=lines(document.problems), notes=lines(notes))


@cache
def _defaults() -> Source:
    """The packaged files as one source; they are read once per process."""
    data: dict[str, Any] = {}
    folder = files("crucible.config") / "defaults"
    for name in DEFAULT_FILES:
        data.update(parse_document((folder / name).read_text(encoding="utf-8")).data)
    return Source(data, lambda _: "packaged defaults", lambda _: "default", strict=True)


def _options(overrides: Mapping[str, Mapping[str, Any]]) -> Source:
    return Source(overrides, lambda _: "option", lambda _: "option", strict=False)
