"""What a rule finds in a program, and what it does not take for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.languages.python.constraints import check, problem_with, sentence
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Rule, Task

HOLDS = [
    ("for", "def f(x):\n    for i in x:\n        pass\n"),
    ("while", "def f(x):\n    while x:\n        x -= 1\n"),
    ("loop", "def f(x):\n    while x:\n        x -= 1\n"),
    ("comprehension", "def f(x):\n    return {i for i in x}\n"),
    ("lambda", "f = lambda x: x\n"),
    ("class", "class A:\n    pass\n"),
    ("import", "from math import pi\n"),
    ("import re", "import re\n"),
    ("import os", "import os.path\n"),
    ("if", "def f(x):\n    return 1 if x else 2\n"),
    ("try", "try:\n    pass\nfinally:\n    pass\n"),
    ("generator", "def f(x):\n    yield x\n"),
    ("recursion", "def f(x):\n    return x and f(x - 1)\n"),
    ("recursion", "def f(x):\n    return g(x)\ndef g(x):\n    return x and f(x - 1)\n"),
    ("recursion", "class A:\n    def f(self, x):\n        return x and self.f(x - 1)\n"),
    ("call sorted", "def f(x):\n    return sorted(x)\n"),
    ("call .sort", "def f(x):\n    x.sort()\n"),
    ("call math.sqrt", "import math\ndef f(x):\n    return math.sqrt(x)\n"),
    ("operator +", "def f(x):\n    return x + 1\n"),
    ("operator and", "def f(x):\n    return x and 1\n"),
    ("literal 42", "def f(x):\n    return x - 42\n"),
    ("literal 'a'", "def f(x):\n    return x + 'a'\n"),
    (r"pattern \bglobal\b", "def f(x):\n    global y\n    y = x\n"),
    (r"pattern sorted\(x\)\[0\]$", "def f(x):\n    '''of\n    two lines'''\n    return sorted(x)[0]"),
]
LACKS = [
    ("for", "def f(x):\n    # for i in x\n    return 'for'\n"),
    ("recursion", "def f(x):\n    return g(x)\ndef g(x):\n    return x\n"),
    ("call sorted", "def f(sorted):\n    return sorted\n"),
    ("call .sort", "def f(x):\n    return x.sort\n"),
    ("import re", "import regex\n"),
    ("literal 1", "def f(x):\n    return True\n"),
    (r"pattern \bwhile\b", "def f(x):\n    '''while'''\n    return x  # while\n"),
]


@pytest.mark.parametrize(("what", "code"), HOLDS, ids=[f"{what}-{number}" for number, (what, _) in enumerate(HOLDS)])
def test_what_is_there_is_found(what: str, code: str) -> None:
    required, forbidden = check(code, (Rule(kind="require", what=what), Rule(kind="forbid", what=what)))
    assert (required.status, forbidden.status) == ("pass", "constraint")
    assert problem_with(Rule(kind="require", what=what)) is None


@pytest.mark.parametrize(("what", "code"), LACKS, ids=[what for what, _ in LACKS])
def test_what_only_looks_like_it_is_not_it(what: str, code: str) -> None:
    required, forbidden = check(code, (Rule(kind="require", what=what), Rule(kind="forbid", what=what)))
    assert (required.status, forbidden.status) == ("constraint", "pass")


@pytest.mark.parametrize("what", ["", "frob", "for x", "call", "operator §", "pattern", "pattern ("])
def test_a_rule_that_cannot_be_read_is_said(what: str) -> None:
    assert problem_with(Rule.model_construct(kind="require", what=what))


def test_a_program_that_does_not_parse_breaks_every_rule() -> None:
    rules = (Rule(kind="require", what="for"), Rule(kind="forbid", what="for"))
    assert [case.status for case in check("def f(:", rules)] == ["constraint", "constraint"]


@given(st.text(max_size=60))
def test_no_program_breaks_the_check(code: str) -> None:
    rules = tuple(Rule(kind="forbid", what=what) for what in ("for", "recursion", "call f", "pattern x"))
    assert all(case.status in ("pass", "constraint") for case in check(code, rules))


def test_a_rule_reads_as_a_sentence() -> None:
    assert sentence(Rule(kind="forbid", what="call sorted")) == "The program must not contain a call of sorted."


@pytest.mark.sandbox
def test_a_right_program_that_breaks_a_rule_fails(sandbox: Sandbox) -> None:
    task = Task(
        prompt="Sum.", entry_point="f", tests="assert f([1, 2]) == 3", rules=(Rule(kind="forbid", what="call sum"),)
    )
    judge = SandboxJudge(sandbox)
    broken = judge.judge("def f(x):\n    return sum(x)\n", task)
    assert (broken.verdict, broken.passed, broken.total) == ("fail", 1, 2)
    assert broken.reason == "constraint: The program must not contain a call of sum."
    assert judge.judge("def f(x):\n    return x[0] + x[1]\n", task).verdict == "pass"


@pytest.mark.sandbox
def test_rules_alone_are_no_tests(sandbox: Sandbox) -> None:
    task = Task(prompt="Anything.", rules=(Rule(kind="require", what="for"),))
    assert SandboxJudge(sandbox).judge("for i in ():\n    pass\n", task).verdict == "fail"


@pytest.mark.sandbox
def test_the_preamble_runs_before_the_program_and_keeps_its_lines(sandbox: Sandbox) -> None:
    task = Task(prompt="Root.", entry_point="f", tests="assert f(4) == 2", preamble="from math import isqrt\nx = 1\n")
    judge = SandboxJudge(sandbox)
    assert (
        judge.judge("from __future__ import annotations\ndef f(n: Any):\n    return isqrt(n)\n", task).verdict == "pass"
    )
    failed = judge.judge("def f(n):\n    return isqrt(n) / 0\n", task)
    assert "(line 2)" in failed.cases[0].message
