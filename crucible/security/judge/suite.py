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
from collections.abc import Iterator, Sequence
from typing import Any

from crucible.errors import InputError
from crucible.integers import long_integers
from crucible.languages.python import syntax
from crucible.security.judge import collect, doctests, words
from crucible.security.judge.asked import MAX_SHOWN, Case, Statement, Suite
from crucible.security.judge.direct import direct_cases, direct_session, is_idle
from crucible.security.judge.named_values import assigned
from crucible.types import Task

MAX_TESTS_CHARS = 1_000_000


def parse_suite(task: Task, *, direct: bool = True) -> Suite:
    """Read a task's tests and examples. direct: whether tests that are plain calls become cases; else all are statements.

    Raises InputError, with the line, for tests that do not parse or cannot be run."""
    with long_integers():
        if len(task.tests) > MAX_TESTS_CHARS:
            raise InputError(f"the tests have {len(task.tests)} characters, {MAX_TESTS_CHARS} are allowed")
        entry = task.entry_point or _from_prompt(task.prompt)
        if task.tests.strip():
            found = _read(_sources(task.tests.replace("\r\n", "\n").replace("\r", "\n")), entry, direct)
        elif not task.examples:
            read = words.read(task.prompt, task.entry_point)
            entry = task.entry_point or read.entry_point or entry
            found = _read([each.source for each in read.found], entry, direct)
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
        syntax.parse(tests)
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


def _read(sources: Sequence[str], entry: str | None, direct: bool) -> Suite:
    """Read sources, each Python or a doctest session: direct cases where all of them are direct, else statements."""
    read = [_parsed(source) for source in sources]
    if direct and (cases := _direct(read, entry)):
        names = {each for tree, _ in read if tree is not None for each in _free_names(tree)} | {
            case.name for case in cases
        }
        likely = entry or cases[0].name
        given = tuple(each for tree, _ in read if tree is not None for each in assigned(tree))
        return Suite(_function(likely, entry), cases=tuple(cases), names=_with(names, entry), assigned=given)
    statements: list[Statement] = []
    trees: list[ast.Module] = []
    for source, (tree, found) in zip(sources, read, strict=True):
        if tree is None:
            statements.append(_session(source, found))
            trees += _example_trees(found)
        else:
            statements += _statements(tree, entry)
            trees.append(tree)
            for docstring in doctests.docstrings(tree):
                trees += _example_trees(doctests.examples(docstring))
    whole = ast.Module([node for tree in trees for node in tree.body], [])
    names = _free_names(whole)
    if not any(each.cases for each in statements):
        statements = [_counted(each) for each in statements]
    return Suite(
        _function(entry or _likely(whole, names), entry),
        statements=tuple(statements),
        names=_with(names, entry),
        uncarried=_uncarried(whole),
    )


def _parsed(source: str) -> tuple[ast.Module | None, list[doctests.Example]]:
    """A source as Python, or else as the examples of a session."""
    try:
        return syntax.parse(source), []
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None, doctests.examples(source)


def _direct(read: Sequence[tuple[ast.Module | None, list[doctests.Example]]], entry: str | None) -> list[Case] | None:
    cases: list[Case] = []
    for tree, found in read:
        some = direct_session(found) if tree is None else direct_cases(tree, entry)
        if some is None:
            return None
        cases += some
    return cases


def _function(likely: str | None, entry: str | None) -> str | None:
    return likely if likely is None or likely.isidentifier() or entry else None


def _with(names: set[str], entry: str | None) -> tuple[str, ...]:
    return tuple(sorted(names | ({entry} if entry and entry.isidentifier() else set())))


def _counted(statement: Statement) -> Statement:
    """`statement` as a case, where no test asserts anything and so only running tells: a call that must not fail."""
    if statement.kind != "code" or not isinstance(
        syntax.parse(statement.source).body[0], ast.Expr | ast.For | ast.With
    ):
        return statement
    return statement._replace(cases=(("", statement.source),))


# ------------------------------------------------------------- statements


def _statements(tree: ast.Module, entry: str | None) -> list[Statement]:
    """Split tests into parts in the order they run: the module's statements, then its doctests, functions and classes."""
    functions, classes = collect.functions(tree), collect.classes(tree)
    harness = [node for node in tree.body if classes and _is_harness(node, tree)]
    body = [part for node in tree.body if node not in harness for part in _unguarded(node) if not _runs_tests(part)]
    body = [node for node in body if not is_idle(node)]
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
    found |= {name for name in _calls(tree) if re.match(r"assert[A-Z_]", name)}
    while more := {name for name, node in bodies.items() if name not in found and _calls(node) & found}:
        found |= more
    return found


def _calls(node: ast.AST) -> set[str]:
    functions = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    names = {function.id for function in functions if isinstance(function, ast.Name)}
    return names | {function.attr for function in functions if isinstance(function, ast.Attribute)}


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
    used = {name for name in used if not hasattr(builtins, name)}
    return used - _defined(tree) if used else used


def _likely(tree: ast.Module, names: set[str]) -> str | None:
    """Return the candidate's function the tests call most."""
    called = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return max(sorted(names), key=called.count, default=None)


def _example_trees(found: list[doctests.Example]) -> Iterator[ast.Module]:
    for example in found:
        try:
            yield syntax.parse(example.source)
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
