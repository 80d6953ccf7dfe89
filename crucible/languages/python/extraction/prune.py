"""A function's program without the checks and demonstrations a model likes to append.

They would run at import: a wrong self-written assert must not fail a right function. Dropped is what nothing left needs, by
the flow of names: statements that bind no name a kept statement reads, and that change nothing a kept statement reads.
Where that is uncertain, the statement stays. Definitions and imports stay always.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator

from crucible.languages.python.extraction.source import (
    DEFINITIONS,
    IMPORTS,
    bound,
    free,
    outside_functions,
    parsed,
    read,
    read_now,
    statement,
)

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SHOWS = frozenset(["print", "pprint", "input", "help", "exit", "quit", "breakpoint", "display"])
_PURE = frozenset(
    """
    abs all any ascii bin bool bytes callable chr complex dict dir divmod enumerate filter float format
    frozenset getattr hasattr hash hex id int isinstance issubclass iter len list map max min oct ord pow print
    range repr reversed round set slice sorted str sum tuple type vars zip input pprint
    """.split()  # noqa: SIM905
)
_READS = frozenset(
    """
    get keys values items copy count index find rfind startswith endswith join split rsplit splitlines strip
    lstrip rstrip lower upper title capitalize format replace isdigit isalpha isalnum encode decode union
    intersection difference issubset issuperset most_common elements total zfill ljust rjust center
    """.split()  # noqa: SIM905
)
_RUNS = frozenset(
    ["main", "testmod", "testfile", "exit", "run", "run_tests", "pprint", "sleep", "show", "timeit", "write"]
)
_SETTINGS = frozenset(
    """
    setrecursionlimit set_int_max_str_digits seed setcontext getcontext stack_size simplefilter filterwarnings
    setlocale register basicConfig set_start_method reconfigure
    """.split()  # noqa: SIM905
)


def pruned(code: str, tree: ast.Module, wanted: Collection[str]) -> str | None:
    """`code` without what only checks or shows it; None where there is nothing to drop.

    wanted: names that the task's tests read; a call of one at the top level is a demonstration.
    """
    definitions = [node for node in tree.body if isinstance(node, DEFINITIONS)]
    if not definitions:
        return None
    last = definitions[-1].end_lineno or definitions[-1].lineno
    module = _Module(tree, wanted)
    kept = [node for node in tree.body if module.stays(node, behind=node.lineno > last)]
    rest = [node for node in tree.body if node not in kept]
    definitions_text = "\n".join(statement(code, node) for node in definitions)
    live = {*wanted, *free(definitions_text), *(name for node in kept for name in read_now(node))}
    while found := [node for node in rest if module.needed(node, live)]:
        kept += found
        rest = [node for node in rest if node not in found]
        live |= {name for node in found for name in read(node)}
    if not rest:
        return None
    shorter = _without(code, tree, rest, last)
    return shorter if parsed(shorter) is not None else None


class _Module:
    """What the statements of a program bind, read and change."""

    def __init__(self, tree: ast.Module, wanted: Collection[str]) -> None:
        self._wanted = set(wanted)
        self._functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
        self._own = {node.name for node in tree.body if isinstance(node, DEFINITIONS)}
        self._imported = {name for node in tree.body if isinstance(node, IMPORTS) for name in bound(node)}

    def stays(self, node: ast.stmt, *, behind: bool) -> bool:
        """Return whether a statement is part of the program whatever reads it. behind: it follows the last definition."""
        if isinstance(node, (*DEFINITIONS, *IMPORTS)):
            return True
        if _is_check(node):
            return False
        if isinstance(node, ast.Assign | ast.AnnAssign):
            return (not behind and self._is_plain(node)) or self._is_alias(node)
        if isinstance(node, ast.Expr):
            return (
                self._sets(node.value) if isinstance(node.value, ast.Call) else not behind and _is_constant(node.value)
            )
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            parts = list(outside_functions(node))
            return any(isinstance(part, (*DEFINITIONS, *IMPORTS)) for part in parts) or any(
                self._sets(part.value) for part in parts if isinstance(part, ast.Expr)
            )
        return not isinstance(node, ast.Pass | ast.Delete | ast.AugAssign)

    def needed(self, node: ast.stmt, live: Collection[str]) -> bool:
        """Return whether a kept statement reads what this one binds or changes."""
        if _is_check(node):
            walrus = {part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)}
            return isinstance(node, ast.Assert) and bool(walrus & set(live))
        names = set(bound(node))
        if names & set(live) and not isinstance(node, ast.Expr):
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and self._shows(node.value):
            return False
        return bool((self._changed(node) - self._imported) & set(live))

    # ------------------------------------------------------------- kinds of statements

    def _is_plain(self, node: ast.Assign | ast.AnnAssign) -> bool:
        """Return whether an assignment calls nothing of the program's own and waits for no input."""
        calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
        names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
        return not names & (self._own | {"input", "open"})

    def _is_alias(self, node: ast.Assign | ast.AnnAssign) -> bool:
        """Return whether a second name is given to a function or class, or a constant is written in capitals."""
        value = node.value
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if isinstance(value, ast.Name) and value.id in self._own | self._imported:
            return True
        if isinstance(value, ast.Lambda):
            return True
        if isinstance(value, ast.Call) and any(
            isinstance(argument, ast.Name) and argument.id in self._own for argument in value.args[:1]
        ):  # cache(f), partial(f, 1)
            return not isinstance(value.func, ast.Name) or value.func.id not in self._own | _PURE
        return bool(names) and all(name.isupper() and len(name) > 1 for name in names) and self._is_plain(node)

    def _sets(self, value: ast.expr) -> bool:
        """Return whether a call sets something outside the program's own names, the interpreter for instance."""
        if not isinstance(value, ast.Call):
            return False
        called = value.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        if name in _SETTINGS:
            return True
        root = _root(called)
        if name in _SHOWS or name in _RUNS or (root and root not in self._imported and root != "globals"):
            return isinstance(called, ast.Name) and called.id in ("exec", "setattr")
        return not read(value) & self._own

    def _shows(self, call: ast.Call) -> bool:
        """Return whether a call demonstrates what the task wants: it calls that, or only runs and prints something."""
        called = call.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        return bool(read(call) & self._wanted & self._own) or (isinstance(called, ast.Attribute) and name in _RUNS)

    # ------------------------------------------------------------- what a statement changes

    def _changed(self, node: ast.AST) -> set[str]:
        """Module names whose objects the statement may change when it runs."""
        changed: set[str] = set()
        for part in outside_functions(node):
            if isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
                changed.add(_root(part))
            elif isinstance(part, ast.Call):
                changed |= self._changed_by(part, set())
        return changed - {""}

    def _changed_by(self, call: ast.Call, local: Collection[str], seen: frozenset[str] = frozenset()) -> set[str]:
        called = call.func
        given = {
            name for argument in (*call.args, *(word.value for word in call.keywords)) for name in _handed(argument)
        }
        if isinstance(called, ast.Attribute):
            root = _root(called)
            own = set() if called.attr in _READS else {root}
            changed = own if root in self._imported else own | (given if called.attr not in _READS else set())
            if root in self._imported and called.attr in (
                "shuffle",
                "heapify",
                "heappush",
                "heappop",
                "insort",
                "sort",
            ):
                changed |= given
            return {name for name in changed if name not in local}
        if not isinstance(called, ast.Name) or called.id in _PURE:
            return set()
        changed = given
        if called.id in self._functions and called.id not in seen:
            changed = changed | self._by_function(self._functions[called.id], seen | {called.id})
        return {name for name in changed if name not in local}

    def _by_function(self, function: ast.FunctionDef | ast.AsyncFunctionDef, seen: frozenset[str]) -> set[str]:
        """Module names that a call of the function may bind or change."""
        told = {name for part in ast.walk(function) if isinstance(part, ast.Global) for name in part.names}
        arguments = {part.arg for part in ast.walk(function) if isinstance(part, ast.arg)}
        stored = {
            part.id for part in ast.walk(function) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        }
        local = (arguments | stored) - told
        changed = set(told)
        for part in ast.walk(function):
            if isinstance(part, ast.Subscript | ast.Attribute) and not isinstance(part.ctx, ast.Load):
                changed.add(_root(part))
            elif isinstance(part, ast.Call):
                changed |= self._changed_by(part, local, seen)
        return changed - local


def _is_check(node: ast.stmt) -> bool:
    """An assert, or a block that runs only where the program is started as a script."""
    if isinstance(node, ast.Assert):
        return True
    guard = r"__name__ *== *'__main__'|'__main__' *== *__name__"
    return isinstance(node, ast.If) and not node.orelse and bool(re.search(guard, ast.unparse(node.test)))


def _is_constant(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant)


def _root(node: ast.AST) -> str:
    """The name at the beginning of `name.part[0].more()`; empty where there is none."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _handed(argument: ast.expr) -> Iterator[str]:
    """Names whose objects an argument hands over, by themselves or in a container."""
    if isinstance(argument, ast.Name | ast.Attribute | ast.Subscript | ast.Starred):
        yield _root(argument)
    elif isinstance(argument, ast.List | ast.Tuple | ast.Set):
        for element in argument.elts:
            yield from _handed(element)


# ------------------------------------------------------------- the text without them


def _without(code: str, tree: ast.Module, dropped: Collection[ast.stmt], last: int) -> str:
    """`code` without statements; others on the same line stay. last: the line where the last definition ends."""
    lines = code.split("\n")
    for node in dropped:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    touched = {number for node in dropped for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    beside = [node for node in tree.body if node not in dropped and touched & {node.lineno, node.end_lineno}]
    for number in sorted({node.lineno for node in beside}):
        same = [node for node in beside if node.lineno == number]
        segments = [ast.get_source_segment(code, node) or "" for node in same]
        first, *more = "; ".join(segments).split("\n")
        lines[number - 1] = first
        for offset, line in enumerate(more, number):
            lines[offset] = line
    if all(not line.strip() or line.startswith("#") for line in lines[last:]):
        del lines[last:]  # only "# Example usage:" is left
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines))
