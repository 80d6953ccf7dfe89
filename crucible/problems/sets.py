"""Problem sets: from a file, a folder, the shipped `starter`, or a suite that names parts of others.

    file.json .jsonl .yaml .yml .md (each .gz too)   own problems (native_format.py) or a published form (formats/)
    folder                                           of such files, or a clone of an Exercism track
    starter                                          the problems that come with Crucible
    suite.yaml                                       {name, sets: [{path | set, difficulty: […], limit: N, ids: […]}]}

A suite's paths are relative to it. Within a set every id is there once; the order is the files', which never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.problems import formats
from crucible.problems.fields import Fields, ProblemError
from crucible.problems.files import parse_markdown, read_bytes
from crucible.problems.formats import exercism, mbpp_plus
from crucible.problems.problem import Problem
from crucible.reading import decode, parse_json, parse_yaml
from crucible.security.base import Sandbox
from crucible.types import Frozen

STARTER = "starter"
MAX_BYTES = 512 << 20
MAX_ROW = 20 << 20
SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", ".md")
NO_PROBLEMS = ("readme.md", "manifest.json")
"""Files of a folder that tell about it."""


class ProblemSet(Frozen):
    """`sha256`: of the files' contents, so that two runs can say whether they used the same problems. `notes`: what is odd
    about the files and no error."""

    name: str
    path: str
    sha256: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()


class _Entry(NamedTuple):
    """row: what it was made from, where further tests can be made from that."""

    problem: Problem
    row: dict[str, Any] | None = None


class _Loader:
    """Reads files, and keeps what is to be said of all of them: hash and notes."""

    def __init__(self, plus: bool, visible_cases: int | None) -> None:
        self.plus, self.visible_cases = plus, visible_cases
        self.hash = hashlib.sha256()
        self.notes: list[str] = []
        self._in_suite = False

    def read(self, path: Path) -> list[_Entry]:
        if path.is_dir():
            return self.folder(path)
        data = read_bytes(path, MAX_BYTES, "a problem file")
        self.hash.update(data)
        name = path.name.lower().removesuffix(".gz")
        if not name.endswith(SUFFIXES):
            raise InputError(f"{path}: no problem file; there are {', '.join(SUFFIXES)}, each with .gz too")
        if name.endswith(".jsonl"):
            return list(self.lines(data, path))
        text = decode(data, str(path))
        if name.endswith(".md"):
            return [self.entry(parse_markdown(text, str(path)), str(path), _stem(path))]
        value = parse_json(text, str(path)) if name.endswith(".json") else parse_yaml(text, str(path))
        if isinstance(value, dict) and "sets" in value:
            return self.suite(Fields(value, str(path)), path.parent)
        if isinstance(value, dict) and isinstance(value.get("problems"), list):
            value = value["problems"]
        if not isinstance(value, list):
            return [self.entry(value, str(path), _stem(path))]
        return [
            self.entry(row, f"{path}, entry {number}", f"{_stem(path)}/{number}") for number, row in enumerate(value, 1)
        ]

    def lines(self, data: bytes, path: Path) -> Iterator[_Entry]:
        for number, line in enumerate(data.split(b"\n"), 1):
            if not line.strip():
                continue
            origin = f"{path}, line {number}"
            if len(line) > MAX_ROW:
                raise InputError(f"{origin}: {len(line) / 1e6:.1f} MB; a problem may have {MAX_ROW / 1e6:.0f} MB")
            row = parse_json(decode(line, origin), str(path), number)
            yield self.entry(row, origin, f"{_stem(path)}/{number}")

    def entry(self, row: Any, origin: str, name: str) -> _Entry:  # noqa: ANN401
        """name: the id of a problem that has none."""
        problem, notes = formats.read(row, origin, plus=self.plus, visible_cases=self.visible_cases)
        self.notes += notes
        task = problem.task
        if not problem.hidden and row.get("test_cases"):
            self.notes.append(f"{origin}: its only test case is visible, and scores it; `hidden: all` would hide it")
        if not task.prompt.strip():
            raise ProblemError(origin, "prompt", "is empty: say what the program should do")
        if not task.id:
            problem = problem.model_copy(update={"task": task.model_copy(update={"id": name})})
        return _Entry(problem, row if isinstance(row, dict) and mbpp_plus.matches(row) else None)

    def completed(self, entry: _Entry, sandbox: Callable[[], Sandbox] | None) -> Problem:
        if entry.row is None or not self.plus:
            return entry.problem
        if sandbox is None:
            raise InputError(f"{entry.problem.origin}: its longer tests are computed in the sandbox; give `load` one")
        problem, notes = mbpp_plus.completed(entry.problem, entry.row, sandbox())
        self.notes += notes
        return problem

    def folder(self, path: Path) -> list[_Entry]:
        if exercism.is_track(path):
            found = [_Entry(problem) for problem in exercism.read_track(path)]
            for entry in found:
                self.hash.update(entry.problem.model_dump_json(exclude={"task": {"hint"}}).encode())
            return found
        names = [each for each in sorted(path.rglob("*")) if each.name.lower() not in NO_PROBLEMS]
        parts = [each for each in names if each.name.lower().removesuffix(".gz").endswith(SUFFIXES) and each.is_file()]
        return [entry for part in parts for entry in self.read(part)]

    def suite(self, fields: Fields, folder: Path) -> list[_Entry]:
        if self._in_suite:  # a circle of them has no end
            raise InputError(f"{fields.origin} is a suite in a suite; a suite is made of sets")
        self._in_suite = True
        found: list[_Entry] = []
        for number, part in enumerate(fields.typed("sets", list) or [], 1):
            if not isinstance(part, dict) or not ("path" in part) ^ ("set" in part):
                raise fields.error("sets", f"entry {number} must name one `path`, or one `set`")
            inner = Fields(part, f"{fields.origin}, set {number}")
            unknown = part.keys() - {"path", "set", "difficulty", "limit", "ids"}
            if unknown:
                raise inner.error(
                    str(min(unknown, key=str)), "is no field; there are path, set, difficulty, limit, ids"
                )
            name = inner.required("path" if "path" in part else "set")
            entries = self.starter() if name == STARTER and "set" in part else self.read(folder / name)
            levels = part.get("difficulty")
            levels = levels if isinstance(levels, list) else [] if levels is None else [levels]
            chosen = _select(entries, levels, inner.typed("limit", int), inner.texts("ids"))
            if not chosen:
                raise inner.error("difficulty" if levels else "sets", "chooses no problem")
            found += chosen
        return found

    def starter(self) -> list[_Entry]:
        found = []
        for part in sorted(files("crucible.problems").joinpath(STARTER).iterdir(), key=lambda each: each.name):
            if part.name.endswith(".yaml"):
                data = part.read_bytes()
                self.hash.update(data)
                name = f"{STARTER}/{part.name}"
                value = parse_yaml(decode(data, name), name)
                rows = Fields(value if isinstance(value, dict) else {}, name).typed("problems", list) or []
                found += [self.entry(row, f"{name}, entry {number}", "") for number, row in enumerate(rows, 1)]
        return found


def load(
    spec: str | Path,
    *,
    difficulty: Sequence[Any] = (),
    limit: int | None = None,
    ids: Sequence[str] = (),
    plus: bool = False,
    sandbox: Callable[[], Sandbox] | None = None,
    visible_cases: int | None = None,
) -> ProblemSet:
    """The problems that `spec` names, those of `difficulty` and `ids` alone where such are given, `limit` at most.

    plus: with the longer hidden tests of sets that have such; MBPP+'s own file computes them in the sandbox (see
    formats/mbpp_plus.py), which `sandbox` starts. visible_cases: the setting `cycles.visible_cases`, by
    default the packaged one. Raises InputError, SandboxUnavailableError."""
    loader = _Loader(plus, visible_cases)
    path = Path(spec)
    if str(spec) == STARTER:
        entries = loader.starter()
    elif path.exists():
        entries = loader.read(path)
    else:
        raise InputError(f"no problem set {str(spec)!r}: name a file, a folder, or {STARTER}")
    if not entries:
        raise InputError(f"{spec}: no problems in it")
    _unique(entries)
    chosen = _select(entries, difficulty, limit, ids)
    if not chosen:
        there = ", ".join(sorted({entry.problem.task.difficulty or "none" for entry in entries})[:20])
        raise InputError(f"{spec}: none of its {len(entries)} problems is chosen; difficulties there: {there}")
    problems = [loader.completed(entry, sandbox) for entry in chosen]
    return ProblemSet(
        name=_stem(path),
        path=str(spec),
        sha256=loader.hash.hexdigest(),
        problems=tuple(problems),
        notes=tuple(loader.notes),
    )


def _unique(entries: list[_Entry]) -> None:
    seen: dict[str, str] = {}
    for problem, _ in entries:
        if problem.id in seen:
            raise ProblemError(problem.origin, "id", f"{problem.id!r:.80} is used before, in {seen[problem.id]}")
        seen[problem.id] = problem.origin


def _select(entries: list[_Entry], difficulty: Sequence[Any], limit: int | None, ids: Sequence[str]) -> list[_Entry]:
    """Raises InputError for an id that no problem has."""
    missing = set(ids) - {entry.problem.id for entry in entries}
    if missing:
        raise InputError(f"no problem has the id {min(missing)!r}")
    levels = {str(level).strip().casefold() for level in difficulty}
    chosen = [
        entry
        for entry in entries
        if (not levels or entry.problem.task.difficulty.casefold() in levels) and (not ids or entry.problem.id in ids)
    ]
    return chosen[:limit]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0] if path.is_file() or path.suffix else path.name


def load_all(
    specs: Sequence[str | Path],
    *,
    difficulty: Sequence[Any] = (),
    limit: int | None = None,
    visible_cases: int | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[ProblemSet]:
    """Load several sets. difficulty, limit: which problems of each. note: told what is odd about them."""
    loaded = [load(spec, difficulty=difficulty, limit=limit, visible_cases=visible_cases) for spec in specs]
    for each in loaded:
        for said in each.notes:
            note(said)
    return loaded
