"""Runs a task's tests in order and reports each case. Follows importing.py, in the tester's sandbox or in the program's.

The tests are written for a program beside them: its names are put among theirs, and a module that they import and that does
not exist is the program. Each report carries the token of its order.
"""

import builtins
import marshal
import posix
import sys


class Runner:
    """Runs statements in `module`. begin: called before each case; doubt: whether its result rests on less than a value."""

    def __init__(self, pipe, module, token):
        self.pipe, self.module, self.token = pipe, module, token
        self.names = module.__dict__
        self.compared = None
        self.starred = set()
        self.number = 0
        self.is_full = False
        self.names.update(__same__=self.same, __builtins__=builtins)
        sys.modules["__main__"] = module

    def same(self, left, right):
        self.compared = (left, right)
        return left == right

    def begin(self):
        self.compared = None

    def doubt(self):
        return ""

    def run(self, statements):
        for self.number, (source, kind, keys) in enumerate(statements):
            getattr(self, f"run_{kind}")(source, keys)
            if self.is_full:
                break
        self.number = 0
        self.guarded("asserts", still_fail, reports=False)
        self.pipe.write({"done": True, "token": self.token})

    # ---- reports

    def report(self, key, error=None, skipped=None):
        result = {"case": self.number, "key": key, "ok": error is None, "skipped": skipped, "token": self.token}
        result.update(message="", expected=None, actual=None, crashed=False, doubt=self.doubt())
        if error is not None:
            is_failure = isinstance(error, AssertionError)
            self.is_full |= isinstance(error, MemoryError)
            result["message"] = worded(error) if is_failure else f"{type(error).__name__}: {worded(error)}"[:300]
            result["crashed"] = not is_failure
            if self.compared is not None:
                result.update(actual=shown(self.compared[0]), expected=shown(self.compared[1]))
        self.pipe.write(result)

    def guarded(self, key, work, reports=True):
        """Do the work of one case and report how it went; a statement that is no case reports its failure alone."""
        self.begin()
        try:
            work()
        except BaseException as error:
            skip = getattr(sys.modules.get("unittest.case"), "SkipTest", None)
            if skip is not None and isinstance(error, skip):
                self.report(key, skipped=worded(error))
            else:
                self.report(key, error)
        else:
            if reports:
                self.report(key)

    # ---- the kinds of statements

    def run_code(self, code, keys):
        self.guarded("", lambda: exec(marshal.loads(code), self.names), bool(keys))

    def run_star(self, code, keys):
        self.guarded("", lambda: self.import_star(marshal.loads(code)), bool(keys))

    def import_star(self, code):
        """`from … import *` in the tests takes nothing from the program: beside it are the tests, not after it."""
        there = {"__name__": "tests", "__builtins__": builtins}
        exec(code, there)
        for name in there.keys() - {"__name__", "__builtins__"}:
            if name not in self.names or name in self.starred:
                self.names[name] = there[name]
                self.starred.add(name)

    def run_function(self, source, keys):
        if source not in self.names:
            self.report(source, skipped="it is not defined")
            return

        def work():
            function = self.names[source]
            self.hook("setup_function", function)
            try:
                finish(function())
            finally:
                self.hook("teardown_function", function)

        self.guarded(source, work)

    def hook(self, name, argument):
        hook = self.names.get(name)
        if hook is not None:
            hook(argument) if hook.__code__.co_argcount else hook()

    def run_class(self, source, keys):
        cls = self.names.get(source)
        if cls is None:
            for key in keys:
                self.report(key, skipped="it is not defined")
            return
        method(cls, "setup_class")
        for key in keys:
            self.guarded(key, lambda key=key: run_one(cls(), key.partition(".")[2]))
        method(cls, "teardown_class")

    def run_unittest(self, source, keys):
        import unittest

        runner, left = self, dict.fromkeys(keys)

        class Result(unittest.TestResult):
            def startTest(self, test):
                super().startTest(test)
                self.error = self.skip = None
                runner.begin()

            def note(self, test, err):
                self.error = self.error or err[1]
                if not isinstance(test, unittest.TestCase):  # a class's or a module's fixture: its tests do not run
                    self.broken = err[1]

            def addError(self, test, err):
                super().addError(test, err)
                self.note(test, err)

            def addFailure(self, test, err):
                super().addFailure(test, err)
                self.note(test, err)

            def addSubTest(self, test, subtest, err):
                super().addSubTest(test, subtest, err)
                if err is not None:
                    self.note(test, err)

            def addSkip(self, test, reason):
                super().addSkip(test, reason)
                self.skip = str(reason)
                if not isinstance(test, unittest.TestCase):
                    self.broken = reason

            def addUnexpectedSuccess(self, test):
                super().addUnexpectedSuccess(test)
                self.error = AssertionError("a test that is expected to fail did not")

            def stopTest(self, test):
                super().stopTest(test)
                key = f"{type(test).__name__}.{test._testMethodName}"
                left.pop(key, None)
                runner.report(key, self.error, None if self.error is not None else self.skip)

        result = Result()
        result.error = result.skip = result.broken = None
        found = [self.names.get(name) for name in source.split()]
        classes = [cls for cls in found if isinstance(cls, type) and issubclass(cls, unittest.TestCase)]
        load = unittest.TestLoader().loadTestsFromTestCase
        try:
            unittest.TestSuite([load(cls) for cls in classes]).run(result)
        except BaseException as error:
            result.broken = error
        self.begin()
        for key in left:
            is_gone = result.broken is None and not hasattr(
                self.names.get(key.partition(".")[0]), key.partition(".")[2]
            )
            if isinstance(result.broken, str) or is_gone:
                self.report(key, skipped=result.broken or "it is not defined")
            else:
                self.report(key, result.broken or AssertionError("the test did not run"))

    def run_doctest(self, source, keys):
        import doctest

        runner = self

        class Session(doctest.DocTestRunner):
            def report_start(self, out, test, example):
                runner.begin()

            def report_success(self, out, test, example, got):
                if str(number(test, example)) in keys:
                    runner.report(str(number(test, example)))

            def report_failure(self, out, test, example, got):
                runner.compared = (Text(got), Text(example.want))
                runner.report(str(number(test, example)), AssertionError(""))

            def report_unexpected_exception(self, out, test, example, exc_info):
                runner.report(str(number(test, example)), exc_info[1])

        try:
            test = doctest.DocTestParser().get_doctest(source, dict(self.names), "tests", "tests.py", 0)
            Session(verbose=False).run(test, out=lambda text: None)
        except BaseException as error:
            self.report("", error)


MUST_FAIL = {
    "assertEqual": (1, 2),
    "assertTrue": (False,),
    "assertFalse": (True,),
    "assertIs": (None, 1),
    "assertIn": (1, []),
    "assertAlmostEqual": (1, 2),
    "assertCountEqual": ([1], []),
    "assertRaises": (ValueError, int),
    "fail": (),
}


def still_fail():
    """Raise where what compares was made to agree with everything."""
    unittest, doctest = sys.modules.get("unittest"), sys.modules.get("doctest")
    for name, args in MUST_FAIL.items() if unittest is not None else ():
        try:
            getattr(unittest.TestCase(), name)(*args)
        except AssertionError:
            continue
        raise RuntimeError(f"unittest's {name} was changed: it does not fail any more")
    if doctest is not None and doctest.OutputChecker().check_output("1\n", "2\n", 0):
        raise RuntimeError("doctest was changed: it takes 2 for 1")


def number(test, example):
    """The example's place in its session; examples that look alike are equal."""
    return next(place for place, each in enumerate(test.examples) if each is example)


class Text(str):
    """A text that shows itself without quotes."""

    def __repr__(self):
        return self.rstrip("\n")


def run_one(test, name):
    """Call a method of a plain test class between its set-up and its tear-down."""
    method(test, "setup_method", name)
    try:
        finish(getattr(test, name)())
    finally:
        method(test, "teardown_method", name)


def method(owner, name, *args):
    hook = getattr(owner, name, None)
    if hook is not None:
        code = getattr(hook, "__code__", None)
        hook(*args[: code.co_argcount - 1 if code else 0])


def finish(value):
    """Run what an asynchronous test gave."""
    import inspect

    if inspect.iscoroutine(value):
        import asyncio

        asyncio.run(value)


def worded(error):
    try:
        return str(error)[:300]
    except Exception as other:
        return f"its message raises {type(other).__name__}"


def shown(value):
    try:
        return repr(value)[:300]
    except Exception as error:
        return f"<repr raises {type(error).__name__}>"


def together(pipe, code, statements, imports, token):
    """Run the tests in the program's process, as Python itself would. What is reported is the program's claim: it could
    find the pipe and the token, which it is not handed."""
    sink = 64 + int.from_bytes(posix.urandom(1), "big") // 2
    posix.dup2(pipe.sink, sink)
    posix.close(pipe.sink)
    pipe.sink = sink
    try:
        module = load(code, "solution")
        sys.meta_path.append(Finder(imports))
        for name in imports:
            try:
                __import__(name)
            except ImportError:
                if name.partition(".")[0] not in LIBRARIES:
                    stand_in(name, module, is_package=any(other.startswith(f"{name}.") for other in imports))
        pipe.write({"value": True, "token": token})
    except BaseException as error:
        pipe.write(failure(error))
        return
    Runner(pipe, module, token).run(statements)
