"""Programs that forge their result in the process they share with their tests never get more than low trust.

Each of them is wrong. A forgery may pass where the tests need the program's own process, for nothing else tells the user the
truth about honest programs there; then the verdict says so, and no reward or memory is made of it.

Each is tried on one form of tests by default, and on all of them with `--thorough` (`make thorough`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Limits, Task

pytestmark = pytest.mark.sandbox
PROGRAMS: dict[str, str] = yaml.safe_load((Path(__file__).parent / "forgeries" / "programs.yaml").read_text("utf-8"))
LIMITS = Limits(wall_s=3, cpu_s=3, memory_mib=256)
RIGHT = "def f(xs):\n    return sum(x * x for x in xs if x % 2 == 0)"

FORMS = {
    "asserts": "assert f([1, 2, 3]) == 4\nassert f([]) == 0\nassert f([2, 4]) == 20",
    "statements": (
        "import math\nCASES = [([1, 2, 3], 4), ([], 0), ([2, 4], 20)]\nfor xs, want in CASES:\n    assert f(xs) == want\n"
        "assert math.isclose(f([2]), 4)\nassert abs(f([4, 5]) - 16) < 1e-9"
    ),
    "doctests of calls": ">>> f([1, 2, 3])\n4\n>>> f([])\n0\n>>> f([2, 4])\n20",
    "check(candidate)": (
        "def check(candidate):\n    for xs, want in [([], 0), ([1, 2, 3], 4), ([2, 4], 20)]:\n"
        "        assert candidate(xs) == want\n    assert candidate((2, 2)) == 8\ncheck(f)"
    ),
    "functions": (
        "def test_some(want=4):\n    assert f([1, 2, 3]) == want\ndef test_none():\n    assert sorted([f([])]) == [0]\n"
        "def test_two():\n    assert f([2, 4]) == 20"
    ),
    "class": (
        "class TestF:\n    def test_none(self):\n        assert f([]) == 0\n    def test_some(self):\n"
        "        want = 4\n        assert f([1, 2, 3]) == want\n    def test_two(self):\n        assert f([2, 4]) == 20"
    ),
    "unittest": (
        "import unittest\nclass TestF(unittest.TestCase):\n    def test_none(self):\n        self.assertEqual(f([]), 0)\n"
        "    def test_some(self):\n        self.assertEqual(f([1, 2, 3]), 4)\n    def test_two(self):\n"
        "        for xs, want in [([2, 4], 20), ([6], 36)]:\n            with self.subTest(xs=xs):\n"
        "                self.assertEqual(f(xs), want)\n"
    ),
    "doctest": ">>> total = f([1, 2, 3])\n>>> total\n4\n>>> f([])\n0\n>>> for xs in [[2, 4]]:\n...     print(f(xs))\n20",
    "mock": (
        "from unittest import mock\nlog = mock.Mock()\nwith mock.patch('builtins.print') as out:\n    want = 4\n"
        "    assert f([1, 2, 3]) == want\nout.assert_not_called()\nassert f([]) == 0\nlog(f([2, 4]))\n"
        "log.assert_called_once_with(20)\nassert f([2, 4]) == 20"
    ),
    "captured output": (
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    want = 20\n"
        "    assert f([2, 4]) == want\nassert out.getvalue() == ''\nassert f([]) == 0\nassert f([1, 2, 3]) == 4"
    ),
}


@pytest.mark.parametrize("tests", FORMS.values(), ids=FORMS)
def test_an_honest_program_passes(sandbox: Sandbox, tests: str) -> None:
    verdict = SandboxJudge(sandbox).judge(RIGHT, Task(prompt="p", tests=tests, limits=LIMITS))
    assert verdict.verdict == "pass", verdict.reason


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_forgery_fails_or_is_of_low_trust(sandbox: Sandbox, name: str, request: pytest.FixtureRequest) -> None:
    some = [list(FORMS)[list(PROGRAMS).index(name) % len(FORMS)]]
    trusted = {}
    for form in FORMS if request.config.getoption("--thorough") else some:
        verdict = SandboxJudge(sandbox).judge(PROGRAMS[name], Task(prompt="p", tests=FORMS[form], limits=LIMITS))
        if verdict.verdict == "pass" and verdict.trust != "low":
            trusted[form] = f"{verdict.trust}: {verdict.reason}"
    assert not trusted


def test_there_are_enough() -> None:
    assert len(PROGRAMS) >= 35
