"""Verdicts: honest programs pass, wrong ones say why, and no forgery passes."""

from __future__ import annotations

import pytest

from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import CaseResult, Example, Limits, Task, Verdict

pytestmark = pytest.mark.sandbox
SHORT = Limits(wall_s=2, cpu_s=2, memory_mib=256)
SQUARES = Task(
    prompt="Write solve(xs): the sum of the squares of the even numbers.",
    entry_point="solve",
    tests="assert solve([1, 2, 3]) == 4\nassert solve([]) == 0\nassert solve([2, 4]) == 20",
    limits=SHORT,
)
HONEST = "def solve(xs):\n    return sum(x * x for x in xs if x % 2 == 0)\n"


@pytest.fixture
def judge(sandbox: Sandbox) -> SandboxJudge:
    return SandboxJudge(sandbox)


def verdict_on(judge: SandboxJudge, code: str, tests: str, **fields: object) -> Verdict:
    return judge.judge(code, Task(prompt="p", tests=tests, limits=SHORT).model_copy(update=fields))


HONEST_PROGRAMS = {
    "plain": HONEST,
    "noisy": "import sys\nprint('loading')\n" + HONEST.replace("return", "print(xs); sys.stderr.write('x'); return"),
    "with a main guard that exits": HONEST + "if __name__ == '__main__':\n    raise SystemExit(1)\n",
    "with a helper": "def even(x):\n    return x % 2 == 0\n" + HONEST.replace("x % 2 == 0", "even(x)"),
    "as a lambda": "solve = lambda xs: sum(x ** 2 for x in xs if not x % 2)",
    "as a class's method": "class S:\n    def __call__(self, xs):\n        return sum(x * x for x in xs if x % 2 == 0)\nsolve = S()",
    "that empties its input": "def solve(xs):\n    total = 0\n    while xs:\n        x = xs.pop()\n        total += x * x * (x % 2 == 0)\n    return total",
}


@pytest.mark.parametrize("code", HONEST_PROGRAMS.values(), ids=HONEST_PROGRAMS)
def test_honest_programs_pass(judge: SandboxJudge, code: str) -> None:
    verdict = judge.judge(code, SQUARES)
    assert (verdict.verdict, verdict.passed, verdict.total) == ("pass", 3, 3), verdict.reason


EQUAL_TO_ALL = "class All(int):\n    def __eq__(self, other): return True\n    __hash__ = None\n"
FORGERIES = {
    "nothing at all": "",
    "no such function": "def other(xs): return 4",
    "not a function": "solve = 4",
    "exit code 0": "import sys\nsys.exit(0)",
    "exit 0 when called": "import os\ndef solve(xs): os._exit(0)",
    "SystemExit when called": "def solve(xs): raise SystemExit(0)",
    "equal to everything": EQUAL_TO_ALL + "def solve(xs): return All(99)",
    "an object equal to everything": "class A:\n    def __eq__(self, o): return True\ndef solve(xs): return A()",
    "the public answer": "def solve(xs): return 4",
    "True for one": "def solve(xs): return True",
    "a text of the number": "def solve(xs): return '4' if xs else 0",
    "builtins replaced": "import builtins\nbuiltins.len = builtins.all = lambda *a: True\ndef solve(xs): return None",
    "json replaced": "import json\njson.dumps = lambda *a, **k: '{\"value\": 4}'\ndef solve(xs): return None",
    "the pipe written before the call": 'import os\nos.write(4, bytes([0, 0, 0, 23]) + b\'["d",["value",4]]      \')\ndef solve(xs): return 0',
    "a flood of guesses": (
        'import os, threading\ndef flood():\n    while True:\n        data = b\'["d",["value",4]]\'\n'
        "        os.write(4, len(data).to_bytes(4, 'big') + data)\n"
        "threading.Thread(target=flood, daemon=True).start()\ndef solve(xs): return 0"
    ),
    "raw noise on the pipe": "import os\ndef solve(xs): os.write(4, b'\\xff' * 64)",
    "a frame that never ends": "import os, time\ndef solve(xs):\n    os.write(4, b'\\0\\0\\1\\0x')\n    time.sleep(60)",
    "a frame too large": "import os\ndef solve(xs): os.write(4, b'\\x7f\\xff\\xff\\xff')",
    "a deep result": "def solve(xs):\n    r = []\n    for _ in range(200000): r = [r]\n    return r",
    "a deep result written raw": (
        "import os\ndef solve(xs):\n    data = b'[\"l\",' * 50000 + b'1' + b']' * 50000\n"
        "    os.write(4, len(data).to_bytes(4, 'big') + data)"
    ),
    "a huge result": "def solve(xs): return [0] * 10 ** 7",
    "a huge integer": "def solve(xs): return 1 << 20_000_000",
    "tags imitated": "def solve(xs): return ['i', '0x4']",
    "an unknown tag": 'import os\ndef solve(xs):\n    data = b\'["d",["value",["zz",4]]]\'\n    os.write(4, len(data).to_bytes(4, \'big\') + data)',
    "the caller's frames": "import sys\ndef solve(xs):\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n            if isinstance(v, int): return v\n        f = f.f_back",
    "the heap": "import gc\ndef solve(xs): return next((o for o in gc.get_objects() if isinstance(o, tuple) and len(o) == 2 and o[0] == [1, 2, 3]), None)",
    "right once only": "calls = []\ndef solve(xs):\n    calls.append(1)\n    return sum(x * x for x in xs if x % 2 == 0) if len(calls) == 1 else -1",
    "sleeping": "import time\ndef solve(xs): time.sleep(60)",
    "drip": "import time\ndef solve(xs):\n    time.sleep(1.7)\n    return sum(x * x for x in xs if x % 2 == 0)",
    "clock stopped": "import time\ntime.monotonic = time.time = lambda: 0\ndef solve(xs):\n    while True: pass",
    "memory": "def solve(xs): return len(bytearray(1 << 30))",
    "a module that answers all": "import sys, types\nclass M(types.ModuleType):\n    def __getattr__(self, n): return lambda *a: 4\nsys.modules['solution'] = M('solution')",
}


@pytest.mark.parametrize("code", FORGERIES.values(), ids=FORGERIES)
def test_no_forgery_passes(judge: SandboxJudge, code: str) -> None:
    task = SQUARES.model_copy(update={"limits": SHORT.model_copy(update={"wall_s": 1.5})})
    verdict = judge.judge(code, task)
    if code == FORGERIES["an object equal to everything"]:  # Python agrees with it, and nobody else does
        assert (verdict.verdict, verdict.trust, verdict.method) == ("pass", "low", "process")
    else:
        assert verdict.verdict == "fail" and verdict.passed < verdict.total
    assert all(len(text) <= 310 for case in verdict.cases for text in (case.call, case.message, case.actual or ""))


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("def f(x): return 3", "wrong", ""),
        ("def f(x): raise ValueError('no good')", "error", "ValueError: no good (line 1)"),
        ("def f(x):\n    while True: pass", "timeout", "no answer within 2 s"),
        ("def f(x): return bytearray(1 << 30)", "memory", "MemoryError"),
        ("import os\ndef f(x): os._exit(3)", "killed", "ended its process"),
        ("def f(x): return '\\x1b[31mred\\u202e'", "wrong", ""),
        ("import nothing", "error", "No module named 'nothing'"),
        ("def f(:", "error", "SyntaxError"),
    ],
)
def test_a_failing_case_says_what_happened(judge: SandboxJudge, code: str, status: str, said: str) -> None:
    case: CaseResult = verdict_on(judge, code, "assert f(1) == 2").cases[0]
    assert case.status == status and said in case.message
    assert case.call == "f(1)"
    assert "\x1b" not in (case.actual or "") and "\u202e" not in (case.actual or "")


@pytest.mark.parametrize(
    ("returned", "expected", "passes"),
    [
        ("2.0", "2", True),
        ("(1, 2)", "[1, 2]", False),
        ("[1, 2]", "[1, 2]", True),
        ("{1, 2}", "{2, 1}", True),
        ("frozenset([1])", "{1}", True),
        ("__import__('collections').Counter('ab')", "{'a': 1, 'b': 1}", True),
        ("__import__('collections').OrderedDict(a=1)", "{'a': 1}", True),
        ("None", "None", True),
        ("'1'", "1", False),
        ("b'1'", "b'1'", True),
        ("10 ** 400", str(10**400), True),
        ("(x for x in [1])", "[1]", False),
        ("float('nan')", "1.0", False),
        ("{1: 'a'}", "{1: 'a'}", True),
        ("{True: 'a'}", "{1: 'b'}", False),
    ],
)
def test_equality_is_of_type_and_value(judge: SandboxJudge, returned: str, expected: str, passes: bool) -> None:
    verdict = verdict_on(judge, f"def f(): return {returned}", f"assert f() == {expected}")
    assert (verdict.verdict == "pass") == passes, verdict.cases


TESTED = {
    "sets": ("def f(s): return list(s)", "assert set(f('ab')) == {'a', 'b'}"),
    "closeness": ("def f(x): return x / 3", "import math\nassert math.isclose(f(1), 0.3333333333, rel_tol=1e-6)"),
    "a loop": ("def f(x): return x", "for i in range(4):\n    assert f(i) == i"),
    "an exception": ("def f(x): raise KeyError(x)", "try:\n    f(1)\n    assert False\nexcept KeyError:\n    pass"),
    "check(candidate)": ("def f(x): return x", "def check(candidate):\n    assert candidate(1) == 1\ncheck(f)"),
    "test functions": (
        "def f(x): return x",
        "def test_one():\n    assert f(1) == 1\ndef test_two():\n    assert f(2) == 2",
    ),
    "objects of the program": (
        "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\ndef f(ps): return sum(p.a for p in ps)",
        "assert f([Pair(1, 2), Pair(3, 4)]) == 4",
    ),
    "changed objects": ("class N:\n    x = 0\ndef f(n): return n.x", "n = N()\nn.x = 5\nassert f(n) == 5"),
    "iterators": ("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2]"),
    "two functions": ("def f(x): return x\ndef g(x): return -x", "assert f(1) + g(1) == 0\nassert g(2) == -2"),
}


@pytest.mark.parametrize(("code", "tests"), TESTED.values(), ids=TESTED)
def test_tests_of_any_form_are_run_apart_from_the_program(judge: SandboxJudge, code: str, tests: str) -> None:
    assert verdict_on(judge, code, tests).verdict == "pass"
    assert verdict_on(judge, "def f(*a): return 77\ndef g(*a): return 77", tests).verdict == "fail"


def test_the_tests_are_not_in_the_programs_sandbox(judge: SandboxJudge) -> None:
    code = (
        "import gc, os, sys\ndef f(x):\n    hay = repr(gc.get_objects()) + repr(sys.argv) + repr(os.listdir('/work'))\n"
        "    return '-'.join(['canary', 'in', 'the', 'tests']) in hay"
    )
    verdict = verdict_on(judge, code, "assert f(1) is False\nassert f(2) == 'canary-in-the-tests'")
    assert [case.status for case in verdict.cases] == ["pass", "wrong"]


@pytest.mark.parametrize(("returned", "expected"), [("True", "1"), ("1", "True"), ("[1, 0]", "[True, False]")])
def test_true_for_one_is_equal_to_python_and_of_low_trust(judge: SandboxJudge, returned: str, expected: str) -> None:
    verdict = verdict_on(judge, f"def f(): return {returned}", f"assert f() == {expected}")
    assert (verdict.verdict, verdict.trust) == ("pass", "low") and "True" in verdict.trust_reason


def test_true_for_one_in_an_example_is_wrong(judge: SandboxJudge) -> None:
    task = Task(prompt="p", entry_point="f", examples=(Example(input=[], output=1),))
    assert judge.judge("def f(): return True", task).verdict == "fail"


def test_doctests_and_expected_exceptions(judge: SandboxJudge) -> None:
    prompt = '>>> f(2)\n4\n>>> f("x")\nTraceback (most recent call last):\nTypeError: no text\n'
    right = "def f(x):\n    if isinstance(x, str):\n        raise TypeError('no text')\n    return x * 2"
    assert judge.judge(right, Task(prompt=prompt)).passed == 2
    assert judge.judge("def f(x): return x * 2", Task(prompt=prompt)).passed == 1


def test_examples_take_lists_objects_and_single_values(judge: SandboxJudge) -> None:
    examples = (
        Example(input=[1, 2], output=3),
        Example(input={"a": 1, "b": 4}, output=5),
    )
    task = Task(prompt="p", entry_point="f", examples=examples)
    assert judge.judge("def f(a, b): return a + b", task).passed == 2
    tuples = Task(prompt="p", entry_point="f", examples=(Example(input=7, output=[7, 7]),))
    assert judge.judge("def f(a): return (a, a)", tuples).verdict == "pass"


def test_no_tests_is_no_pass(judge: SandboxJudge) -> None:
    verdict = judge.judge("def f(): return 1", Task(prompt="p"))
    assert (verdict.verdict, verdict.total, verdict.reason) == ("fail", 0, "no tests")


def test_what_was_used_is_reported(judge: SandboxJudge) -> None:
    code = "def f(x):\n    data = bytearray(80 << 20)\n    return sum(range(2_000_000)) * 0 + x"
    verdict = verdict_on(judge, code, "assert f(1) == 1")
    assert verdict.memory_mib > 80 and verdict.cpu_s > 0.02 and verdict.tier == "A"
