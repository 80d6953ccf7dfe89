"""The tests' side: runs the tests' statements in order and reports each case. Follows peer.py in the tester's sandbox.

Tests are written for the program beside them: its names are put among theirs, and any module they import that does not
exist is the program.
"""

import ast
import importlib.abc
import importlib.machinery


class Strict(ast.NodeTransformer):
    """`a == b` as a call that also tells True from 1, and remembers what was compared."""

    def visit_Compare(self, node):
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq):
            return node
        call = ast.Call(ast.Name("__same__", ast.Load()), [node.left, node.comparators[0]], [])
        return ast.copy_location(call, node)


LIBRARIES = frozenset(
    "attr bs4 cv2 django flask hypothesis lxml matplotlib mock mpmath networkx nltk nose numpy pandas parameterized pluggy "
    "pydantic pytest requests scipy seaborn skimage sklearn sympy tensorflow torch tqdm yaml".split()
)
"""Never the program, though the sandbox lacks them: else it could supply the very functions that compare."""


def alike(left, right):
    """Whether equal values have their bools at the same places."""
    if type(left) is bool or type(right) is bool:
        return left is right
    if type(left) in (list, tuple) and type(right) in (list, tuple):
        return all(map(alike, left, right))
    if type(left) is type(right) is dict:
        return alike(set(left), set(right)) and all(alike(item, right[key]) for key, item in left.items())
    if type(left) in (set, frozenset) and type(right) in (set, frozenset):
        members = {member: member for member in right}
        return all(alike(member, members[member]) for member in left)
    return True


def absent(module, name):
    """What a library that is not there has: marks, which say nothing about the program."""
    if (module, name) != ("pytest", "mark"):
        raise ImportError(f"the tests use {module}.{name}, and {module} is not in the sandbox; use unittest")
    return Marks()


class Marks:
    def __getattr__(self, name):
        if name in ("parametrize", "usefixtures"):
            raise ImportError(f"the tests use pytest.mark.{name}, and pytest is not in the sandbox; use unittest")
        return self

    def __call__(self, *args, **kwargs):
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else self


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves the modules that the tests name and nobody else has."""

    def __init__(self, namespace, names):
        self.namespace, self.names = namespace, names

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        name = module.__name__.partition(".")[0]
        if name in LIBRARIES:
            module.__getattr__ = lambda attribute: absent(name, attribute)
        else:
            module.__getattr__ = self.namespace.__getattr__


class Tester:
    """Runs statements in `module`, where names of the program are to be had as attributes."""

    def __init__(self, module, statements):
        self.module = module
        self.module.__dict__.update(__same__=self.same, __builtins__=builtins)
        sys.modules["__main__"] = self.module
        sys.meta_path.append(Finder(self.module, imported(statements)))
        self.compared = None

    def same(self, left, right):
        self.compared = (left, right)
        return left == right and alike(left, right)

    def run(self, source, method):
        if method:
            self.run_method(source)
            return
        (node,) = ast.parse(source).body
        tree = ast.fix_missing_locations(Strict().visit(ast.Module([node], [])))
        exec(compile(tree, "tests", "exec"), self.module.__dict__)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test") and not node.args.args:
            self.module.__dict__[node.name]()

    def run_method(self, source):
        import unittest

        unittest.TestCase._getAssertEqualityFunc = lambda case, first, second: case._baseAssertEqual
        unittest.TestCase._baseAssertEqual = lambda case, first, second, msg=None: self.assert_equal(
            case, first, second, msg
        )
        cls, _, name = source.partition(".")
        result = unittest.TestResult()
        unittest.TestSuite([self.module.__dict__[cls](name)]).run(result)
        for _, trace in result.failures:
            raise AssertionError(trace.strip().splitlines()[-1].removeprefix("AssertionError: "))
        for _, trace in result.errors:
            raise RuntimeError(trace.strip().splitlines()[-1])
        if not result.wasSuccessful():
            raise AssertionError("a test that is expected to fail did not")

    def assert_equal(self, case, first, second, msg):
        if not self.same(first, second):
            raise case.failureException(case._formatMessage(msg, f"{shown(first)} != {shown(second)}"))


def imported(statements):
    """The modules that statements import, with the packages they are in."""
    names = set()
    for source, _, method in statements:
        for node in ast.walk(ast.parse("" if method else source)):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names |= {name.rsplit(".", dots)[0] for name in found for dots in range(name.count(".") + 1)}
    return names


def shown(value):
    try:
        return repr(value)[:300]
    except Exception as error:
        return f"<repr raises {type(error).__name__}>"


def tester(pipe, statements, names):
    """The tests' side of a test between two sandboxes."""
    peer = TesterPeer(pipe, None)
    peer.module = type(sys)("__main__")
    peer.module.__getattr__ = lambda name: stub(peer, name)
    runner = Tester(peer.module, statements)
    for name in names:
        try:
            peer.module.__dict__[name] = stub(peer, name)
        except AttributeError:
            continue
    report(pipe, runner, statements, peer)


def together(pipe, code, statements):
    """Tests and program in one process, for tests that replace parts of the program's world. Reports are claims."""
    try:
        module = load(code, "solution")
        for name in imported(statements):
            try:
                __import__(name)
            except ImportError:
                if name.partition(".")[0] not in LIBRARIES:
                    sys.modules[name] = module
        pipe.write({"value": True})
    except BaseException as error:
        pipe.write(failure(error))
        return
    report(pipe, Tester(module, statements), statements)


def report(pipe, runner, statements, peer=None):
    """Run the statements; one result for each that is a case, or that fails."""
    for number, (source, is_case, method) in enumerate(statements):
        runner.compared = None
        if peer is not None:
            peer.claimed = False
        result = {"case": number, "ok": True, "expected": None, "actual": None, "message": ""}
        try:
            runner.run(source, method)
        except AssertionError as error:
            result.update(ok=False, message=str(error)[:300])
        except BaseException as error:
            result.update(ok=False, message=f"{type(error).__name__}: {error}"[:300], crashed=True)
        if runner.compared is not None:
            result.update(actual=shown(runner.compared[0]), expected=shown(runner.compared[1]))
        result["claimed"] = peer is not None and peer.claimed
        if is_case or not result["ok"]:
            pipe.write(result)
    pipe.write({"done": True})
