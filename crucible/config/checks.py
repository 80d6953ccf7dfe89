"""What is wrong with one source of settings, in words a user can act on. All problems, not only the first."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr, ValidationError

from crucible.config.document import Place
from crucible.config.settings import Sections

SECTIONS: dict[str, tuple[str, ...]] = {
    name: tuple(field.annotation.model_fields)
    for name, field in Sections.model_fields.items()
    if field.annotation is not None
}
KEYS = tuple(f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys)

MAX_PROBLEMS = 100
"""More from one source tells a user nothing new, and looking for the nearest right key takes its time."""


@dataclass(frozen=True)
class Source:
    """One origin of settings, by section and key. `data` is what was read, right or wrong."""

    data: Any
    locate: Callable[[Place], str]
    """Where a value stands, for messages."""
    origin: Callable[[Place], str]
    """Who set a value, for `config show`."""
    strict: bool
    """Whether types must match as written (files) or text may stand for a number (environment, options)."""
    problems: tuple[str, ...] = ()
    """What reading it already found."""
    notes: tuple[str, ...] = ()
    """What is worth saying about it and no problem."""

    def sections(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Return what is set. A section without content, as when all its lines are comments, sets nothing."""
        return ((name, values) for name, values in (self.data or {}).items() if values is not None)


def check(source: Source) -> list[str]:
    """Every problem of `source`, one line each. Settings it leaves out are no problem."""
    problems = list(source.problems)
    if source.data is None:
        return problems
    if not isinstance(source.data, Mapping):
        return [
            *problems,
            f"{source.locate(())}: must hold sections ({', '.join(SECTIONS)}) with settings under them",
        ]
    given = dict(source.sections())
    try:
        if source.strict:  # JSON's strict mode tells 1 from true and "1", and still makes a tuple of a list
            Sections.model_validate_json(json.dumps(given), strict=True)
        else:
            Sections.model_validate(given)
    except ValidationError as invalid:
        errors = [error for error in invalid.errors(include_url=False) if error["type"] != "missing"]
        problems += [_sentence(source, error) for error in errors[:MAX_PROBLEMS]]
    return problems


def nearest(place: Place) -> str | None:
    """The known dotted key most like a wrong one; the same section first, then the others."""
    *section, key = (str(part)[:64].lower().replace("-", "_") for part in place[:2])
    known = tuple(SECTIONS.get(section[0], ()) if section else SECTIONS)
    near = difflib.get_close_matches(key, known, n=1)
    near = near or [each for each in known if sorted(each) == sorted(key)]  # two letters swapped in a short word
    if near:
        return ".".join([*section, near[0]])
    leaves = {dotted.partition(".")[2]: dotted for dotted in reversed(KEYS)}  # of two alike, the earlier section's
    elsewhere = difflib.get_close_matches(key, leaves, n=1, cutoff=0.75)
    return leaves[elsewhere[0]] if elsewhere else None


def unknown(dotted: str, near: str | None) -> str:
    hint = f"; did you mean {near}?" if near else ""
    return f"{dotted}: no such setting{hint}"


def _sentence(source: Source, error: Any) -> str:  # noqa: ANN401
    place: Place = error["loc"]
    dotted = plain(".".join(map(str, place)))
    where = source.locate(place)
    if error["type"] == "extra_forbidden":
        return f"{where}: {unknown(dotted, nearest(place))}"
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"{where}: {dotted}: must hold settings (key: value), not {_shown(error['input'])}"
    message = error["msg"].removeprefix("Value error, ").partition(", unable to")[0]
    message = re.sub(r"^(Input|String|Tuple) should", "must", message)
    if _is_secret(place):
        return f"{where}: {dotted}: {message}"
    return f"{where}: {dotted}: {message}, not {_shown(error['input'])}"


def _is_secret(place: Place) -> bool:
    section = Sections.model_fields[str(place[0])].annotation
    field = section.model_fields.get(str(place[1])) if section and len(place) > 1 else None
    return field is not None and SecretStr in getattr(field.annotation, "__args__", (field.annotation,))


def _shown(value: Any) -> str:  # noqa: ANN401
    if value is None or isinstance(value, bool):
        return "empty" if value is None else str(value).lower()
    text = re.sub(r"(?<=://)[^\s/@'\"]*@", "***@", repr(value))  # a user and a password in an address
    return text if len(text) <= 60 else text[:59] + "…"


def plain(text: str) -> str:
    """A key from a file, fit for one line of a terminal."""
    text = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return text if len(text) <= 80 else text[:79] + "…"
