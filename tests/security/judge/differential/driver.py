"""CPython's own verdict: runs in a sandbox of its own as `__main__`, before a line that calls `main`.

Program and tests share one module, as in a file that holds both. The tests' statements run in order; then their doctests
run by doctest, their TestCase classes by unittest, their test functions and Test classes by pytest's rules. The words
"CPYTHON PASSED THEM" on file descriptor 1 and exit code 0 mean that nothing failed.

What takes long to import is imported where it is needed.
"""

import ast
import importlib.abc
import importlib.machinery
import inspect
import io
import linecache
import os
import sys
import types


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the module of program and tests under every name that the tests import and nobody else has."""

    def __init__(self, module, names):
        self.module, self.names = module, names

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name in self.names else None

    def create_module(self, spec):
        if not any(other.startswith(spec.name + ".") for other in self.names):
            return self.module
        package = types.ModuleType(spec.name)
        package.__getattr__ = lambda name: getattr(self.module, name)
        return package

    def exec_module(self, module):
        pass


def imported(tree):
    names = {"solution"}
    for node in ast.walk(tree):
        found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names |= {name.rsplit(".", dots)[0] for name in found for dots in range(name.count(".") + 1)}
    return names


def start(program):
    """The module with the program in it. The program sees the name `solution`, the tests `__main__`."""
    module = types.ModuleType("solution")
    module.__file__ = "/work/solution.py"
    linecache.cache[module.__file__] = (len(program), None, program.splitlines(True), module.__file__)
    sys.modules["solution"] = module
    exec(compile(program, module.__file__, "exec", dont_inherit=True), module.__dict__)
    module.__name__ = "__main__"
    sys.modules["__main__"] = module
    return module


def run_doctest(text, module):
    import doctest

    test = doctest.DocTestParser().get_doctest(text, dict(module.__dict__), "tests", None, 0)
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=lambda said: os.write(2, said.encode()))
    assert not failed, "a doctest failed"


def docstrings(tree):
    kinds = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in found if text and ">>> " in text]


def run_cases(classes):
    import unittest

    loader, result = unittest.TestLoader(), unittest.TestResult()
    unittest.TestSuite(map(loader.loadTestsFromTestCase, classes)).run(result)
    for _, trace in [*result.failures, *result.errors]:
        sys.stderr.write(trace)
    assert result.wasSuccessful(), "a test case failed"


def is_test(function):
    """Whether pytest would call it: a test by its name that needs no argument but what mock.patch hands in."""
    if not inspect.isroutine(function) or not function.__name__.startswith("test"):
        return False
    patched = [patch for patch in getattr(function, "patchings", []) if repr(patch.new) == "sentinel.DEFAULT"]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return len([one for one in parameters if one.default is one.empty and one.kind not in kinds]) == len(patched)


def call(function, *args):
    """Call it with as many of the arguments as it takes."""
    result = function(*args[: len(inspect.signature(function).parameters)])
    if inspect.isawaitable(result):
        import asyncio

        asyncio.run(result)


def run_class(cls):
    call(getattr(cls, "setup_class", lambda: None))
    for name in dir(cls):
        if name.startswith("test") and is_test(getattr(cls(), name)):
            instance = cls()
            method = getattr(instance, name)
            call(getattr(instance, "setup_method", lambda: None), method)
            call(method)
            call(getattr(instance, "teardown_method", lambda: None), method)
    call(getattr(cls, "teardown_class", lambda: None))


def run_tests(module, tests, entry):
    try:
        tree = ast.parse(tests)
    except SyntaxError:
        run_doctest(io.StringIO(tests, newline=None).read(), module)  # line ends as in a file that is read
        return
    if "unittest" in tests:
        import unittest

        unittest.main = lambda *args, **kwargs: None  # the classes run below
    before = dict(module.__dict__)
    sys.meta_path.append(Finder(module, imported(tree)))
    exec(compile(tests, "tests.py", "exec", dont_inherit=True), module.__dict__)
    for text in docstrings(tree):
        run_doctest(text, module)
    own = {name: value for name, value in module.__dict__.items() if before.get(name) is not value}
    own = {name: value for name, value in own.items() if getattr(value, "__module__", None) == "__main__"}
    classes = [value for value in own.values() if isinstance(value, type)]
    cases = [cls for cls in classes if any(base.__name__ == "TestCase" for base in cls.__mro__)]
    if cases:
        run_cases(cases)
    call(own.get("setup_module", lambda: None))
    for value in own.values():
        if inspect.isfunction(value) and is_test(value):
            call(own.get("setup_function", lambda: None), value)
            call(value)
            call(own.get("teardown_function", lambda: None), value)
    for cls in classes:
        if cls.__name__.startswith("Test") and cls not in cases:
            run_class(cls)
    call(own.get("teardown_module", lambda: None))
    called = {
        ast.unparse(node.value.func)
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    }
    if entry and "check" in own and "check" not in called:
        own["check"](module.__dict__[entry])


def main(program, tests, entry):
    sys.argv = ["solution.py"]
    sys.stdin = io.StringIO("")
    run_tests(start(program), tests, entry)
    os.write(1, b"CPYTHON PASSED THEM")
