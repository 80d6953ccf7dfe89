"""Reading Python source that a model wrote: parse it within bounds, and ask what it defines and reads."""

from __future__ import annotations

import ast
import symtable
import textwrap
from collections.abc import Iterator

from crucible.languages.python.checks.source import TOKEN, parse

MAX_TRIM_LINES = 400
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)


def parsed(code: str) -> ast.Module | None:
    try:
        return parse(code)
    except SyntaxError:
        return None


def error_line(code: str) -> int | None:
    """The line, from 1, at which the parser gives up; 0 where it does not say, None where `code` parses."""
    try:
        parse(code)
    except SyntaxError as error:
        return error.lineno or 0
    return None


def dedent(code: str) -> str:
    mixed = "\t" in code and "    " in code and parsed(code) is None
    return textwrap.dedent(code.expandtabs(4) if mixed else code)


def trim(code: str) -> tuple[str, bool]:
    """Drop trailing lines, at most MAX_TRIM_LINES, until the rest parses; unchanged if it never does."""
    line = error_line(code)
    if line is None:
        return code, False
    lines = code.split("\n")
    # Whatever reaches beyond the line at which the parser gave up fails like the whole.
    first = min(len(lines) - 1, line or len(lines))
    for end in range(first, max(0, len(lines) - 1 - MAX_TRIM_LINES, first - MAX_TRIM_LINES), -1):
        candidate = "\n".join(lines[:end])
        if candidate.strip() and parsed(candidate) is not None:
            return candidate, True
    return code, False


def defined(tree: ast.Module) -> list[str]:
    """Names of the functions, classes and variables that the module's own statements bind."""
    return [name for node in tree.body for name in bound(node) if not isinstance(node, IMPORTS)]


def bound(node: ast.stmt) -> Iterator[str]:
    """The module's names that a statement of the module binds, imports among them."""
    if isinstance(node, DEFINITIONS):
        yield node.name
        return
    for part in outside_functions(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, IMPORTS):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in part.names)
        elif isinstance(part, DEFINITIONS):
            yield part.name


def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """`node` and what is in it, without the bodies of functions, classes and lambdas."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        yield part
        if isinstance(part, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            # What a comprehension binds is its own; only what it reads concerns the module.
            waiting += [
                inner
                for inner in ast.walk(part)
                if isinstance(inner, ast.Name | ast.Call | ast.NamedExpr)
                and not (isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store))
            ]
            continue
        for child in ast.iter_child_nodes(part):
            if isinstance(part, DEFINITIONS) and isinstance(child, ast.stmt):
                continue
            waiting.append(child)


def read(node: ast.AST) -> set[str]:
    """Every name that is read anywhere in `node`, function bodies included."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store)}
    names |= {name for part in ast.walk(node) if isinstance(part, ast.Global) for name in part.names}
    augmented = {
        part.target.id
        for part in ast.walk(node)
        if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name)
    }
    return names | augmented


def free(code: str) -> set[str]:
    """Names that a program reads from its module: in its own statements and in its functions, classes and lambdas."""
    tree = parsed(code)
    if tree is None:
        return set()
    try:
        names = _globals(symtable.symtable(code, "answer", "exec"))
    except SyntaxError:  # what only a compiler refuses, a `return` in the module for instance
        return read(tree)
    return names | {name for node in tree.body for name in read_now(node)}


def read_now(node: ast.AST) -> set[str]:
    """Names that a statement of the module reads itself, outside the bodies of functions and classes."""
    parts = [part for part in outside_functions(node) if not isinstance(part, DEFINITIONS)]
    names = {part.id for part in parts if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store)}
    names |= {name for part in parts if isinstance(part, ast.Lambda) for name in read(part)}
    augmented = [part.target for part in parts if isinstance(part, ast.AugAssign)]
    return names | {target.id for target in augmented if isinstance(target, ast.Name)}


def _globals(table: symtable.SymbolTable) -> set[str]:
    names: set[str] = set()
    for child in table.get_children():
        names |= {symbol.get_name() for symbol in child.get_symbols() if symbol.is_global()}
        names |= _globals(child)
    return names


def is_stub(node: ast.AST) -> bool:
    """Return whether a definition is only announced: nothing in it but a docstring, `pass`, `...` or NotImplementedError."""
    if isinstance(node, ast.ClassDef):
        methods = [part for part in node.body if isinstance(part, DEFINITIONS)]
        return bool(methods) and all(map(is_stub, methods))
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(part, ast.Raise) and "NotImplementedError" in ast.unparse(part))
        for part in node.body
    )


def masked(code: str) -> Iterator[tuple[bool, str]]:
    """The source in pieces: (whether it is a string literal or a comment, text)."""
    end = 0
    for match in TOKEN.finditer(code):
        if match.lastgroup in ("string", "comment"):
            if match.start() > end:
                yield False, code[end : match.start()]
            yield True, match[0]
            end = match.end()
    if end < len(code):
        yield False, code[end:]


def reads_input(tree: ast.Module) -> bool:
    """Return whether a program reads standard input anywhere."""
    for part in ast.walk(tree):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            if part.func.id == "input":
                return True
            first = part.args[0] if part.args else None
            if part.func.id == "open" and isinstance(first, ast.Constant) and first.value in (0, "/dev/stdin"):
                return True
        if isinstance(part, ast.Attribute) and part.attr == "stdin":
            return True
        if isinstance(part, ast.ImportFrom) and part.module == "sys" and any(a.name == "stdin" for a in part.names):
            return True
        if isinstance(part, ast.Import) and any(alias.name == "fileinput" for alias in part.names):
            return True
    return False


def statement(text: str, node: ast.stmt) -> str:
    """A statement as it is written, its decorators included."""
    first = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", []))])
    lines = text.split("\n")[first - 1 : node.end_lineno]
    if node.col_offset and not getattr(node, "decorator_list", []):
        return ast.get_source_segment(text, node) or "\n".join(lines)
    segment = ast.get_source_segment(text, node) or ""
    return "\n".join(lines) if lines[-1].rstrip().endswith(segment.split("\n")[-1].rstrip()) else segment
