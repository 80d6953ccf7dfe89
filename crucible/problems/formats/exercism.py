"""An Exercism track: a folder with config.json and exercises/practice/<slug>/, as `git clone` leaves it.

The task is .docs/instructions.md (and what is appended to it) with the stub under it; the hidden tests are the author's
unittest source, of which the first third, at least one, is visible; the difficulty is the track's, 1 to 10.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crucible.errors import InputError
from crucible.problems.fields import Fields
from crucible.problems.files import read_bytes
from crucible.problems.formats.tests import first_methods, parse
from crucible.problems.problem import Problem
from crucible.reading import decode, parse_json
from crucible.types import HiddenTests, Task

MAX_BYTES = 1 << 20


def is_track(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "exercises" / "practice").is_dir()


def read_track(folder: Path) -> Iterator[Problem]:
    """The track's practice exercises, in its own order, without those it has given up."""
    config = Fields(_json(folder / "config.json"), str(folder / "config.json"))
    listed = Fields(config.typed("exercises", dict) or {}, config.origin).typed("practice", list) or []
    for entry in listed:
        if not isinstance(entry, dict):
            raise config.error("exercises", "must list objects with slug, name and difficulty")
        about = Fields(entry, config.origin)
        slug = about.required("slug")
        if Path(slug).name != slug or slug.startswith("."):
            raise config.error("exercises", f"names {slug!r}, which is no folder's name")
        exercise = folder / "exercises" / "practice" / slug
        if entry.get("status") != "deprecated" and exercise.is_dir():
            yield read(exercise, slug, about)


def read(exercise: Path, slug: str, about: Fields) -> Problem:
    """One exercise. about: its entry in the track's config.json."""
    meta = Fields(_json(exercise / ".meta" / "config.json"), str(exercise / ".meta" / "config.json"))
    files = Fields(meta.typed("files", dict) or {}, meta.origin)
    stub, tests = _first(exercise, files, "solution"), _first(exercise, files, "test")
    docs = [exercise / ".docs" / name for name in ("instructions.md", "instructions.append.md")]
    prompt = "\n\n".join(_text(path).strip() for path in docs if path.is_file() or path is docs[0])
    tree = parse(tests, str(exercise), "test")
    module = Path(files.texts("solution")[0]).stem
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == module]
    names = [alias.name for node in froms for alias in node.names]
    return Problem(
        task=Task(
            id=f"exercism/{slug}",
            title=about.word("name") or slug,
            prompt=f"{prompt}\n\n```python\n{stub.strip()}\n```\n",
            entry_point=names[0] if len(names) == 1 else None,
            tests=first_methods(tests, tree),
            difficulty=about.word("difficulty"),
            source="exercism",
        ),
        hidden=HiddenTests(tests=tests),
        solutions=tuple(_text(exercise / name) for name in _names(files, "example") if (exercise / name).is_file()),
        tags=about.texts("topics"),
        origin=str(exercise),
    )


def _first(exercise: Path, files: Fields, kind: str) -> str:
    names = _names(files, kind)
    if not names:
        raise files.error(f"files.{kind}", "names no file")
    return _text(exercise / names[0])


def _names(files: Fields, kind: str) -> tuple[str, ...]:
    names = files.texts(kind)
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise files.error(f"files.{kind}", f"names {name!r}, which is not in the exercise's folder")
    return names


def _json(path: Path) -> dict[str, Any]:
    data = parse_json(_text(path), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: must hold one object")
    return data


def _text(path: Path) -> str:
    return decode(read_bytes(path, MAX_BYTES, "a file of an exercise"), str(path))
