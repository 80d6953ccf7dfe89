"""What a task's visible tests ask, read without running anything.

A *direct* case is a call with literal arguments and the literal it must give: the judge compares on its own copy. When any
test needs more than that (a loop, `math.isclose`, a helper), all statements run in order in the tester's sandbox, where
the program's functions are stubs that call the candidate's. Where a task gives neither tests nor examples, the asserts
and doctests in its prompt count.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import re
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple

from crucible.errors import InputError
from crucible.types import Task

MAX_TESTS_CHARS = 1_000_000
MAX_SHOWN = 300


class Case(NamedTuple):
    """A direct case. loose: the expected value came from JSON, so lists and tuples are one kind. raises: the exception's
    name that must come instead of a value. prints: no call; the program reads args[0] on stdin and prints `expected`."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    expected: Any
    shown: str
    loose: bool = False
    raises: str | None = None
    prints: bool = False


class Statement(NamedTuple):
    """A statement for the tester; only some are cases, the others prepare them. A method is one of a unittest.TestCase
    that was defined before, as Class.test_name."""

    source: str
    is_case: bool
    is_method: bool = False


class Suite(NamedTuple):
    """Either direct cases, or statements with the names they expect of the candidate."""

    entry_point: str | None
    cases: tuple[Case, ...] = ()
    statements: tuple[Statement, ...] = ()
    names: tuple[str, ...] = ()
    together: bool = False
    """Whether the tests replace parts of the program's world (mocks), and so must share its process: a lower trust."""

    @property
    def is_program(self) -> bool:
        """Whether the program is run as a whole, with stdin and stdout, rather than called."""
        return any(case.prints for case in self.cases)

    @property
    def total(self) -> int:
        return len(self.cases) + sum(statement.is_case for statement in self.statements)


def parse_suite(task: Task) -> Suite:
    """Raises InputError, with the line, for tests that do not parse."""
    entry = task.entry_point or _from_prompt(task.prompt)
    if task.tests.strip():
        found = _from_doctests(task.tests) if _is_session(task.tests) else _from_source(task.tests, entry)
    elif not task.examples:
        found = _from_text(task.prompt, entry)
    else:
        found = Suite(entry)
    entry = entry or found.entry_point
    examples = [_example(entry, example.input, example.output) for example in task.examples]
    if found.statements and examples:
        statements = tuple(Statement(_as_assert(case), True) for case in examples)
        return found._replace(entry_point=entry, statements=found.statements + statements)
    return found._replace(entry_point=entry, cases=found.cases + tuple(examples))


def _from_prompt(prompt: str) -> str | None:
    """The function the prompt defines or names in a signature: the last, helpers come before it."""
    names = re.findall(r"^(?:async )?def (\w+)\(", prompt, re.M)
    return names[-1] if names else None


def _is_session(tests: str) -> bool:
    return re.search(r"^\s*>>> ", tests, re.M) is not None and _parse(tests) is None


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


# ------------------------------------------------------------- Python source


def _from_source(tests: str, entry: str | None) -> Suite:
    if len(tests) > MAX_TESTS_CHARS:
        raise InputError(f"the tests have {len(tests)} characters, {MAX_TESTS_CHARS} are allowed")
    try:
        tree = ast.parse(tests)
    except SyntaxError as error:
        raise InputError(f"the tests do not parse: line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"the tests do not parse: {error or 'nested too deeply'}") from error
    asserts = [node for node in tree.body if isinstance(node, ast.Assert)]
    direct = [_direct(node) for node in asserts]
    if len(asserts) == len(tree.body) and all(direct):
        cases = tuple(case for case in direct if case is not None)
        return Suite(entry or (cases[0].name if cases else None), cases=cases)
    methods = _methods(tree)
    body = [node for node in tree.body if not _is_idle(node) and not (methods and _is_harness(node, tree))]
    statements = [Statement(ast.unparse(node), _is_case(node, tree)) for node in body]
    statements += [Statement(method, True, True) for method in methods]
    if entry is not None and "check" in _defined(tree) and not any(s.source.startswith("check(") for s in statements):
        statements.append(Statement(f"check({entry})", True))  # HumanEval's form leaves the call to the harness
    names = _free_names(tree) | ({entry} if entry and entry.isidentifier() else set())
    return Suite(
        entry or _likely(tree, names),
        statements=tuple(statements),
        names=tuple(sorted(names)),
        together=any(_is_mock(node) for node in ast.walk(tree)),
    )


def _direct(node: ast.Assert) -> Case | None:
    """`assert f(literals) == literal`, either way round, `is None/True/False`, `f(…)`, `not f(…)`; else None."""
    test = node.test
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        left, right = test.left, test.comparators[0]
        if isinstance(test.ops[0], ast.Is) and not (
            isinstance(right, ast.Constant) and right.value in (None, True, False)
        ):
            return None
        if not _is_call(left):
            left, right = right, left
        return _case(left, right)
    # `assert f(x)` takes any true value, so only the tester can decide it
    return None


def _is_call(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id)


def _case(call: ast.expr, expected: ast.expr) -> Case | None:
    if not (_is_call(call) and isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        args = tuple(ast.literal_eval(argument) for argument in call.args)
        kwargs = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        value = ast.literal_eval(expected)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return Case(call.func.id, args, kwargs, value, ast.unparse(call)[:MAX_SHOWN])


def _is_case(node: ast.stmt, tree: ast.Module) -> bool:
    """Asserts, test functions, and whatever else asserts or calls a function that does."""
    if isinstance(node, ast.FunctionDef):
        return node.name.startswith("test") and not node.args.args
    if isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom):
        return False
    if any(isinstance(part, ast.Assert) for part in ast.walk(node)):
        return True
    asserting = {
        function.name
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and any(isinstance(part, ast.Assert) for part in ast.walk(function))
    }
    called = {part.func.id for part in ast.walk(node) if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)}
    return bool(called & asserting)


def _methods(tree: ast.Module) -> list[str]:
    """The tests of the unittest.TestCase classes, as Class.test_name, in the order they are written."""
    found, cases = [], {"TestCase", "IsolatedAsyncioTestCase"}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[-1] in cases for base in node.bases):
            cases.add(node.name)
            names = [part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
            found += [f"{node.name}.{name}" for name in names if name.startswith("test")]
    return found


def _is_harness(node: ast.stmt, tree: ast.Module) -> bool:
    """Whether it runs the test classes, which the tester does itself: a runner, and asserts about the runner's result."""
    text = ast.unparse(node)
    if "TextTestRunner" in text or "unittest.main" in text:
        return True
    runs = [part for part in tree.body if isinstance(part, ast.Assign) and "TextTestRunner" in ast.unparse(part)]
    results = {target.id for part in runs for target in part.targets if isinstance(target, ast.Name)}
    used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return isinstance(node, ast.Assert) and bool(results & used)


def _is_mock(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == "unittest.mock" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (
        node.module == "unittest.mock"
        or (node.module == "unittest" and any(alias.name == "mock" for alias in node.names))
    )


def _is_idle(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _defined(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _free_names(tree: ast.Module) -> set[str]:
    """Names the tests use and neither define nor find among the builtins: the candidate's."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return {name for name in used - _defined(tree) if not hasattr(builtins, name)}


def _likely(tree: ast.Module, names: set[str]) -> str | None:
    """The candidate's function the tests call most."""
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return max(sorted(names), key=called.count, default=None)


# ------------------------------------------------------------- doctests and prose


def _from_text(prompt: str, entry: str | None) -> Suite:
    """Doctests and assert statements in a task's words. What does not parse there is prose, not an error."""
    found = [*_doctest_cases(prompt), *_assert_cases(prompt)]
    return Suite(entry or (found[0].name if found else None), cases=tuple(found))


def _from_doctests(tests: str) -> Suite:
    found = tuple(_doctest_cases(tests))
    if not found:
        raise InputError("the tests do not parse: no doctest in them calls a function with literal arguments")
    return Suite(found[0].name, cases=found)


def _doctest_cases(text: str) -> Iterator[Case]:
    try:
        examples = doctest.DocTestParser().get_examples(textwrap.dedent(text))
    except ValueError:
        return
    for example in examples:
        tree = _parse(example.source)
        if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
            continue
        call = tree.body[0].value
        if example.exc_msg is not None:
            case = _case(call, ast.Constant(None))
            if case is not None:
                yield case._replace(raises=example.exc_msg.partition(":")[0].strip())
            continue
        # A docstring's closing quotes stand right under its last example.
        want = _parse(re.sub(r"\n?\s*(\"\"\"|''').*", "", example.want, flags=re.S).strip() or "None")
        if want is not None and len(want.body) == 1 and isinstance(want.body[0], ast.Expr):
            case = _case(call, want.body[0].value)
            if case is not None:
                yield case


def _assert_cases(text: str) -> Iterator[Case]:
    """`assert f(…) == …` anywhere in the text; the longest piece that parses counts."""
    for start in re.finditer(r"\bassert (?=\w+\()", text):
        rest = text[start.start() : start.start() + 5000]
        line = rest.split("\n")[0]
        for end in range(len(line), 8, -1):
            tree = _parse(line[:end].strip())
            if tree is not None and len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
                case = _direct(tree.body[0])
                if case is not None:
                    yield case
                    break


# ------------------------------------------------------------- examples


def _example(entry: str | None, given: Any, output: Any) -> Case:  # noqa: ANN401
    if entry is None:
        if isinstance(given, str) and isinstance(output, str):
            return Case("", (given,), {}, output, f"stdin {given!r}"[:MAX_SHOWN], prints=True)
        raise InputError("the task has examples but no entry_point: name the function they call")
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(given, list):
        args = tuple(given)
    elif isinstance(given, dict):
        kwargs = {str(key): value for key, value in given.items()}
    else:
        args = (given,)
    words = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return Case(entry, args, kwargs, output, f"{entry}({', '.join(words)})"[:MAX_SHOWN], loose=True)


def _as_assert(case: Case) -> str:
    words = [repr(value) for value in case.args] + [f"{key}={value!r}" for key, value in case.kwargs.items()]
    return f"assert {case.name}({', '.join(words)}) == {case.expected!r}"
