"""Taking test source apart: which part of it may be visible, and what it needs to run on its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from crucible.errors import InputError
from crucible.languages.python import syntax
from crucible.problems.fields import ProblemError
from crucible.security.judge.suite import parse_suite
from crucible.types import Task


def parse(source: str, origin: str, field: str) -> ast.Module:
    try:
        return syntax.parse(source)
    except SyntaxError as error:
        raise ProblemError(origin, field, f"does not parse: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProblemError(origin, field, f"does not parse: {error or 'nested too deeply'}") from error


def is_expression(text: str) -> bool:
    """Return whether it can stand where a function is called: `f`, `Solution().f`."""
    try:
        syntax.parse_expression(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def after_asserts(tree: ast.Module, count: int) -> int:
    """Return how many of the statements it takes for `count` asserts to have run."""
    places = [number for number, node in enumerate(tree.body, 1) if isinstance(node, ast.Assert)]
    return ([0, *places])[min(count, len(places))]


def first_asserts(tree: ast.Module, count: int) -> str:
    """The first `count` asserts, with the statements before them."""
    return _source(tree.body[: after_asserts(tree, count)])


def check_asserts(tree: ast.Module, entry: str, count: int) -> str:
    """The first `count` asserts in `check(candidate)`, on `entry` itself; none where that is no expression."""
    if not is_expression(entry):
        return ""
    bodies = [node.body for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    asserts = [node for body in bodies for node in body if isinstance(node, ast.Assert)][:count]
    named = _Named(syntax.parse_expression(entry))
    return _source([named.visit(node) for node in asserts])


class _Named(ast.NodeTransformer):
    def __init__(self, entry: ast.expr) -> None:
        self._entry = entry

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._entry if node.id == "candidate" else node


def first_methods(source: str, tree: ast.Module) -> str:
    """A unittest source with the first third of its tests, at least one, in the author's own writing."""
    tests = list(_methods(tree))
    cut: list[ast.stmt] = list(tests[max(1, len(tests) // 3) :])
    cut += [node for node in tree.body if isinstance(node, ast.ClassDef) and set(node.body) <= set(cut)]
    lines = source.splitlines(keepends=True)
    for node in cut:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))]) - 1
        while first and lines[first - 1].strip()[:1] in ("", "#"):  # what is said about a test goes with it
            first -= 1
        lines[first : node.end_lineno] = [""] * ((node.end_lineno or first) - first)
    return "".join(lines).rstrip() + "\n"


def with_preamble(preamble: str, tests: str) -> str:
    """`tests`, with the preamble in front where they use names of it: they run in a sandbox that has not loaded it."""
    if not preamble.strip():
        return tests
    try:
        names = parse_suite(Task(prompt="", tests=tests)).names
    except InputError:
        return tests
    needed = ".modules[" in preamble or set(names) & _defined(preamble)  # it may bring modules that tests import
    return f"{preamble.rstrip()}\n\n{tests}" if needed else tests


def examples_in(prompt: str) -> int:
    """Return how many "Example N:" blocks a statement shows."""
    return len(re.findall(r"^\W*Example(?: \d+)?:", prompt, re.M))


def _defined(preamble: str) -> set[str]:
    """The names a preamble defines; none where it is no Python. Its star imports are left out: tests use what the author
    wrote for them."""
    found: set[str] = set()
    try:
        body = syntax.parse(preamble).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


def _methods(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        for part in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name.startswith("test"):
                yield part


def _source(nodes: list[ast.stmt]) -> str:
    return "".join(f"{ast.unparse(node)}\n" for node in nodes)
