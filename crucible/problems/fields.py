"""A mapping from a file, read field by field: every reader gives what an absent field stands for, or raises with its name."""

from __future__ import annotations

import math
from typing import Any

from crucible.errors import InputError

_KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


class ProblemError(InputError):
    """A problem that cannot be read: `file` (with line or entry), `field` and `reason`."""

    def __init__(self, file: str, field: str, reason: str) -> None:
        super().__init__(f"{file}: `{field}` {reason}")
        self.file, self.field, self.reason = file, field, reason


def first_problem(error: ValueError) -> tuple[str, str]:
    """(field, reason) of a pydantic error; of another, its words."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return "", str(error)
    first = errors()[0]
    return ".".join(map(str, first["loc"])), str(first["msg"])


class Fields:
    def __init__(self, data: dict[Any, Any], origin: str) -> None:
        self.data, self.origin = data, origin

    def error(self, field: str, reason: str) -> ProblemError:
        return ProblemError(self.origin, field, reason)

    def typed(self, name: str, kind: type) -> Any:  # noqa: ANN401
        value = self.data.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(name, f"must be {_KINDS[kind]}, not {type(value).__name__}")
        return self.whole(name, value) if isinstance(value, str) else value

    def whole(self, name: str, text: str) -> str:
        """`text`, if it can be written down: JSON's \\ud800 is half of a character, which no file or hash takes."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(name, f"holds half of a character at position {error.start} (a lone surrogate)") from error
        return text

    def required(self, name: str) -> str:
        found = self.text(name)
        if not found.strip():
            raise self.error(name, "is missing or empty")
        return found

    def text(self, name: str) -> str:
        return self.typed(name, str) or ""

    def word(self, name: str) -> str:
        """Text, or a number where people write one (`difficulty: 3`)."""
        value = self.data.get(name)
        if isinstance(value, list | dict | bool):
            raise self.error(name, f"must be text or a number, not {type(value).__name__}")
        return "" if value is None else self.whole(name, str(value))

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.data.get(name)
        items = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.error(name, "must be a list of texts")
        return tuple(self.whole(name, item) for item in items)

    def programs(self, many: str, one: str) -> tuple[str, ...]:
        single = self.text(one)
        return (*self.texts(many), *([single] if single else []))

    def number(self, name: str) -> float | None:
        value = self.data.get(name)
        if value is None:
            return None
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self.error(name, "must be a number above 0")
        return float(value)
