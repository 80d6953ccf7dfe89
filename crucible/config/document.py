"""A settings file as data with positions. Safe by construction: plain scalars, lists and mappings only.

Aliases, tags, deep nesting and files above 1 MiB are refused, so a hostile file costs little more than
reading it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from crucible.reading import strict_loader

MAX_BYTES = 1 << 20
MAX_DEPTH = 8

Place = tuple[str | int, ...]
Position = tuple[int, int]
Said = tuple[Position | None, str]


@dataclass
class Document:
    """The content of a settings file. `problems` are (position or None, what is wrong); `data` holds what could be read."""

    data: Any = None
    positions: dict[Place, Position] = field(default_factory=dict)
    problems: list[Said] = field(default_factory=list)

    def position(self, place: Place) -> Position | None:
        """Line and column (from 1) of the innermost part of `place` that the file holds."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.positions:
                return self.positions[place[:length]]
        return None


def read_document(path: Path) -> Document:
    """Read and parse `path`; every problem is in the result, none is raised."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except IsADirectoryError:
        return Document(problems=[(None, "is a folder, not a settings file")])
    except FileNotFoundError:
        return Document(problems=[(None, "no such file")])
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return Document(problems=[(None, f"cannot be read: {reason}")])
    if len(raw) > MAX_BYTES:
        return Document(problems=[(None, "is larger than 1 MiB; a settings file is not")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = (raw.count(b"\n", 0, error.start) + 1, error.start - raw.rfind(b"\n", 0, error.start))
        return Document(problems=[(position, "is not UTF-8; save the file as UTF-8")])
    return parse_document(text)


def parse_document(text: str) -> Document:
    """Parse YAML text. Duplicate keys are problems; YAML itself would silently keep the last."""
    document = Document()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            document.data = _value(loader, node, (), document)
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        position = (before.count("\n") + 1, error.position - before.rfind("\n"))
        document.problems.append((position, f"holds a character YAML forbids (#x{ord(text[error.position]):04x})"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        document.problems.append((_position(mark) if mark else None, f"not valid YAML: {reason}"))
    return document


_Strict: Any = strict_loader(fast=False)


class _Loader(_Strict):  # type: ignore[misc]
    """The strict loader, which also refuses, while parsing, what a settings file has no use for."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            _refuse(event, "aliases (*name) are not allowed here")
        if getattr(event, "tag", None) is not None:
            _refuse(event, "tags (!name) are not allowed here")
        if self.depth >= MAX_DEPTH:
            _refuse(event, "nested too deeply")
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refuse(event: Any, why: str) -> NoReturn:  # noqa: ANN401
    raise yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def _position(mark: yaml.Mark) -> Position:
    return mark.line + 1, mark.column + 1


def _value(loader: _Loader, node: yaml.Node, place: Place, document: Document) -> Any:  # noqa: ANN401
    if isinstance(node, yaml.MappingNode):
        return dict(_items(loader, node, place, document))
    if isinstance(node, yaml.SequenceNode):
        values = []
        for index, item in enumerate(node.value):
            document.positions[*place, index] = _position(item.start_mark)
            values.append(_value(loader, item, (*place, index), document))
        return values
    text: str = node.value
    if any("\ud800" <= character <= "\udfff" for character in text):
        document.problems.append((_position(node.start_mark), "holds half a surrogate pair, which is no character"))
        return None
    try:
        value = loader.construct_object(node)
    except yaml.MarkedYAMLError as error:
        document.problems.append((_position(node.start_mark), error.problem or "is not plain"))
        return None
    except ValueError:  # looks like a number or date, and is none: 2024-99-99
        return text
    # Dates and the like: YAML guessed; the text as written is what was meant.
    return value if value is None or isinstance(value, str | int | float) else text


def _items(loader: _Loader, node: yaml.MappingNode, place: Place, document: Document) -> Iterator[tuple[str, Any]]:
    seen: dict[str, Position] = {}
    for key_node, value_node in node.value:
        position = _position(key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((position, "a key must be a plain name"))
            continue
        key: str = key_node.value  # as written: YAML would read the key `on` as true
        if key in seen:
            dotted = ".".join(map(str, (*place, key)))
            document.problems.append((position, f"{dotted}: set twice, first on line {seen[key][0]}"))
            continue
        seen[key] = position
        document.positions[*place, key] = position
        yield key, _value(loader, value_node, (*place, key), document)
