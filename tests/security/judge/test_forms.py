"""Answers that are not one value of one call: printed answers, several right answers, answers within a tolerance."""

from __future__ import annotations

import pytest

from crucible.errors import InputError
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Example, Limits, Task, Verdict

pytestmark = pytest.mark.sandbox
LIMITS = Limits(wall_s=1, cpu_s=1)
SUM = "print(sum(map(int, input().split())))"


def printed(sandbox: Sandbox, code: str, *pairs: tuple[str, str], tolerance: float | None = None) -> Verdict:
    examples = tuple(Example(input=one, output=other) for one, other in pairs)
    return SandboxJudge(sandbox).judge(code, Task(prompt="p", examples=examples, limits=LIMITS, tolerance=tolerance))


@pytest.mark.parametrize(
    ("code", "statuses"),
    [
        (SUM, ["pass", "pass"]),
        ("print(3)", ["pass", "wrong"]),
        ("print('3 ')\nprint()", ["pass", "wrong"]),
        ("1 / 0", ["error", "error"]),
        ("while True: pass", ["timeout", "timeout"]),
        ("", ["wrong", "wrong"]),
        (SUM + "\nraise SystemExit(1)", ["error", "error"]),
    ],
)
def test_a_program_is_judged_by_what_it_prints(sandbox: Sandbox, code: str, statuses: list[str]) -> None:
    verdict = printed(sandbox, code, ("1 2\n", "3\n"), ("4 5\n", "9"))
    assert [case.status for case in verdict.cases] == statuses


def test_printed_numbers_may_differ_within_the_tolerance(sandbox: Sandbox) -> None:
    assert printed(sandbox, "print(1 / 3, 'm')", ("", "0.333333 m"), tolerance=1e-5).verdict == "pass"
    assert printed(sandbox, "print(1 / 3, 'm')", ("", "0.33 m"), tolerance=1e-5).verdict == "fail"


@pytest.mark.parametrize(
    ("tolerance", "answer", "verdict"),
    [(1e-6, "0.3", "pass"), (None, "0.1 + 0.2", "fail"), (1e-6, "0.1 + 0.2", "pass"), (1e-6, "True", "fail")],
)
def test_floats_are_right_within_the_tolerance(sandbox: Sandbox, tolerance: float, answer: str, verdict: str) -> None:
    examples = (Example(input=[], output=[{"x": 0.3}]),)
    task = Task(prompt="p", entry_point="f", examples=examples, limits=LIMITS, tolerance=tolerance)
    assert SandboxJudge(sandbox).judge(f"def f():\n    return [{{'x': {answer}}}]", task).verdict == verdict


MOCKED = """
import unittest
from unittest import mock
from reader import first
class T(unittest.TestCase):
    @mock.patch("builtins.open", mock.mock_open(read_data="one\\ntwo"))
    def test_first(self):
        self.assertEqual(first("any"), "one\\n")
"""
READS = "def first(path):\n    with open(path) as file:\n        return file.readline()"


def mocked(sandbox: Sandbox, code: str) -> Verdict:
    return SandboxJudge(sandbox).judge(code, Task(prompt="p", tests=MOCKED, limits=LIMITS))


def test_tests_that_mock_share_the_programs_process_and_say_so(sandbox: Sandbox) -> None:
    verdict = mocked(sandbox, READS)
    assert (verdict.verdict, verdict.trust) == ("pass", "low")


@pytest.mark.parametrize(
    "code",
    [
        "def first(path):\n    return 'two'",
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef first(path):\n    return 0",
        "import os\ndef first(path):\n    os._exit(0)",
        "import sys\nm = sys.modules['__main__']\nm.__dict__['report'] = lambda pipe, *a: [pipe.write({'case': 0, 'ok': True}),"
        " pipe.write({'done': True})]\ndef first(path):\n    return 0",
    ],
    ids=["wrong", "the asserts replaced", "an exit", "the report replaced"],
)
def test_such_a_program_fails_where_it_is_wrong_or_passes_without_its_functions(sandbox: Sandbox, code: str) -> None:
    assert mocked(sandbox, code).verdict == "fail"


FACTORS = (
    "def check(args, kwargs, expected, actual):\n    a, b = actual\n    return a * b == args[0] and 1 < a < args[0]"
)


@pytest.mark.parametrize(
    ("answer", "verdict"), [("(3, 4)", "pass"), ("[6, 2]", "pass"), ("(1, 12)", "fail"), ("(5, 5)", "fail")]
)
def test_a_checker_decides_where_several_answers_are_right(sandbox: Sandbox, answer: str, verdict: str) -> None:
    task = Task(
        prompt="p", entry_point="f", examples=(Example(input=[12], output=None),), checker=FACTORS, limits=LIMITS
    )
    assert SandboxJudge(sandbox).judge(f"def f(n):\n    return {answer}", task).verdict == verdict


def test_a_checker_never_meets_the_programs_objects(sandbox: Sandbox) -> None:
    checker = "def check(args, kwargs, expected, actual):\n    return True"
    task = Task(prompt="p", entry_point="f", examples=(Example(input=[1], output=1),), checker=checker, limits=LIMITS)
    assert SandboxJudge(sandbox).judge("def f(n):\n    return object()", task).verdict == "fail"


@pytest.mark.parametrize("checker", ["def check(", "def other(): pass", "def check(*a):\n    1 / 0"])
def test_a_broken_checker_is_the_tasks_fault(sandbox: Sandbox, checker: str) -> None:
    task = Task(prompt="p", entry_point="f", examples=(Example(input=[1], output=1),), checker=checker, limits=LIMITS)
    with pytest.raises(InputError, match="checker"):
        SandboxJudge(sandbox).judge("def f(n):\n    return n", task)


STREAMS = {
    "exit": "print(1)\nexit()",
    "quit": "print(1)\nquit()",
    "its file's name": "import os\nprint(1 if os.path.basename(__file__) else 0)",
    "stdin by name": "print(open('/dev/stdin').read().strip())",
    "stdin by its number": "print(open('/proc/self/fd/0').read().strip())",
    "stdin by pathlib": "import pathlib\nprint(pathlib.Path('/dev/stdin').read_text().strip())",
    "a thread with a large stack": (
        "import sys, threading\nthreading.stack_size(512 << 20)\nsys.setrecursionlimit(10 ** 6)\n"
        "def deep(n):\n    return 1 if n == 0 else deep(n - 1)\n"
        "t = threading.Thread(target=lambda: print(deep(20000)))\nt.start()\nt.join()"
    ),
    "its own lines": "import inspect\ndef f():\n    return 1\nprint(len(inspect.getsource(f).splitlines()) - 1)",
}


@pytest.mark.parametrize("code", STREAMS.values(), ids=STREAMS)
def test_a_program_finds_what_python_always_has(sandbox: Sandbox, code: str) -> None:
    verdict = printed(sandbox, code, ("1\n", "1"))
    assert verdict.verdict == "pass", verdict.cases


@pytest.mark.parametrize(
    ("expected", "said", "verdict"),
    [
        ("1000000", "1000001", "fail"),
        ("1e6", "1000000.5", "pass"),
        ("10", "1_0", "fail"),
        ("nan", "NaN", "pass"),
        ("inf", "Infinity", "pass"),
        ("0.5 m", "0.5000001 m", "pass"),
        ("7", "+7", "pass"),
        ("1", "one", "fail"),
        ("12345678901234567890", "12345678901234567891", "fail"),
    ],
)
def test_the_tolerance_is_for_numbers_that_are_no_integers(
    sandbox: Sandbox, expected: str, said: str, verdict: str
) -> None:
    assert printed(sandbox, f"print({said!r})", ("", expected), tolerance=1e-6).verdict == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1\n2", "pass"),
        ("1\r\n2\r\n", "pass"),
        ("1\r2", "fail"),
        ("1\x0c2", "fail"),
        ("1\x852", "fail"),
        ("1\u20282", "fail"),
    ],
)
def test_lines_end_with_newlines_alone(sandbox: Sandbox, text: str, verdict: str) -> None:
    code = f"import sys\nsys.stdout.buffer.write({text.encode()!r})"
    assert printed(sandbox, code, ("", "1\n2\n")).verdict == verdict


def test_a_long_expected_output_makes_room_for_itself(sandbox: Sandbox) -> None:
    assert printed(sandbox, "print('12345\\n' * 400000)", ("", "12345\n" * 400_000)).verdict == "pass"


def test_the_programs_future_imports_come_before_the_preamble(sandbox: Sandbox) -> None:
    code = "from __future__ import annotations\nprint(math.floor(1.5))"
    task = Task(prompt="p", preamble="import math", examples=(Example(input="", output="1"),), limits=LIMITS)
    assert SandboxJudge(sandbox).judge(code, task).verdict == "pass"
