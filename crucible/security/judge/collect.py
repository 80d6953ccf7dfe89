"""Find the tests that a source file defines: test functions and test classes, with the methods they inherit.

The names found here are the results that a run has to report. A test that cannot be run is refused by its name, so that
no test counts as passed because nobody ran it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from crucible.errors import InputError

TEST_CASES = ("TestCase", "IsolatedAsyncioTestCase")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Collected(NamedTuple):
    """A class of tests; methods in the order in which they run, inherited ones too."""

    name: str
    methods: tuple[str, ...]
    is_unittest: bool


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run at module level, those inside `if`, `try`, `with` and loops too."""
    for node in body:
        yield node
        if not isinstance(node, Function | ast.ClassDef):
            for part in ast.iter_child_nodes(node):
                inner = [part] if isinstance(part, ast.stmt) else []
                if isinstance(part, ast.ExceptHandler | ast.match_case):
                    inner = part.body
                yield from top_level(inner)


def functions(tree: ast.Module) -> list[str]:
    """Return the names of the module's test functions, in the order they are written.

    Raises InputError for a function that needs arguments nobody gives it."""
    found: list[str] = []
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in top_level(tree.body):
        if isinstance(node, Function) and node.name.startswith("test"):
            if missing := _required(node):
                if node.name in used:
                    continue  # a helper, whose arguments the tests give it
                raise InputError(
                    f"the tests cannot be run: {node.name} needs {', '.join(missing)}, and fixtures are not supported; "
                    "give the arguments defaults, or use unittest"
                )
            found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(found) if name.startswith("test")]


def classes(tree: ast.Module) -> list[Collected]:
    """Return the module's test classes: unittest's by their base, others by a name that starts with Test.

    Raises InputError for a class whose test methods nothing would run."""
    defined = {node.name: node for node in top_level(tree.body) if isinstance(node, ast.ClassDef)}
    bases = {name: [ast.unparse(base) for base in node.bases] for name, node in defined.items()}
    inherited = {base for each in bases.values() for base in each}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found = []
    for name, node in defined.items():
        methods = _methods(name, defined, bases, frozenset())
        is_unittest = _is_unittest(name, bases, frozenset())
        tests = tuple(sorted(method for method, runs in methods.items() if runs))
        if is_unittest or (name.startswith("Test") and tests):
            if not is_unittest:
                tests = tuple(method for method, runs in methods.items() if runs)  # pytest's order: as written
                _refuse_arguments(name, node)
            found.append(Collected(name, tests, is_unittest))
        elif tests and name not in inherited and name not in used:
            raise InputError(
                f"the tests cannot be run: class {name} has test methods, but is no unittest.TestCase and its name does "
                "not start with Test"
            )
    return [each for each in found if each.methods or each.is_unittest]


def _methods(
    name: str, classes: dict[str, ast.ClassDef], bases: dict[str, list[str]], seen: frozenset[str]
) -> dict[str, bool]:
    """The test methods of a class and of its bases in this module; False for one that a subclass took away."""
    if name not in classes or name in seen:
        return {}
    found: dict[str, bool] = {}
    for base in reversed(bases[name]):
        found |= _methods(base, classes, bases, seen | {name})
    for node in classes[name].body:
        if isinstance(node, Function):
            found |= {node.name: True} if node.name.startswith("test") else {}
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            value = node.value
            runs = isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in found)
            gone = isinstance(value, ast.Constant) and value.value is None
            found |= {each: runs for each in names if each.startswith("test") and (runs or gone)}
    return found


def _is_unittest(name: str, bases: dict[str, list[str]], seen: frozenset[str]) -> bool:
    if name in seen:
        return False
    return any(
        base.split(".")[-1] in TEST_CASES or _is_unittest(base, bases, seen | {name}) for base in bases.get(name, ())
    )


def _required(node: Function, *, bound: int = 0) -> list[str]:
    """The arguments without a default; none where a decorator may give them."""
    if node.decorator_list:
        return []
    positional = [*node.args.posonlyargs, *node.args.args]
    needed = positional[bound : len(positional) - len(node.args.defaults)]
    keywords = [
        arg for arg, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is None
    ]
    return [arg.arg for arg in (*needed, *keywords)]


def _refuse_arguments(name: str, node: ast.ClassDef) -> None:
    for part in node.body:
        if isinstance(part, Function) and part.name.startswith("test") and (missing := _required(part, bound=1)):
            raise InputError(
                f"the tests cannot be run: {name}.{part.name} needs {', '.join(missing)}, and fixtures are not "
                "supported; give the arguments defaults, or use unittest"
            )
