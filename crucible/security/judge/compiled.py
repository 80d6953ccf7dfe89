"""Tests compiled for the sandbox's interpreter, which is ours: read and compiled there, they would cost it twice the time."""

from __future__ import annotations
import __future__

import ast
import marshal
from typing import Any, NamedTuple

from crucible.languages.python import syntax
from crucible.security.judge.asked import Statement, Suite

_TOO_DEEP = "nested too deeply"


class Compiled(NamedTuple):
    """statements: of each what runs, its kind, and its cases' keys. imports: modules the tests import, and their packages."""

    statements: list[list[Any]]
    imports: list[str]


def compiled(suite: Suite, *, everywhere: bool) -> Compiled:
    """Compile the statements of a suite. everywhere: record every comparison, not the asserts' alone."""
    flags = 0
    statements: list[list[Any]] = []
    imports: set[str] = set()
    for each in suite.statements:
        trees = _trees(each)
        imports |= {name for tree in trees for name in _imports(tree)}
        keys = [key for key, _ in each.cases]
        if each.kind != "code":
            statements.append([each.source, each.kind, keys])
            continue
        (tree,) = trees
        flags |= _future(tree)
        kind = "star" if _is_star(tree) else "code"
        statements.append([_code(_Recording(everywhere).visit(tree), flags), kind, keys])
    return Compiled(statements, sorted(imports))


def _code(tree: ast.Module, flags: int) -> bytes:
    try:
        code = compile(ast.fix_missing_locations(tree), "tests.py", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = getattr(error, "msg", None) or _TOO_DEEP
        code = compile(f"raise SyntaxError({said!r})", "tests.py", "exec", dont_inherit=True)
    return marshal.dumps(code)


def _trees(statement: Statement) -> list[ast.Module]:
    if statement.kind == "code":
        return [syntax.parse(statement.source)]
    if statement.kind != "doctest":
        return []
    lines = [line.strip()[4:] for line in statement.source.splitlines() if line.strip().startswith(">>> ")]
    return [tree for line in lines if line.startswith(("import ", "from ")) and (tree := _parsed(line)) is not None]


def _parsed(line: str) -> ast.Module | None:
    try:
        return syntax.parse(line)
    except (SyntaxError, ValueError):
        return None


def _imports(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names |= {name.rsplit(".", dots)[0] for name in found for dots in range(name.count(".") + 1)}
    return names


def _future(tree: ast.Module) -> int:
    """The compiler's flags that `from __future__` lines ask for."""
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    names = [alias.name for node in nodes for alias in node.names if alias.name in __future__.all_feature_names]
    flags = 0
    for name in names:
        flags |= getattr(__future__, name).compiler_flag
    return flags


def _is_star(tree: ast.Module) -> bool:
    return isinstance(tree.body[0], ast.ImportFrom) and tree.body[0].names[0].name == "*"


class _Recording(ast.NodeTransformer):
    """Turns `a == b` into a call that returns the same and remembers what was compared."""

    def __init__(self, everywhere: bool) -> None:
        self._everywhere = everywhere

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        if not self._everywhere:
            node.test = self._recorded(node.test)
            return node
        return self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        return self._recorded(node) if self._everywhere else node

    def _recorded(self, node: ast.expr) -> ast.expr:
        if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq)):
            return node
        call = ast.Call(ast.Name("__same__", ast.Load()), [node.left, node.comparators[0]], [])
        return ast.copy_location(call, node)
