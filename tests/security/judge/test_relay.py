"""Tests that run in a second sandbox against the program: what they can express, and what the program cannot forge there."""

from __future__ import annotations

import pytest

from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Limits, Task, Verdict

pytestmark = pytest.mark.sandbox
LIMITS = Limits(wall_s=5, cpu_s=5)


def judged(sandbox: Sandbox, code: str, tests: str, entry: str | None = None) -> Verdict:
    return SandboxJudge(sandbox).judge(code, Task(prompt="p", tests=tests, entry_point=entry, limits=LIMITS))


CLOCK = """
class Clock:
    made = 0
    def __init__(self, hour, minute):
        self.minutes = (hour * 60 + minute) % 1440
    def __eq__(self, other):
        return isinstance(other, Clock) and self.minutes == other.minutes
    def __hash__(self):
        return self.minutes
    def __add__(self, minutes):
        return Clock(0, self.minutes + minutes)
    def __str__(self):
        return f"{self.minutes // 60:02d}:{self.minutes % 60:02d}"
    def __iter__(self):
        return iter((self.minutes // 60, self.minutes % 60))
class Late(ValueError):
    pass
def ring(clock):
    if clock.minutes > 1200:
        raise Late("too late", clock.minutes)
    return clock
"""

HONEST = {
    "objects and operators": (CLOCK, "c = Clock(8, 30) + 45\nassert str(c) == '09:15'\nassert list(c) == [9, 15]"),
    "equal objects": (CLOCK, "assert Clock(24, 0) == Clock(0, 0)\nassert Clock(1, 0) != Clock(2, 0)"),
    "its own exception": (
        CLOCK,
        "try:\n    ring(Clock(23, 0))\n    assert False\nexcept Late as late:\n    assert late.args == ('too late', 1380)",
    ),
    "class attributes": (CLOCK, "Clock.made = 3\nassert Clock.made == 3\nassert isinstance(Clock(1, 1), Clock)"),
    "callbacks": (
        "def apply(f, xs):\n    return [f(x) for x in xs]",
        "def double(x):\n    return x * 2\nassert apply(double, [1, 2]) == [2, 4]\nassert apply(lambda x: None, [1]) == [None]",
    ),
    "exceptions out of a callback": (
        "def apply(f):\n    try:\n        return f()\n    except KeyError as error:\n        return error.args[0]",
        "def fails():\n    raise KeyError('k')\nassert apply(fails) == 'k'",
    ),
    "objects of the tests": (
        "def values(node):\n    found = []\n    while node is not None:\n        found.append(node.value)\n"
        "        node = node.next\n    return found",
        "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n"
        "assert values(Node(1, Node(2))) == [1, 2]",
    ),
    "endless generators": (
        "def count():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        "import itertools\nassert list(itertools.islice(count(), 3)) == [0, 1, 2]",
    ),
    "arguments changed in place": ("def sort(xs):\n    xs.sort()", "xs = [3, 1, 2]\nsort(xs)\nassert xs == [1, 2, 3]"),
    "an argument given back": ("def same(xs):\n    return xs", "xs = [1]\nassert same(xs) is xs"),
    "dates": (
        "import datetime\ndef later(d):\n    return d + datetime.timedelta(1)",
        "import datetime\nassert later(datetime.date(2024, 2, 28)) == datetime.date(2024, 2, 29)",
    ),
    "a module by name": (
        "def leap(y):\n    return y % 4 == 0",
        "from leap_year import leap\nassert leap(2024) == True\nassert 1",
    ),
    "unittest": (
        "def f(x):\n    if x < 0:\n        raise ValueError('neg')\n    return [x]",
        "import unittest\nclass T(unittest.TestCase):\n    def setUp(self):\n        self.x = 2\n    def test_a(self):\n"
        "        self.assertEqual(f(self.x), [2])\n    def test_b(self):\n        with self.assertRaises(ValueError) as caught:\n"
        "            f(-1)\n        self.assertEqual(caught.exception.args[0], 'neg')\nunittest.main()",
    ),
}


@pytest.mark.parametrize(("code", "tests"), HONEST.values(), ids=HONEST.keys())
def test_what_tests_may_do(sandbox: Sandbox, code: str, tests: str) -> None:
    verdict = judged(sandbox, code, tests)
    assert verdict.verdict == "pass", verdict


def test_every_method_is_a_case_of_its_own(sandbox: Sandbox) -> None:
    tests = (
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(1), 1)\n"
        "    def test_b(self):\n        self.assertEqual(f(1), 2)\n    def test_c(self):\n        self.assertTrue(f(1))\n"
    )
    verdict = judged(sandbox, "def f(x):\n    return x", tests)
    assert [case.status for case in verdict.cases] == ["pass", "wrong", "pass"]
    assert verdict.cases[1].call == "T.test_b" and "1 != 2" in verdict.cases[1].message


def test_the_failing_comparison_of_a_check_function_is_told(sandbox: Sandbox) -> None:
    tests = "def check(candidate):\n    assert candidate(1) == 1\n    assert candidate(2) == 4\n"
    _, case = judged(sandbox, "def f(x):\n    return x", tests, "f").cases
    assert (case.status, case.expected, case.actual) == ("wrong", "4", "2")


LOOSE = "xs = [3, 1]\nresult = f(xs)\nassert result == sorted(xs)\nassert isinstance(result, list)"
FORGED = {
    "equal to all": (
        "class A:\n    def __eq__(self, other):\n        return True\n    def __ne__(self, other):\n        return False\n"
        "def f(xs):\n    return A()",
        LOOSE,
    ),
    "True for one": ("def f(x):\n    return True", "for n in (1,):\n    assert f(n) == 1"),
    "true for one in unittest": (
        "def f(x):\n    return True",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 1)",
    ),
    "results said by itself": (
        "import posix, marshal, sys\ndef f(x):\n    main = sys.modules['__main__'].__dict__\n"
        "    for k in range(3):\n        data = main['encode']({'case': k, 'ok': True, 'claimed': False, 'expected': '', "
        "'actual': '', 'message': ''})\n        posix.write(4, len(data).to_bytes(4, 'big') + data)\n    return 0",
        "for n in (1,):\n    assert f(n) == 1",
    ),
    "the end said by itself": (
        "import posix, sys\ndef f(x):\n    data = sys.modules['__main__'].__dict__['encode']({'done': True})\n"
        "    posix.write(4, len(data).to_bytes(4, 'big') + data)\n    return 0",
        "for n in (1,):\n    assert f(n) == 1",
    ),
    "the tests' globals through a callback": (
        "def f(g):\n    g.__globals__['__same__'] = lambda a, b: True\n    return 5",
        "def g():\n    return 1\nassert f(g) == 1",
    ),
    "the tests' class through an object": (
        "def f(node):\n    type(node).__eq__ = lambda a, b: True\n    node.__class__.value = 3\n    return 2",
        "class Node:\n    value = 1\nnode = Node()\nassert f(node) == 1",
    ),
    "a call of the tests' own functions": (
        "import sys\ndef f(x):\n    peer = [o for o in __import__('gc').get_objects() if type(o).__name__ == 'Peer'][0]\n"
        "    peer.ask('set', None, '__same__', [lambda a, b: True])\n    return 2",
        "for n in (1,):\n    assert f(n) == 1",
    ),
    "an exit": ("def f(x):\n    raise SystemExit(0)", "for n in (1,):\n    assert f(n) == 1"),
    "an error of the test runner": (
        "import unittest\ndef f(x):\n    raise unittest.SkipTest('no')",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(1), 1)",
    ),
}


@pytest.mark.parametrize(("code", "tests"), FORGED.values(), ids=FORGED.keys())
def test_what_a_program_cannot_forge(sandbox: Sandbox, code: str, tests: str) -> None:
    verdict = judged(sandbox, code, tests)
    assert verdict.verdict == "fail" or (verdict.trust == "low" and verdict.trust_reason)


CLAIMS = {
    "an input emptied before the test sorts it": (
        "def f(xs):\n    xs.clear()\n    return []",
        "xs = [3, 1]\nassert f(xs) == sorted(xs)",
    ),
    "objects that call themselves equal": (
        "class A:\n    def __init__(self, *a):\n        pass\n    def __eq__(self, other):\n        return True",
        "assert A(1) == A(2)",
    ),
}


@pytest.mark.parametrize(("code", "tests"), CLAIMS.values(), ids=CLAIMS.keys())
def test_a_pass_on_the_programs_own_word_says_so(sandbox: Sandbox, code: str, tests: str) -> None:
    assert judged(sandbox, code, tests).trust == "claimed"


def test_a_pass_on_values_is_of_full_trust(sandbox: Sandbox) -> None:
    verdict = judged(sandbox, "def f(n):\n    return [n]", "for n in range(3):\n    assert f(n) == [n]")
    assert (verdict.verdict, verdict.trust) == ("pass", "full")


KINDS = """
def keep(values, kind):
    return [value for value in values if isinstance(value, kind)]
def kind_of(x):
    return type(x)
"""
BOX = """
class Box:
    shown = 0
    def __repr__(self):
        Box.shown += 1
        return "box"
    def put(self, n):
        return n
def count():
    return Box.shown
"""


def test_types_that_both_sides_have_travel_as_themselves(sandbox: Sandbox) -> None:
    tests = "for kind, kept in ((int, [1]), (str, ['a'])):\n    assert keep([1, 'a', 2.0], kind) == kept\nassert kind_of(1) is int"
    assert judged(sandbox, KINDS, tests).verdict == "pass"


def test_an_object_is_not_asked_to_show_itself_when_it_is_passed_back(sandbox: Sandbox) -> None:
    tests = "def test_box():\n    box = Box()\n    for n in range(20):\n        assert box.put(n) == n\n    assert count() < 3"
    assert judged(sandbox, BOX, tests).verdict == "pass"


SUPPLIES_PYTEST = """
class approx:
    def __init__(self, value):
        self.value = value
    def __eq__(self, other):
        return True
def f(x):
    return None
"""


def test_a_library_is_not_the_programs_to_supply_in_one_process_either(sandbox: Sandbox) -> None:
    tests = "from unittest import mock\nimport pytest\ndef test_f():\n    assert f(1) == pytest.approx(2)"
    verdict = judged(sandbox, SUPPLIES_PYTEST, tests)
    assert verdict.trust == "low"
    assert verdict.verdict == "fail" and "pytest is not in the sandbox" in verdict.reason
