"""Read which tests are a plain call with a plain answer: asserts, doctests and `check(candidate)` of literals alone.

The judge compares such answers on its own copies; all other tests need Python to run them.
"""

from __future__ import annotations

import ast
import builtins
import re

from crucible.languages.python import syntax
from crucible.security.judge import doctests
from crucible.security.judge.asked import MAX_SHOWN, Case
from crucible.security.judge.named_values import Values


def direct_cases(tree: ast.Module, entry: str | None) -> list[Case] | None:
    """Return the cases of tests that are direct asserts, alone or in test functions or in `check(candidate)`; else None.

    Imports, and values that are written out and given a name, may stand between them."""
    checks: dict[str, list[ast.stmt]] = {}
    called: set[str] = set()
    found: list[Case] = []
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    values = Values(tree)
    if len(set(names)) < len(names):
        return None  # only the last definition of a name counts
    for node in tree.body:
        cases: list[Case] | None = None
        if isinstance(node, ast.Assert):
            case = _direct(values.put_into(node))
            cases = [values.on_object(case)] if case else None
        elif is_idle(node):
            cases = None if _holds_doctest(node) else []
        elif values.take(node):
            cases = []
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list and not ast.get_docstring(node):
            if node.name == "check" and [arg.arg for arg in node.args.args] == ["candidate"]:
                checks[node.name], cases = node.body, []
            elif node.name.startswith("test") and not _arguments(node):
                cases = _all_direct(node.body)
        elif isinstance(node, ast.Expr) and (candidate := _checked(node.value)) and "check" in checks:
            called.add("check")
            cases = _as_candidate(checks["check"], candidate)
        if cases is None:
            return None
        found += cases
    if set(checks) - called:
        candidate_cases = _as_candidate(checks["check"], entry) if entry else None
        if candidate_cases is None:
            return None
        found += candidate_cases
    return found if all(values.leave(case, entry) for case in found) else None


def _all_direct(body: list[ast.stmt]) -> list[Case] | None:
    found = [_direct(node) if isinstance(node, ast.Assert) else None for node in body]
    return [case for case in found if case] if all(found) else None


def _as_candidate(body: list[ast.stmt], candidate: str) -> list[Case] | None:
    cases = _all_direct(body)
    if cases is None or any(case.name != "candidate" for case in cases):
        return None
    shown = [candidate + case.shown.removeprefix("candidate") for case in cases]
    return [
        case._replace(name=candidate, shown=text[:MAX_SHOWN], bound=True)
        for case, text in zip(cases, shown, strict=True)
    ]


def _checked(node: ast.expr) -> str | None:
    """Return what `check(…)` is called with: a name, or a method of a fresh object (`Solution().solve`)."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"):
        return None
    text = ast.unparse(node.args[0]) if len(node.args) == 1 and not node.keywords else ""
    return text if re.fullmatch(r"\w+(\(\)\.\w+)?", text) else None


def _direct(node: ast.Assert) -> Case | None:
    """Read `assert f(literals) == literal`, either way round, and `is None/True/False`; None for anything else."""
    test = node.test
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is)):
        return None
    left, right = test.left, test.comparators[0]
    if not _is_call(left):
        left, right = right, left
    if isinstance(test.ops[0], ast.Eq):
        return _case(left, right)
    if not (isinstance(right, ast.Constant) and right.value in (None, True, False) and type(right.value) is not int):
        return None
    case = _case(left, right)
    return case._replace(form="is") if case else None


def _is_call(node: ast.expr) -> bool:
    """Whether it calls a function by its name, or a method of a named object, which `Values.on_object` has to know."""
    function = node.func if isinstance(node, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name)
    return isinstance(function, ast.Name) and not hasattr(builtins, function.id)


def _case(call: ast.expr, expected: ast.expr | None) -> Case | None:
    """A call with literal arguments and a literal answer; None for other expressions."""
    if not (_is_call(call) and isinstance(call, ast.Call)):
        return None
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        args = tuple(syntax.literal(argument) for argument in call.args)
        kwargs = {keyword.arg or "": syntax.literal(keyword.value) for keyword in call.keywords}
        value = None if expected is None else syntax.literal(expected)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if any(item is ... for item in (value, *args, *kwargs.values())):
        return None
    return Case(ast.unparse(call.func), args, kwargs, value, ast.unparse(call)[:MAX_SHOWN])


def direct_session(found: list[doctests.Example]) -> list[Case] | None:
    """Return the cases of a session in which every example is a direct call with a literal answer or an exception."""
    cases = [None if example.options.get(doctests.SKIP) else _direct_example(example) for example in found]
    return [case for case in cases if case] if found and all(cases) else None


def _direct_example(example: doctests.Example) -> Case | None:
    try:
        call = syntax.parse_expression(example.source)
        answer = syntax.parse_expression(example.want.strip() or "None")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        if example.exc_msg is None:
            return None
        answer = ast.Constant(None)
    if example.exc_msg is not None:
        case = _case(call, None)
        plain = case and re.match(r"[A-Za-z]\w*(: |\s*$)", example.exc_msg) and example.exc_msg.count("\n") == 1
        is_known = hasattr(builtins, example.exc_msg.partition(":")[0].strip())
        return case._replace(raises=example.exc_msg, form="doctest") if case and plain and is_known else None
    case = _case(call, answer)
    return case._replace(form="doctest", want=example.want, options=dict(example.options)) if case else None


def is_idle(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _holds_doctest(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and doctests.is_session(str(getattr(node.value, "value", "")))


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    arguments = node.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
