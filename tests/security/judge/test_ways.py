"""Tests run twice, in the program's process and apart from it: the verdict is Python's, the trust says who agrees."""

from __future__ import annotations

import pytest

from crucible.errors import InputError
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Example, Limits, Task, Verdict

pytestmark = pytest.mark.sandbox
LIMITS = Limits(wall_s=5, cpu_s=5)


def judged(sandbox: Sandbox, code: str, tests: str, *, low_trust: bool = True, **fields: object) -> Verdict:
    task = Task(prompt="p", tests=tests, limits=LIMITS).model_copy(update=fields)
    return SandboxJudge(sandbox, low_trust=low_trust).judge(code, task)


COPY = "def clone(m):\n    return {}"
DEEP = "m = [[1]]\nc = clone(m)\nc[0].append(2)\nassert m == [[1]]"


def test_a_copy_that_shares_its_parts_fails_though_the_relay_sees_no_sharing(sandbox: Sandbox) -> None:
    assert judged(sandbox, COPY.format("list(m)"), DEEP).verdict == "fail"
    right = judged(sandbox, COPY.format("[list(r) for r in m]"), DEEP)
    assert (right.verdict, right.trust, right.method) == ("pass", "full", "relay")


LOCKED = """
import threading
class Counter:
    def __init__(self):
        self.n, self.lock = 0, threading.Lock()
    def inc(self):
        with self.lock:
            self.n += 1
"""
THREADS = """
import threading
c = Counter()
ts = [threading.Thread(target=c.inc) for _ in range(9)]
[t.start() for t in ts]
[t.join() for t in ts]
assert c.n == 9
"""


def test_what_cannot_be_carried_passes_with_low_trust_and_says_why(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, LOCKED, THREADS)
    assert (verdict.verdict, verdict.trust, verdict.method) == ("pass", "low", "process")
    assert "threads" in verdict.trust_reason


def test_without_low_trust_such_tests_are_refused(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, LOCKED, THREADS, low_trust=False)
    assert verdict.verdict == "fail" and "refused" in verdict.reason and "sandbox.low_trust" in verdict.reason


def test_without_low_trust_a_wrong_program_is_wrong_and_carried_tests_pass(sandbox: Sandbox) -> None:
    wrong = judged(sandbox, LOCKED.replace("self.n += 1", "self.n += 2"), THREADS, low_trust=False)
    assert wrong.verdict == "fail" and "refused" not in wrong.reason
    loop = judged(sandbox, "def f(n):\n    return n", "for n in range(3):\n    assert f(n) == n", low_trust=False)
    assert (loop.verdict, loop.trust) == ("pass", "full")


def test_a_test_that_the_tests_skip_counts_for_nothing(sandbox: Sandbox) -> None:
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n    @unittest.skip('later')\n    def test_a(self): self.fail()\n"
        "    def test_b(self): self.assertEqual(f(1), 1)"
    )
    verdict = judged(sandbox, "def f(x):\n    return x", tests)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("pass", 1, 1)
    alone = tests.replace("    def test_b(self): self.assertEqual(f(1), 1)", "")
    assert judged(sandbox, "def f(x):\n    return x", alone).reason == "no tests"


def test_a_class_whose_set_up_fails_fails_all_its_tests(sandbox: Sandbox) -> None:
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n    @classmethod\n    def setUpClass(cls): cls.x = f(1)['k']\n"
        "    def test_a(self): pass\n    def test_b(self): pass"
    )
    verdict = judged(sandbox, "def f(x):\n    return {}", tests)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("fail", 0, 2) and "KeyError" in verdict.reason


def test_examples_beside_tests_keep_their_looseness_tolerance_and_checker(sandbox: Sandbox) -> None:
    example = (Example(input=[3], output=[1.0, 0.3333333]),)
    tests = "y = 2\nassert len(f(y)) == 2"
    right = "def f(x):\n    return (1, 1 / x)"
    assert judged(sandbox, right, tests, entry_point="f", examples=example, tolerance=1e-6).verdict == "pass"
    assert judged(sandbox, right, tests, entry_point="f", examples=example).verdict == "fail"
    both = judged(sandbox, right, tests, entry_point="f", examples=example, tolerance=1e-6)
    assert (both.passed, both.total) == (2, 2)


DOCTESTS = {
    "state": ("class S:\n    n = 0\n    def inc(self):\n        self.n += 1\n        return self.n",
              ">>> s = S()\n>>> s.inc()\n1\n>>> s.inc()\n2\n"),
    "what is printed": ("def f(x):\n    print('hi', x)", ">>> f(1)\nhi 1\n"),
    "an ellipsis": ("def f(x):\n    return list(range(x))", ">>> f(20)  # doctest: +ELLIPSIS\n[0, 1, ..., 19]\n"),
    "a message": ("def f(x):\n    raise ValueError('no')",
                  ">>> f(1)\nTraceback (most recent call last):\n    ...\nValueError: no\n"),
    "sets": ("def f(x):\n    return {'a', 'b', 'c'}", ">>> f(1)\n{'c', 'a', 'b'}\n"),
    "in a docstring": ("def f(x):\n    return x", '"""\n>>> f(1)\n1\n"""\n'),
}  # fmt: skip


@pytest.mark.parametrize(("code", "tests"), DOCTESTS.values(), ids=DOCTESTS)
def test_doctests_say_what_doctest_says(sandbox: Sandbox, code: str, tests: str) -> None:
    assert judged(sandbox, code, tests).verdict == "pass"
    assert judged(sandbox, "class S:\n    def inc(self): return 7\ndef f(x):\n    return 7", tests).verdict == "fail"


def test_asserts_between_doctests_are_refused_by_name(sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match=r"assert f\(2\)"):
        judged(sandbox, "def f(x): return x", "words\n>>> f(1)\n1\n\nassert f(2) == 2\n")


def test_integers_of_many_digits_are_read_and_compared(sandbox: Sandbox) -> None:
    tests = f"assert f(5000) == {'1' + '0' * 5000}\nassert f(1) == 0x{'f' * 5000}"
    verdict = judged(sandbox, "def f(n):\n    return 10 ** n if n > 1 else 16 ** 5000 - 1", tests)
    assert verdict.passed == 2
    assert judged(sandbox, "def f(n):\n    return 16 ** 5000", tests).passed == 0


def test_many_slow_calls_have_more_time_than_one(sandbox: Sandbox) -> None:
    limits = Limits(wall_s=1, cpu_s=1)
    tests = "\n".join(f"assert f({n}) == {n}" for n in range(6))
    slow = "import time\ndef f(x):\n    time.sleep(0.3)\n    return x"
    assert judged(sandbox, slow, tests, limits=limits).verdict == "pass"
    assert judged(sandbox, slow.replace("0.3", "1.6"), tests, limits=limits).cases[0].status == "timeout"


def test_a_main_guard_in_the_tests_is_run(sandbox: Sandbox) -> None:
    tests = "def test_f():\n    assert f(1) == 2\nif __name__ == '__main__':\n    test_f()\n"
    assert judged(sandbox, "def f(x): return x", tests).verdict == "fail"
    assert judged(sandbox, "def f(x): return x + 1", tests).verdict == "pass"


def test_names_that_the_tests_import_by_a_star_are_not_put_over_the_programs(sandbox: Sandbox) -> None:
    code = "mod = 7\n\ndef f(n):\n    return n % mod"
    verdict = judged(sandbox, code, "from operator import *\nassert f(9) + 0 == add(1, 1)", entry_point="f")
    assert (verdict.verdict, verdict.trust, verdict.method) == ("pass", "full", "relay")


def test_a_name_that_the_tests_set_is_seen_by_a_program_that_reads_it(sandbox: Sandbox) -> None:
    code = "c = 0\n\ndef f(n):\n    return c + n"
    assert judged(sandbox, code, "c = 5\nassert f(1) == 6").verdict == "pass"
    assert judged(sandbox, code, "c = 0\nassert f(1) == 1").method == "calls"
    assert judged(sandbox, "def f(n):\n    return n", "c = 5\nassert f(c) == 5").method == "calls"
