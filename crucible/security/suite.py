"""Read what a task's visible tests ask, without running anything.

A *direct* case is a call with literal arguments and the literal it must give: the judge compares on its own copy. Where any
test needs more than that (a loop, `math.isclose`, a helper), all tests are *statements* that run in order. Every statement
names the results that a run has to report, so that a test that did not run cannot count as passed.

Where a task gives neither tests nor examples, the examples in its prompt count.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from crucible.errors import InputError
from crucible.integers import long_integers
from crucible.security import collect, doctests, words
from crucible.types import Task

MAX_TESTS_CHARS = 1_000_000
MAX_SHOWN = 300

Form = Literal["json", "python", "is", "doctest", "output"]
Kind = Literal["code", "function", "class", "unittest", "doctest"]


class Case(NamedTuple):
    """A direct case: a call, and the value it must give.

    form: how the value is compared. "json": strictly by type, lists and tuples being one kind. "python": as `==` does. "is":
    as `is` does. "doctest": by what doctest would print. "output": no call; the program reads args[0] on stdin and prints
    `expected`. bound: a method (`Solution().solve`) is called on one object in all cases. raises: the exception's name and,
    after a colon, its message, that must come instead of a value."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    expected: Any
    shown: str
    form: Form = "python"
    bound: bool = False
    raises: str | None = None
    want: str = ""
    options: dict[int, bool] = {}  # noqa: RUF012 - never changed


class Statement(NamedTuple):
    """A part of the tests that runs by itself. cases: the results it reports, each a key and what to show of it.

    kind: "code" is executed; "function" is a test function and "class" a plain class of tests, called by name; "unittest"
    names TestCase classes, space between; "doctest" is a session."""

    source: str
    kind: Kind = "code"
    cases: tuple[tuple[str, str], ...] = ()


class Suite(NamedTuple):
    """What is asked of a program. cases: direct ones, in the place of statements or beside them.

    statements: the tests that need Python. When `stands_for` is true, they say the same as the direct cases of form
    "python", "is" and "doctest", and are run only where those cannot be decided by copies of values."""

    entry_point: str | None
    cases: tuple[Case, ...] = ()
    statements: tuple[Statement, ...] = ()
    names: tuple[str, ...] = ()
    """What the statements expect of the program."""
    stands_for: bool = False
    uncarried: str = ""
    """Why the statements cannot run in a process of their own, where that can be read off them."""

    @property
    def is_program(self) -> bool:
        """Whether the program is run as a whole, with stdin and stdout, rather than called."""
        return any(case.form == "output" for case in self.cases)

    @property
    def total(self) -> int:
        return len(self.cases) + (0 if self.stands_for else sum(len(each.cases) for each in self.statements))


def parse_suite(task: Task) -> Suite:
    """Read a task's tests and examples. Raises InputError, with the line, for tests that do not parse or cannot be run."""
    with long_integers():
        if len(task.tests) > MAX_TESTS_CHARS:
            raise InputError(f"the tests have {len(task.tests)} characters, {MAX_TESTS_CHARS} are allowed")
        entry = task.entry_point or _from_prompt(task.prompt)
        if task.tests.strip():
            found = _read(_sources(task.tests.replace("\r\n", "\n").replace("\r", "\n")), entry)
        elif not task.examples:
            read = words.read(task.prompt, task.entry_point)
            entry = task.entry_point or read.entry_point or entry
            found = _read([each.source for each in read.found], entry)
        else:
            found = Suite(entry)
        entry = entry or found.entry_point
        examples = tuple(_example(entry, example.input, example.output) for example in task.examples)
        return found._replace(entry_point=entry, cases=found.cases + examples)


def _from_prompt(prompt: str) -> str | None:
    """Return the function the prompt defines or names in a signature: the last, as helpers come before it."""
    names = re.findall(r"^(?:async )?def (\w+)\(", prompt, re.M)
    return names[-1] if names else None


def _sources(tests: str) -> list[str]:
    """Return the tests' text, which is Python or a doctest session. Raises InputError where it is neither."""
    try:
        ast.parse(tests)
    except SyntaxError as error:
        if not doctests.is_session(tests):
            raise InputError(f"the tests do not parse: line {error.lineno}: {error.msg}") from error
        if left_out := doctests.stray_asserts(tests):
            raise InputError(
                f"the tests do not parse: {left_out[0][:80]!r} stands between doctests; put asserts in a file of their own"
            ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"the tests do not parse: {error or 'nested too deeply'}") from error
    return [tests]


def _read(sources: Iterable[str], entry: str | None) -> Suite:
    """Read sources, each Python or a doctest session: direct cases where all of them are direct, else statements."""
    direct: list[Case] | None = []
    statements: list[Statement] = []
    names: set[str] = set()
    trees: list[ast.Module] = []
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            found = doctests.examples(source)
            statements.append(_session(source, found))
            trees += _example_trees(found)
            cases = _direct_session(found)
        else:
            statements += _statements(tree, entry)
            trees.append(tree)
            for docstring in doctests.docstrings(tree):
                trees += _example_trees(doctests.examples(docstring))
            cases = _direct_cases(tree, entry)
        direct = None if direct is None or cases is None else direct + cases
    whole = ast.Module([node for tree in trees for node in tree.body], [])
    names = _free_names(whole) | ({entry} if entry and entry.isidentifier() else set())
    if not any(each.cases for each in statements):
        statements = [_counted(each) for each in statements]
    likely = entry or (direct[0].name if direct else _likely(whole, names))
    return Suite(
        likely if likely is None or likely.isidentifier() or entry else None,
        cases=tuple(direct or ()),
        statements=tuple(statements),
        names=tuple(sorted(names)),
        stands_for=bool(direct),
        uncarried=_uncarried(whole),
    )


def _counted(statement: Statement) -> Statement:
    """`statement` as a case, where no test asserts anything and so only running tells: a call that must not fail."""
    if statement.kind != "code" or not isinstance(ast.parse(statement.source).body[0], ast.Expr | ast.For | ast.With):
        return statement
    return statement._replace(cases=(("", statement.source),))


# ------------------------------------------------------------- direct cases


def _direct_cases(tree: ast.Module, entry: str | None) -> list[Case] | None:
    """Return the cases of tests that are direct asserts, alone or in test functions or in `check(candidate)`; else None."""
    checks: dict[str, list[ast.stmt]] = {}
    called: set[str] = set()
    found: list[Case] = []
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    if len(set(names)) < len(names):
        return None  # only the last definition of a name counts
    for node in tree.body:
        cases: list[Case] | None = None
        if isinstance(node, ast.Assert):
            case = _direct(node)
            cases = [case] if case else None
        elif _is_idle(node):
            cases = None if _holds_doctest(node) else []
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
        return None if candidate_cases is None else found + candidate_cases
    return found


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
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id)


def _case(call: ast.expr, expected: ast.expr | None) -> Case | None:
    """A call with literal arguments and a literal answer; None for other expressions."""
    if not (_is_call(call) and isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
        return None
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        args = tuple(ast.literal_eval(argument) for argument in call.args)
        kwargs = {keyword.arg or "": ast.literal_eval(keyword.value) for keyword in call.keywords}
        value = None if expected is None else ast.literal_eval(expected)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if any(item is ... for item in (value, *args, *kwargs.values())):
        return None
    return Case(call.func.id, args, kwargs, value, ast.unparse(call)[:MAX_SHOWN])


def _direct_session(found: list[doctests.Example]) -> list[Case] | None:
    """Return the cases of a session in which every example is a direct call with a literal answer or an exception."""
    cases = [None if example.options.get(doctests.SKIP) else _direct_example(example) for example in found]
    return [case for case in cases if case] if found and all(cases) else None


def _direct_example(example: doctests.Example) -> Case | None:
    try:
        call = ast.parse(example.source, mode="eval").body
        answer = ast.parse(example.want.strip() or "None", mode="eval").body
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


# ------------------------------------------------------------- statements


def _statements(tree: ast.Module, entry: str | None) -> list[Statement]:
    """Split tests into parts in the order they run: the module's statements, then its doctests, functions and classes."""
    functions, classes = collect.functions(tree), collect.classes(tree)
    harness = [node for node in tree.body if classes and _is_harness(node, tree)]
    body = [part for node in tree.body if node not in harness for part in _unguarded(node) if not _runs_tests(part)]
    body = [node for node in body if not _is_idle(node)]
    asserting = _asserting(tree)
    statements = [
        Statement(text, cases=_labels(node, asserting, text)) for node in body for text in [ast.unparse(node)]
    ]
    if entry is not None and "check" in _defined(tree) and not any(s.source.startswith("check(") for s in statements):
        statements.append(
            Statement(f"check({entry})", cases=(("", f"check({entry})"),))
        )  # HumanEval's harness calls it
    statements += [_session(text, doctests.examples(text)) for text in doctests.docstrings(tree)]
    called = {name for node in body for name in _calls(node)}
    statements += [Statement(name, "function", ((name, name),)) for name in functions if name not in called]
    for each in classes:
        labels = tuple((f"{each.name}.{method}",) * 2 for method in each.methods)
        if not each.is_unittest:
            statements.append(Statement(each.name, "class", labels))
    cases = [each for each in sorted(classes) if each.is_unittest]  # unittest runs classes by name
    if cases:
        labels = tuple((f"{each.name}.{method}",) * 2 for each in cases for method in each.methods)
        statements.append(Statement(" ".join(each.name for each in cases), "unittest", labels))
    return statements


def _unguarded(node: ast.stmt) -> list[ast.stmt]:
    """What stands under `if __name__ == "__main__":` runs, as it does when the tests are started by hand."""
    is_guard = isinstance(node, ast.If) and ast.unparse(node.test) in (
        "__name__ == '__main__'",
        "'__main__' == __name__",
    )
    return node.body if is_guard and isinstance(node, ast.If) else [node]


def _runs_tests(node: ast.stmt) -> bool:
    """Whether a statement starts a test runner, whose work is done here."""
    runners = ("unittest.main(", "pytest.main(", "doctest.testmod(", "doctest.testfile(")
    return isinstance(node, ast.Expr | ast.Assign) and any(runner in ast.unparse(node) for runner in runners)


def _is_harness(node: ast.stmt, tree: ast.Module) -> bool:
    """Whether it runs the test classes by a runner object, or asserts about that runner's result."""
    if "TextTestRunner" in ast.unparse(node):
        return True
    runs = [part for part in tree.body if isinstance(part, ast.Assign) and "TextTestRunner" in ast.unparse(part)]
    results = {target.id for part in runs for target in part.targets if isinstance(target, ast.Name)}
    used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return isinstance(node, ast.Assign | ast.Assert | ast.Expr) and bool(results & used)


def _session(text: str, found: list[doctests.Example]) -> Statement:
    labels = tuple((str(number), found[number].source.strip()) for number in doctests.checked(found))
    return Statement(text, "doctest", labels)


def _labels(node: ast.stmt, asserting: set[str], text: str) -> tuple[tuple[str, str], ...]:
    """A statement is a case where it asserts, or calls a function or a method that does."""
    if isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef):
        return ()
    asserts = any(isinstance(part, ast.Assert) for part in ast.walk(node)) or bool(_calls(node) & asserting)
    return (("", text),) if asserts else ()


def _asserting(tree: ast.Module) -> set[str]:
    """Names of the functions and methods that assert, themselves or through others, and of asserting unittest methods."""
    bodies = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    found = {name for name, node in bodies.items() if any(isinstance(part, ast.Assert) for part in ast.walk(node))}
    found |= {name for node in ast.walk(tree) for name in _calls(node) if re.match(r"assert[A-Z_]", name)}
    while more := {name for name, node in bodies.items() if name not in found and _calls(node) & found}:
        found |= more
    return found


def _calls(node: ast.AST) -> set[str]:
    functions = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return names | {function.attr for function in functions if isinstance(function, ast.Attribute)}


def _is_idle(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _holds_doctest(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and doctests.is_session(str(getattr(node.value, "value", "")))


def _arguments(node: ast.FunctionDef) -> list[ast.arg]:
    arguments = node.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


# ------------------------------------------------------------- names

_UNCARRIED = {
    "unittest.mock": "mocks",
    "threading": "threads",
    "concurrent": "threads",
    "multiprocessing": "processes",
    "asyncio": "coroutines",
    "gc": "the garbage collector",
    "weakref": "weak references",
}
"""Modules whose use in tests needs the program's own process, and what for."""


def _uncarried(tree: ast.Module) -> str:
    """Say what in the tests cannot be carried between two processes, as far as it can be read off them."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
        for name in names:
            for module, what in _UNCARRIED.items():
                if name == module or name.startswith(f"{module}."):
                    return what
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            return "coroutines"
    return ""


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
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
    return names


def _free_names(tree: ast.Module) -> set[str]:
    """Names the tests use and neither define nor find among the builtins: the candidate's."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return {name for name in used - _defined(tree) if not hasattr(builtins, name)}


def _likely(tree: ast.Module, names: set[str]) -> str | None:
    """Return the candidate's function the tests call most."""
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return max(sorted(names), key=called.count, default=None)


def _example_trees(found: list[doctests.Example]) -> Iterator[ast.Module]:
    for example in found:
        try:
            yield ast.parse(example.source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue


# ------------------------------------------------------------- examples


def _example(entry: str | None, given: Any, output: Any) -> Case:  # noqa: ANN401
    if entry is None:
        if isinstance(given, str) and isinstance(output, str):
            return Case("", (given,), {}, output, f"stdin {given!r}"[:MAX_SHOWN], form="output")
        raise InputError("the task has examples but no entry_point: name the function they call")
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(given, list):
        args = tuple(given)
    elif isinstance(given, dict):
        kwargs = {str(key): value for key, value in given.items()}
    else:
        args = (given,)
    words_ = [repr(value) for value in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return Case(entry, args, kwargs, output, f"{entry}({', '.join(words_)})"[:MAX_SHOWN], form="json")
