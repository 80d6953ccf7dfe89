"""The settings that the environment holds: `CRUCIBLE_<SECTION>__<KEY>`, read by pydantic-settings.

An empty variable sets nothing, `null` sets None, a list is separated by commas, with or without brackets, a mapping is
written as in YAML: `{ctypes: deny}`.
A variable that begins with `CRUCIBLE_` and names no setting is an error: misspelt, it would be ignored.
"""

from __future__ import annotations

import difflib
import os
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from crucible.config.checks import KEYS, Source, unknown
from crucible.config.document import Place, parse_document
from crucible.config.paths import CACHE_VARIABLE, HOME_VARIABLE
from crucible.config.settings import Sections

PREFIX = "CRUCIBLE_"


class _Environment(BaseSettings, Sections):
    """Tells the source which variables there are; never instantiated."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        env_parse_none_str="null",
        defer_build=True,
    )


class _Variables(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401
        if value.lstrip().startswith("{"):
            return parse_document(value).data
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [part.strip(" \t\"'") for part in inner.split(",")] if inner.strip() else []


def environment_source() -> Source:
    """Return what the environment sets now, with every misspelt variable as a problem."""
    known = {_variable(key) for key in KEYS} | {HOME_VARIABLE, CACHE_VARIABLE}
    named = {name for name, text in os.environ.items() if name.upper().startswith(PREFIX) and text}
    strangers = sorted(name for name in named if name.upper() not in known)
    if strangers:
        problems = tuple(_stranger(name, known) for name in strangers)
        return Source(None, _locate, _origin, strict=False, problems=problems)
    return Source(_Variables(_Environment)(), _locate, _origin, strict=False)


def _variable(dotted: str) -> str:
    return PREFIX + dotted.replace(".", "__").upper()


def _stranger(name: str, known: set[str]) -> str:
    upper = name.upper()[:128]
    of_section = sorted(variable for variable in known if variable.startswith(f"{upper}__"))
    near = of_section or difflib.get_close_matches(upper, sorted(known), n=1)
    return f"environment variable {unknown(name[:128], near[0] if near else None)}"


def _origin(place: Place) -> str:
    return _variable(".".join(map(str, place[:2])))


def _locate(place: Place) -> str:
    return f"environment variable {_origin(place)}"
