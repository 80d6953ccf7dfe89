"""Static checks before anything runs: syntax, size, ruff's bug and security rules, and a few of our own.

Advice and a gate, never the boundary: a program can always hide from static checks, the sandbox does not rely on them.
Only an error of kind syntax keeps a program from running.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

from crucible.errors import MissingPartError
from crucible.types import Feedback, FindingKind

MAX_CHARS = 100_000
MAX_NESTING = 100
RUFF_TIMEOUT_S = 10.0

# E9, F: what fails when it runs. S: security. PLE: errors pylint knows. The rest of ruff is taste.
RULES = "E9,F,PLE,S"
IGNORED = "S101,S311,F401,F841,F541"
_FAILS = ("F821", "F822", "F823", "F7", "E9", "PLE")
_REVEALING = frozenset(
    [
        "__subclasses__",
        "__globals__",
        "__builtins__",
        "__code__",
        "__closure__",
        "__mro__",
        "__bases__",
        "f_globals",
        "f_locals",
        "f_back",
        "tb_frame",
        "gi_frame",
        "cr_frame",
        "__reduce__",
        "__reduce_ex__",
    ]
)
_UNUSUAL = frozenset(
    ["ctypes", "_ctypes", "cffi", "mmap", "socket", "ssl", "subprocess", "multiprocessing", "pty", "resource", "signal"]
)


def validate(code: str) -> tuple[Feedback, ...]:
    """What is to be said about a program, errors first. Never raises for what the program holds."""
    problem = _too_big(code)
    if problem is not None:
        return (problem,)
    try:
        tree = ast.parse(code)
    except SyntaxError as error:
        return (_finding(FindingKind.SYNTAX, "error", f"syntax error: {error.msg}", error.lineno, error.offset),)
    except (ValueError, RecursionError, MemoryError) as error:
        return (_finding(FindingKind.SYNTAX, "error", f"cannot be parsed: {error or type(error).__name__}"),)
    found = [*_ruff(code), *_walk(tree)]
    return tuple(sorted(found, key=lambda finding: finding.severity != "error"))


def _finding(
    kind: FindingKind,
    severity: Literal["info", "warning", "error"],
    message: str,
    line: int | None = None,
    column: int | None = None,
    rule: str | None = None,
) -> Feedback:
    return Feedback(kind=kind, severity=severity, message=message, line=line, column=column, rule=rule)


def _too_big(code: str) -> Feedback | None:
    """Checked before parsing: Python's parser can be crashed by depth and slowed down by size."""
    if len(code) > MAX_CHARS:
        return _finding(FindingKind.SYNTAX, "error", f"the program has {len(code)} characters, {MAX_CHARS} are allowed")
    if "\0" in code:
        return _finding(
            FindingKind.SYNTAX, "error", "the program holds a null byte", code[: code.index("\0")].count("\n") + 1
        )
    depth = deepest = 0
    for character in code:
        if character in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in ")]}":
            depth -= 1
    if deepest > MAX_NESTING:
        return _finding(FindingKind.SYNTAX, "error", f"brackets are nested {deepest} deep, {MAX_NESTING} are allowed")
    return None


def _walk(tree: ast.Module) -> Iterator[Feedback]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _REVEALING:
            message = f"reaches into the interpreter ({node.attr})"
            yield _finding(FindingKind.SECURITY, "warning", message, node.lineno, node.col_offset + 1, "CR001")
        elif isinstance(node, ast.Name) and node.id == "__import__":
            message = "imports by a computed name (__import__)"
            yield _finding(FindingKind.SECURITY, "warning", message, node.lineno, node.col_offset + 1, "CR002")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                if name.split(".")[0] in _UNUSUAL:
                    message = f"imports {name}, which a function that computes does not need"
                    yield _finding(FindingKind.SECURITY, "warning", message, node.lineno, node.col_offset + 1, "CR003")


@cache
def _ruff_command() -> list[str]:
    beside = Path(sysconfig.get_path("scripts")) / "ruff"
    if not beside.is_file():
        raise MissingPartError(f"ruff is not installed for {sys.executable}; run: {sys.executable} -m pip install ruff")
    command = [str(beside), "check", "--isolated", "--no-cache", "--quiet", "--output-format", "json", "--exit-zero"]
    return [*command, "--select", RULES, "--ignore", IGNORED, "--stdin-filename", "candidate.py", "-"]


def _ruff(code: str) -> Iterator[Feedback]:
    try:
        done = subprocess.run(
            _ruff_command(),
            input=code.encode("utf-8", "replace"),
            capture_output=True,
            timeout=RUFF_TIMEOUT_S,
            check=False,
        )
        rows = json.loads(done.stdout or b"[]")
    except subprocess.TimeoutExpired:
        yield _finding(FindingKind.LINT, "warning", f"the linter did not finish within {RUFF_TIMEOUT_S:g} s")
        return
    except ValueError as error:
        yield _finding(FindingKind.LINT, "warning", f"the linter gave no readable answer ({error})")
        return
    for row in rows:
        code_name = row["code"] or "E999"
        kind = FindingKind.SECURITY if code_name.startswith("S") else FindingKind.LINT
        severity: Literal["warning", "error"] = "error" if code_name.startswith(_FAILS) else "warning"
        place = row["location"]
        yield _finding(kind, severity, row["message"], place["row"], place["column"], code_name)
