"""What the task fixed and an answer left out, given back: imports, the signature, the name that is called."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection
from difflib import get_close_matches

from crucible.languages.python.extraction.source import (
    DEFINITIONS,
    IMPORTS,
    bound,
    defined,
    free,
    outside_functions,
    parsed,
)

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def with_signature(code: str, prompt: str, entry_point: str | None) -> str | None:
    """A bare function body under the task's signature; None where `code` is no such thing."""
    tree = parsed(code)
    signature = _signature(prompt, entry_point) if entry_point else None
    if signature is None or not code.strip() or (tree is not None and entry_point in defined(tree)):
        return None
    return _as_body(code, signature)


def with_imports(code: str, prompt: str) -> str | None:
    """The program behind those of the task's imports that bind names it reads and does not bind; None where there are none."""
    tree = parsed(code)
    if tree is None:
        return None
    unbound = free(code) - {name for node in tree.body for name in bound(node)}
    there = {ast.unparse(node) for node in tree.body if isinstance(node, IMPORTS)}
    missing = [
        line
        for line, node in _imports(prompt)
        if ast.unparse(node) not in there and (any(a.name == "*" for a in node.names) or set(bound(node)) & unbound)
    ]
    return "\n".join([*missing, "", code]) if missing else None


def with_name(code: str, entry_point: str, method: str = "") -> tuple[str, str] | None:
    """(the program with one line more, the step's name), where what is called has another name or another form.

    method: where `entry_point` is a class, the method of it that is called.
    """
    tree = parsed(code)
    if tree is None:
        return None
    functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if method and entry_point not in defined(tree):
        line = _as_class(entry_point, method, functions)
        return (_appended(code, line), "class") if line else None
    if entry_point in functions and _takes_self(functions[entry_point]) and not classes:
        others = [name for name, node in functions.items() if _takes_self(node)]
        lines = ["class Solution:", *(f"    {name} = {name}" for name in others)]
        return _appended(code, "\n".join([*lines, "", "", f"{entry_point} = Solution().{entry_point}"])), "method"
    if entry_point in _bound_names(tree) or method:
        return None
    if line := _from_method(entry_point, classes, functions):
        return _appended(code, line), "method"
    if other := _namesake(entry_point, list(functions), list(classes)):
        return _appended(code, f"{entry_point} = {other}"), "renamed"
    return None


def future_first(code: str) -> str:
    """`from __future__` imports moved to the top, where Python wants them."""
    tree = parsed(code) if "__future__" in code else None
    if tree is None:
        return code
    late, allowed = [], True
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            late += [] if allowed else [node]
        elif not (node is tree.body[0] and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            allowed = False
    if not late:
        return code
    lines = code.split("\n")
    moved = list[str]()
    for node in late:
        moved.append(ast.unparse(node))
        segment = (ast.get_source_segment(code, node) or "").split("\n")
        if len(segment) == 1 and lines[node.lineno - 1].strip() != segment[0].strip():  # others stand on its line
            rest = lines[node.lineno - 1].replace(segment[0], "", 1)
            lines[node.lineno - 1] = rest.strip().strip(";").strip()
            continue
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "\n".join([*dict.fromkeys(moved), "", "\n".join(lines).lstrip("\n")])


def _appended(code: str, line: str) -> str:
    return f"{code.rstrip()}\n\n\n{line}\n"


def _bound_names(tree: ast.Module) -> set[str]:
    return {name for node in tree.body for name in bound(node)}


def _takes_self(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return bool(node.args.args) and node.args.args[0].arg == "self"


def _as_class(name: str, method: str, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> str:
    """A class of the functions that were given for its methods; empty where the called one is not among them."""
    if method not in functions:
        return ""
    if _takes_self(functions[method]):
        methods = [other for other, node in functions.items() if _takes_self(node)]
        return "\n".join([f"class {name}:", *(f"    {other} = {other}" for other in methods)])
    return f"class {name}:\n    {method} = staticmethod({method})"


def _from_method(entry_point: str, classes: dict[str, ast.ClassDef], functions: Collection[str]) -> str:
    """The function as a method of the only class that has one of that name, or of a class Solution with one method."""
    holders = [
        (node, part)
        for node in classes.values()
        for part in node.body
        if isinstance(part, _FUNCTIONS) and part.name == entry_point
    ]
    if not holders and not functions and len(classes) == 1:
        (only,) = classes.values()
        public = [part for part in only.body if isinstance(part, _FUNCTIONS) and not part.name.startswith("_")]
        if only.name in ("Solution", "Solver") or (len(public) == 1 and entry_point[:1].islower()):
            called = next((part for part in public if part.name in ("solve", "solution", "run")), None)
            chosen = called or (public[0] if len(public) == 1 else None)
            holders = [(only, chosen)] if chosen else []
    if not holders:
        return ""
    holder, method = holders[-1]
    marks = {getattr(mark, "id", "") for mark in method.decorator_list}
    if marks & {"staticmethod", "classmethod"} or not method.args.args:
        return f"{entry_point} = {holder.name}.{method.name}"
    made = next((part for part in holder.body if isinstance(part, _FUNCTIONS) and part.name == "__init__"), None)
    if made is None:
        return f"{entry_point} = {holder.name}().{method.name}"
    required = len(made.args.posonlyargs + made.args.args) - 1 - len(made.args.defaults)
    required += sum(default is None for default in made.args.kw_defaults)
    if required > 0:
        return ""
    return f"def {entry_point}(*args, **kwargs):\n    return {holder.name}().{method.name}(*args, **kwargs)"  # a state of its own


def _namesake(entry_point: str, functions: list[str], classes: list[str]) -> str | None:
    """What was meant to be called `entry_point`: the only function, or the one of the likest name; so for a class."""
    names = classes if entry_point[:1].isupper() and classes else functions
    if len(names) == 1:
        return names[0]
    return next(iter(get_close_matches(entry_point, names, n=1)), None)


def _imports(prompt: str) -> list[tuple[str, ast.Import | ast.ImportFrom]]:
    """The import statements in the task's text that start a line, those over several lines too."""
    found = []
    for match in re.finditer(r"^[ \t>]*((?:from [\w.]+ )?import (?:\([^()]*\)|[^\n]*))", prompt, re.MULTILINE):
        tree = parsed(match[1])
        node = tree.body[0] if tree is not None and tree.body else None
        if isinstance(node, IMPORTS) and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            found.append((match[1].strip(), node))
    return found


def _signature(prompt: str, entry_point: str) -> str | None:
    """The entry point's `def` line(s) in the task's text."""
    found = re.search(rf"^(?:async )?def {re.escape(entry_point)}\([^\0]*?\)[^\n:]*:", prompt, re.MULTILINE)
    return found[0] if found is not None and parsed(found[0] + "\n    pass") is not None else None


def _as_body(code: str, signature: str) -> str | None:
    """`code` as the body of `signature`, where it is one: it parses there and returns or yields something."""
    body = f"{signature}\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    tree = parsed(body)
    if tree is None or not isinstance(tree.body[0], _FUNCTIONS):
        return None
    function = tree.body[0]
    ends = (ast.Return, ast.Yield, ast.YieldFrom)
    if any(isinstance(node, DEFINITIONS) for node in function.body):
        # Either a body with a function of its own, or a whole program under another name, which renaming fits better.
        return (
            body if any(isinstance(part, ends) for node in function.body for part in outside_functions(node)) else None
        )
    return body if any(isinstance(node, ends) for node in ast.walk(function)) else None
