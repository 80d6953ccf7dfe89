"""What tests put into names before they use it: `given = {"n": 3}`, `solver = Solution()`, imports."""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterable

from crucible.languages.python import syntax
from crucible.security.judge.asked import Case


class Values:
    """The named values of a module of tests, in the order of its statements.

    A value that may change when it is used counts only where it is used once: put in its place, each use gets a fresh one."""

    def __init__(self, tree: ast.Module) -> None:
        loads = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
        self._loads = Counter(loads)
        self._values: dict[str, ast.expr] = {}
        self._objects: dict[str, str] = {}
        self._methods: dict[str, set[str]] = {}
        self._left: Counter[str] = Counter()
        self._bound: set[str] = set()
        self._has_star = False

    def take(self, node: ast.stmt) -> bool:
        """Note an import, or a name for a literal or for a new object; False for anything else."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
            self._has_star |= "*" in names
            self._bound |= set(names)
            return getattr(node, "module", "") != "__future__"
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)):
            return False
        name, value = node.targets[0].id, node.value
        again = name in self._bound
        self._bound.add(name)
        if isinstance(value, ast.Call):
            if not self._loads[name]:
                return ast.unparse(value) in ("float('inf')", "float('-inf')", "float('nan')", "set()")
            is_object = isinstance(value.func, ast.Name) and not value.args and not value.keywords
            self._objects[name] = f"{ast.unparse(value.func)}()"
            return is_object and not again and ast.unparse(value.func) not in self._bound
        try:
            syntax.literal(value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return False
        self._values[name] = value
        self._left[name] = 1
        return name not in self._objects

    def put_into(self, node: ast.Assert) -> ast.Assert:
        """Write the named values out; a name that may not be used here stays, and makes the assert no direct one."""
        used = [part for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in self._values]
        if not used:
            return node
        written: ast.Assert = _Written(self._use).visit(copy.deepcopy(node))
        return written

    def _use(self, name: str) -> ast.expr | None:
        value = self._values.get(name)
        if value is None or isinstance(value, ast.Constant):
            return value
        self._left[name] -= 1
        return value if self._left[name] >= 0 else None

    def on_object(self, case: Case) -> Case:
        """A call of a named object's method is one of its class's new object, the same for all calls."""
        name, dot, method = case.name.partition(".")
        if not dot or name not in self._objects:
            return case
        self._methods.setdefault(name, set()).add(method)
        return case._replace(name=f"{self._objects[name]}.{method}", bound=True)

    def leave(self, case: Case, entry: str | None) -> bool:
        """Return whether the case calls the program, as far as can be told: nothing that the tests bind, nor one of two
        methods of an object, which would be two objects."""
        if any(len(methods) > 1 for methods in self._methods.values()) or len(set(self._objects.values())) < len(
            self._objects
        ):
            return False
        if case.name.partition("(")[0].partition(".")[0] in self._bound or ("." in case.name and not case.bound):
            return False
        return not self._has_star or case.bound or case.name == entry


def assigned(tree: ast.Module) -> list[tuple[str, str]]:
    """The names that a module of tests assigns, each with the source of its value."""
    nodes = [node for node in tree.body if isinstance(node, ast.Assign)]
    return [(name.id, ast.unparse(node.value)) for node in nodes for name in node.targets if isinstance(name, ast.Name)]


def reads_one(code: str, assigned: Iterable[tuple[str, str]]) -> bool:
    """Return whether a program uses one of these names, and does not give it the same value itself."""
    return any(
        re.search(rf"\b{name}\b", code) and not re.search(rf"^{name} = {re.escape(value)}$", code, re.M)
        for name, value in assigned
    )


class _Written(ast.NodeTransformer):
    def __init__(self, use: Callable[[str], ast.expr | None]) -> None:
        self._use = use

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._use(node.id) or node

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """`f(**given)`, where `given` is written out, is a call with those keywords."""
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [each for keyword in node.keywords for each in self._keywords(keyword)]
        return node

    def _keywords(self, keyword: ast.keyword) -> list[ast.keyword]:
        value = self.visit(keyword.value)
        if keyword.arg is None and isinstance(value, ast.Dict):
            names = [key.value if isinstance(key, ast.Constant) else None for key in value.keys]
            if all(isinstance(name, str) and name.isidentifier() for name in names):
                return [ast.keyword(str(name), each) for name, each in zip(names, value.values, strict=True)]
        return [ast.keyword(keyword.arg, value)]
