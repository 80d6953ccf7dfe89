"""Constraints on a program's text: constructs and patterns that a task requires or forbids.

What a rule names: a construct (`for`, `while`, `loop`, `comprehension`, `recursion`, `lambda`, `class`, `import`, `if`,
`try`, `generator`), a call (`call sorted`, `call str.replace` for a method of any object, `call .sort`), a module (`import
re`), an operator (`operator +`), a literal (`literal 42`), or a pattern over the program's code without comments and texts
(`pattern \\byield\\b`). The program was checked to parse before; one that does not breaks every rule.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable

from crucible.languages.python import syntax
from crucible.types import CaseResult, Rule

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
CONSTRUCTS: dict[str, tuple[type[ast.AST], ...]] = {
    "for": (ast.For, ast.AsyncFor),
    "while": (ast.While,),
    "loop": _LOOPS,
    "comprehension": _COMPREHENSIONS,
    "lambda": (ast.Lambda,),
    "class": (ast.ClassDef,),
    "import": (ast.Import, ast.ImportFrom),
    "if": (ast.If, ast.IfExp),
    "try": (ast.Try,),
    "generator": (ast.Yield, ast.YieldFrom, ast.GeneratorExp),
}
_OPERATORS: dict[str, type[ast.AST]] = {
    "+": ast.Add, "-": ast.Sub, "*": ast.Mult, "/": ast.Div, "//": ast.FloorDiv, "%": ast.Mod, "**": ast.Pow,
    "&": ast.BitAnd, "|": ast.BitOr, "^": ast.BitXor, "<<": ast.LShift, ">>": ast.RShift, "@": ast.MatMult,
    "and": ast.And, "or": ast.Or, "not": ast.Not, "in": ast.In, "==": ast.Eq, "<": ast.Lt, ">": ast.Gt,
}  # fmt: skip
MAX_CODE = 100_000


def problem_with(rule: Rule) -> str | None:
    """Return why this rule cannot be read, None where it can."""
    head, _, rest = rule.what.strip().partition(" ")
    rest = rest.strip()
    if head == "pattern":
        try:
            re.compile(rest)
        except re.error as error:
            return f"the pattern {rest!r} is no regular expression: {error}"
        return None if rest else "the pattern is empty"
    if head in ("call", "import", "literal") and rest:
        return None
    if head == "operator":
        return None if rest in _OPERATORS else f"no operator {rest!r}; there are: {' '.join(_OPERATORS)}"
    if not rest and (head in CONSTRUCTS or head == "recursion"):
        return None
    known = ", ".join(
        [*CONSTRUCTS, "recursion", "call NAME", "import MODULE", "operator OP", "literal VALUE", "pattern REGEX"]
    )
    return f"{rule.what!r} is no construct; there are: {known}"


def sentence(rule: Rule) -> str:
    """The rule as a model and a person read it."""
    head, _, rest = rule.what.strip().partition(" ")
    named = {
        "call": f"a call of {rest}",
        "import": f"an import of {rest}" if rest else "an import",
        "operator": f"the operator {rest}",
        "literal": f"the value {rest}",
        "pattern": f"code that matches {rest}",
        "recursion": "recursion",
        "loop": "a loop (for, while)",
    }.get(head, f"`{rule.what}`")
    return f"The program must {'contain' if rule.kind == 'require' else 'not contain'} {named}."


def check(code: str, rules: tuple[Rule, ...]) -> list[CaseResult]:
    """One result a rule, in order: `pass` or `constraint`."""
    return [
        CaseResult(
            status="pass" if holds else "constraint", call=sentence(rule), message="" if holds else sentence(rule)
        )
        for rule, holds in ((rule, _holds(code, rule)) for rule in rules)
    ]


def _holds(code: str, rule: Rule) -> bool:
    try:
        found = _contains(code, rule.what.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
        return False
    return found == (rule.kind == "require")


def _contains(code: str, what: str) -> bool:
    if len(code) > MAX_CODE:
        raise ValueError("too long")
    head, _, rest = what.partition(" ")
    rest = rest.strip()
    if head == "pattern":
        return re.search(rest, _bare(code)) is not None
    tree = syntax.parse(code)
    if head == "recursion":
        return _recursive(tree)
    wanted: Callable[[ast.AST], bool]
    if head == "call":
        wanted = lambda node: isinstance(node, ast.Call) and _is_called(node.func, rest)  # noqa: E731
    elif head == "import" and rest:
        wanted = lambda node: rest in _modules(node)  # noqa: E731
    elif head == "operator":
        wanted = lambda node: isinstance(node, _OPERATORS[rest])  # noqa: E731
    elif head == "literal":
        value = syntax.literal(rest)
        wanted = lambda node: isinstance(node, ast.Constant) and type(node.value) is type(value) and node.value == value  # noqa: E731
    else:
        wanted = lambda node: isinstance(node, CONSTRUCTS[head])  # noqa: E731
    return any(wanted(node) for node in ast.walk(tree))


def _is_called(func: ast.expr, name: str) -> bool:
    """`name` is a function's name, a dotted one, or `.method` of anything."""
    if name.startswith("."):
        return isinstance(func, ast.Attribute) and func.attr == name[1:]
    return ast.unparse(func) == name


def _modules(node: ast.AST) -> set[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
    return {part for name in names for part in (name, name.split(".")[0])}


def _recursive(tree: ast.Module) -> bool:
    """Whether some function can come to call itself, through the functions of the program."""
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    calls = {
        name: {
            called
            for inner in ast.walk(node)
            if isinstance(inner, ast.Call)
            for called in [inner.func.id if isinstance(inner.func, ast.Name) else getattr(inner.func, "attr", "")]
            if called in functions
        }
        for name, node in functions.items()
    }

    def reaches(name: str) -> bool:
        seen: set[str] = set()
        waiting = set(calls[name])
        while waiting:
            each = waiting.pop()
            seen.add(each)
            waiting |= calls[each] - seen
        return name in seen

    return any(reaches(name) for name in functions)


def _bare(code: str) -> str:
    """The code as it is written, without comments and the contents of texts, so that neither can stand for it."""
    lines = io.StringIO(code).readlines()
    for token in reversed([*tokenize.generate_tokens(io.StringIO(code).readline)]):
        if token.type in _TEXTS:
            (first, start), (last, end) = token.start, token.end
            lines[first - 1 : last] = [lines[first - 1][:start] + _TEXTS[token.type] + lines[last - 1][end:]]
    return "".join(lines)


_TEXTS = {
    tokenize.COMMENT: "",
    tokenize.STRING: '""',
    getattr(tokenize, "FSTRING_MIDDLE", -1): "",  # from Python 3.12 on
}
