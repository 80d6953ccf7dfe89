"""Reading what the user wants solved: text, standard input, or a JSON, YAML or Markdown file.

The only files read are those the user names on the command line. No field of a task file is ever taken for a path.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.problems import native_format as own
from crucible.problems.files import parse_markdown, read_bytes
from crucible.reading import decode, parse_json, parse_yaml
from crucible.types import HiddenTests, Task

MAX_BYTES = 8 << 20
SUFFIXES = (".json", ".yaml", ".yml", ".md")
WHAT = "a task or test file"


class TaskFile(NamedTuple):
    """`notes`: things worth saying that are no errors (an unknown field, say)."""

    task: Task
    hidden: HiddenTests
    notes: tuple[str, ...] = ()


def read_task(
    argument: str, tests: Path | None = None, language: str | None = None, *, visible_cases: int | None = None
) -> TaskFile:
    """`argument` as the command line gives it: the task's text, a file, or - for standard input.

    tests: a file of Python tests that takes the place of the task's own. visible_cases: see `own.read`. Raises InputError.
    """
    if argument == "-":
        found = _from_text(_stdin())
    elif _is_file(argument):
        found = _from_file(Path(argument), visible_cases)
    else:
        found = _from_text(argument)
        if re.fullmatch(r"[\w./~-]*\.\w{1,5}|[\w.~-]*/[\w./~-]*", argument):
            found = found._replace(notes=(f"there is no file {argument}; its name is taken as the task's words",))
    changes: dict[str, Any] = {}
    if tests is not None:
        changes |= {"tests": decode(read_bytes(tests, MAX_BYTES, WHAT), str(tests)), "examples": ()}
    if language is not None:
        changes["language"] = language
    if not found.task.prompt.strip():
        raise InputError("the task is empty: say what the program should do")
    return found._replace(task=found.task.model_copy(update=changes))


def _is_file(argument: str) -> bool:
    looks = argument.lower().endswith(SUFFIXES) and "\n" not in argument and len(argument) < 4096
    if looks and (not re.search(r"\s", argument) or Path(argument).exists()):
        return True
    if "\n" in argument or "\0" in argument or len(argument) >= 256:
        return False
    try:
        return Path(argument).is_file()
    except OSError:
        return False


def _stdin() -> str:
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"standard input is larger than {MAX_BYTES / 1e6:.0f} MB")
    return decode(data, "standard input")


def _from_text(text: str) -> TaskFile:
    return TaskFile(Task(prompt=text), HiddenTests())


def _from_file(path: Path, visible_cases: int | None) -> TaskFile:
    name = str(path)
    text = decode(read_bytes(path, MAX_BYTES, WHAT), name)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        return _from_text(text)
    if suffix == ".json":
        data = parse_json(text, name)
    else:
        data = parse_markdown(text, name) if suffix == ".md" else parse_yaml(text, name)
    problem, notes = own.read(data, name, visible_cases=visible_cases)
    return TaskFile(problem.task, problem.hidden, notes)
