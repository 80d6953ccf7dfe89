"""Reading what the user wants solved: text, standard input, or a JSON, YAML or Markdown file.

The only files read are those the user names on the command line. No field of a task file is ever taken for a path.
"""

from __future__ import annotations

import json
import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.types import Example, HiddenTests, Limits, Task

MAX_BYTES = 1 << 20
SUFFIXES = (".json", ".yaml", ".yml", ".md")

FIELDS = [
    "id",
    "title",
    "prompt",
    "description",
    "language",
    "entry_point",
    "examples",
    "test_cases",
    "expected_outputs",
    "tests",
    "time_limit",
    "memory_limit",
    "max_tokens",
    "difficulty",
    "constraints",
    "source",
]
CARRIED = ["canonical_solution", "task_type", "preamble", "meta", "tests_plus", "buggy_solution", "suffix", "code"]
"""Fields of published problem files that solving does not use."""


class TaskFile(NamedTuple):
    """`notes`: things worth saying that are no errors (an unknown field, say)."""

    task: Task
    hidden: HiddenTests
    notes: tuple[str, ...] = ()


def read_task(argument: str, tests: Path | None = None, language: str | None = None) -> TaskFile:
    """`argument` as the command line gives it: the task's text, a file, or - for standard input.

    tests: a file of Python tests that takes the place of the task's own. Raises InputError.
    """
    if argument == "-":
        found = _from_text(_decode(sys.stdin.buffer.read(MAX_BYTES + 1), "standard input"))
    elif _is_file(argument):
        found = _from_file(Path(argument))
    else:
        found = _from_text(argument)
    changes: dict[str, Any] = {}
    if tests is not None:
        changes |= {"tests": _decode(_read(tests), str(tests)), "examples": ()}
    if language is not None:
        changes["language"] = language
    if not found.task.prompt.strip():
        raise InputError("the task is empty: say what the program should do")
    return found._replace(task=found.task.model_copy(update=changes))


def _is_file(argument: str) -> bool:
    looks = argument.lower().endswith(SUFFIXES) and "\n" not in argument and len(argument) < 4096
    if looks and (not re.search(r"\s", argument) or Path(argument).exists()):
        return True
    return "\n" not in argument and len(argument) < 256 and "/" in argument and Path(argument).is_file()


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path} has {size / 1e6:.1f} MB; a task or test file may have {MAX_BYTES / 1e6:.0f} MB")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise InputError(f"{name} is larger than {MAX_BYTES / 1e6:.0f} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}, line {line}: not UTF-8 text (byte 0x{data[error.start]:02x})") from error


def _from_text(text: str) -> TaskFile:
    return TaskFile(Task(prompt=text), HiddenTests())


def _from_file(path: Path) -> TaskFile:
    text = _decode(_read(path), str(path))
    suffix = path.suffix.lower()
    if suffix == ".json":
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
            raise InputError(f"{path}{where}: not valid JSON ({getattr(error, 'msg', 'nested too deeply')})") from error
        return _from_mapping(data, path)
    if suffix in (".yaml", ".yml"):
        return _from_mapping(_yaml(text, path), path)
    if suffix == ".md":
        return _from_markdown(text, path)
    return _from_text(text)


def _yaml(text: str, path: Path, first_line: int = 1) -> Any:  # noqa: ANN401
    import yaml

    try:
        if "&" in text and "*" in text:  # a few aliases of aliases are gigabytes once they are written out
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    line = (event.start_mark.line if event.start_mark else 0) + first_line
                    raise InputError(f"{path}, line {line}: aliases (*name) are not allowed in a task")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + first_line}" if mark else ""
        raise InputError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', None) or error})") from error


def _from_markdown(text: str, path: Path) -> TaskFile:
    """The text is the prompt; fields may stand in YAML between two --- lines at the top."""
    match = re.match(r"---\n(.*?)\n---\n(.*)", text, re.S)
    if match is None:
        heading = re.search(r"^# +(.+)$", text, re.M)
        return TaskFile(Task(prompt=text, title=heading[1].strip() if heading else ""), HiddenTests())
    fields = _yaml(match[1], path, first_line=2) or {}
    if not isinstance(fields, dict):
        raise InputError(f"{path}, line 2: the block between the --- lines must hold `field: value` lines")
    return _from_mapping({**fields, "prompt": match[2]}, path)


def _from_mapping(data: Any, path: Path) -> TaskFile:  # noqa: ANN401
    if not isinstance(data, dict):
        raise InputError(f"{path}: a task file holds one object with the fields {', '.join(FIELDS)}")
    prompt = data.get("prompt", data.get("description"))
    if not isinstance(prompt, str):
        raise InputError(f"{path}: the field `prompt` (or `description`) is missing or no text")
    values: dict[str, Any] = {"prompt": prompt, "limits": _limits(data, path)}
    for name in ("id", "title", "language", "difficulty", "source"):
        if data.get(name) is not None:
            values[name] = str(data[name])
    for name, kind in (("tests", str), ("entry_point", str), ("max_tokens", int)):
        if data.get(name) not in (None, ""):
            values[name] = _typed(data, name, kind, path)
    values["constraints"] = tuple(_strings(data.get("constraints"), path))
    values["examples"] = _examples(data.get("examples"), path)
    try:
        return TaskFile(Task(**values), _hidden(data, path), tuple(_notes(data, path)))
    except ValueError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error


def _typed(data: dict[str, Any], name: str, kind: type, path: Path) -> Any:  # noqa: ANN401
    value = data[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{path}: `{name}` must be {'text' if kind is str else 'a whole number'}, not {value!r:.60}")
    return value


def _strings(value: Any, path: Path) -> list[str]:  # noqa: ANN401
    if value is None:
        return []
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InputError(f"{path}: `constraints` must be a list of sentences")
    return items


def _limits(data: dict[str, Any], path: Path) -> Limits:
    try:
        values: dict[str, Any] = {}
        if data.get("time_limit") is not None:
            values |= {"wall_s": data["time_limit"], "cpu_s": data["time_limit"]}
        if data.get("memory_limit") is not None:
            values["memory_mib"] = data["memory_limit"]
        return Limits(**values)
    except ValueError as error:
        raise InputError(f"{path}: `time_limit` (s) or `memory_limit` (MiB): {_first_problem(error)}") from error


def _examples(value: Any, path: Path) -> tuple[Example, ...]:  # noqa: ANN401
    if value is None:
        return ()
    if not isinstance(value, list):
        raise InputError(f'{path}: `examples` must be a list of {{"input": …, "output": …}}')
    found = []
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict) or set(item) < {"input", "output"}:
            raise InputError(f'{path}: example {number} must be {{"input": …, "output": …}}')
        found.append(Example(input=item["input"], output=item["output"]))
    return tuple(found)


def _hidden(data: dict[str, Any], path: Path) -> HiddenTests:
    cases, outputs = data.get("test_cases") or [], data.get("expected_outputs") or []
    if not isinstance(cases, list) or not isinstance(outputs, list) or len(cases) != len(outputs):
        raise InputError(f"{path}: `test_cases` and `expected_outputs` must be lists of the same length")
    return HiddenTests(
        examples=tuple(Example(input=one, output=other) for one, other in zip(cases, outputs, strict=True))
    )


def _notes(data: dict[str, Any], path: Path) -> list[str]:
    notes = []
    for name in data:
        if name not in FIELDS and name not in CARRIED:
            near = get_close_matches(str(name), FIELDS, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            notes.append(f"{path}: field `{name}` is not used{hint}")
    return notes


def _first_problem(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first = errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
