"""Rewards: what cannot be forged, what each component falls with, and how they make one number."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible import rewards
from crucible.config import RewardSettings, load_settings
from crucible.rewards import COMPONENTS, RewardInput, Rewards, Usage, complexity
from crucible.types import CaseResult, Feedback, FindingKind, Verdict

SETTINGS = load_settings().rewards
CODE = "def double(n):\n    return n + n\n"
REFERENCE = Usage(cpu_s=0.2, memory_mib=20.0, tokens=40)


def verdict(passed: int, total: int, *statuses: str, **changes: Any) -> Verdict:
    cases = tuple(CaseResult(status=status, call="f()") for status in statuses)  # type: ignore[arg-type]
    word = "pass" if 0 < passed == total else "fail"
    return Verdict(verdict=word, reason="", passed=passed, total=total, cases=cases, **changes)


def finding(kind: FindingKind, severity: str, action: str = "allow") -> Feedback:
    return Feedback(kind=kind, severity=severity, message="m", action=action)  # type: ignore[arg-type]


def attempt(**changes: Any) -> RewardInput:
    return RewardInput(**{"code": CODE, "verdict": verdict(4, 4), "completion_tokens": 30, **changes})


def score(settings: RewardSettings = SETTINGS, **changes: Any) -> dict[str, float]:
    return Rewards(settings).score(attempt(**changes))


def weighing(**weights: float) -> RewardSettings:
    """Only these components count."""
    return SETTINGS.model_copy(update={**dict.fromkeys(COMPONENTS, 0.0), **weights})


# ---------------------------------------------------------------- tests


def test_all_tests_earn_the_bonus_and_some_tests_their_share_without_it() -> None:
    assert score()["tests"] == 1.0
    assert score(verdict=verdict(3, 4))["tests"] == 0.375
    assert score(SETTINGS.model_copy(update={"all_tests_bonus": 0.0}), verdict=verdict(3, 4))["tests"] == 0.75
    assert score(SETTINGS.model_copy(update={"all_tests_bonus": 1.0}), verdict=verdict(3, 4))["tests"] == 0.0


@pytest.mark.parametrize(
    "doubtful",
    [
        None,
        verdict(0, 0),
        verdict(4, 4, trust="claimed"),
        verdict(4, 4, trust="low"),
        verdict(3, 4, trust="claimed"),
        verdict(3, 4, "pass", "pass", "pass", "timeout"),
        verdict(3, 4, "pass", "pass", "pass", "killed"),
        verdict(3, 4, "pass", "pass", "pass", "protocol"),
    ],
)
def test_what_is_not_beyond_doubt_earns_no_test_reward(doubtful: Verdict | None) -> None:
    found = score(verdict=doubtful, reference=REFERENCE)
    assert (found["tests"], found["speed"], found["memory"]) == (0.0, 0.0, 0.0)


def test_a_pass_in_number_alone_is_none() -> None:
    forged = verdict(4, 4).model_copy(update={"verdict": "fail"})
    assert score(verdict=forged)["tests"] == 0.5


FINDINGS = st.lists(
    st.builds(finding, st.sampled_from(FindingKind), st.sampled_from(["info", "warning", "error"])), max_size=6
).map(tuple)
CODES = st.sampled_from([CODE, "x=1", "", "# only words", "def f(:", "x = " + "1 + " * 300 + "1", "pass"])
VERDICTS = st.builds(
    lambda passed, more, trust, cpu_s, mib: verdict(passed, passed + more, trust=trust, cpu_s=cpu_s, memory_mib=mib),
    st.integers(0, 200), st.integers(0, 200), st.sampled_from(["full", "claimed", "low"]),
    st.floats(0, 100), st.floats(0, 5000),
)  # fmt: skip
REFERENCES = st.none() | st.builds(
    Usage, cpu_s=st.floats(0, 10), memory_mib=st.floats(0, 500), tokens=st.integers(0, 99)
)
INPUTS = st.builds(
    RewardInput, code=CODES, verdict=st.none() | VERDICTS, findings=FINDINGS,
    completion_tokens=st.integers(0, 5000), reference=REFERENCES,
)  # fmt: skip


@given(INPUTS, st.fixed_dictionaries(dict.fromkeys(COMPONENTS, st.floats(0, 1e6))))
def test_everything_is_between_0_and_1(given_input: RewardInput, weights: dict[str, float]) -> None:
    found = Rewards(SETTINGS.model_copy(update=weights)).score(given_input)
    assert set(found) <= {*COMPONENTS, "total"} and {"tests", "total"} <= set(found)
    assert all(0.0 <= value <= 1.0 for value in found.values())


@given(INPUTS, INPUTS)
def test_as_packaged_a_right_program_is_worth_more_than_any_wrong_one(one: RewardInput, other: RewardInput) -> None:
    scores = [Rewards(SETTINGS).score(each) for each in (one, other)]
    wrong, right = sorted(scores, key=lambda found: found["tests"])
    if wrong["tests"] < 1.0 == right["tests"]:
        assert right["total"] > wrong["total"]


def test_a_worst_case_keeps_that_promise() -> None:
    worst = RewardInput(
        code=f"def f(n):\n    return [{'n or ' * 900}1]",
        verdict=verdict(1, 1, cpu_s=600.0, memory_mib=65536.0),
        findings=(finding(FindingKind.LINT, "error"), finding(FindingKind.SECURITY, "error", "deny")) * 5,
        completion_tokens=100_000,
        reference=Usage(cpu_s=0.01, memory_mib=1.0, tokens=1),
    )
    best = RewardInput(code="pass", verdict=verdict(999, 1000), completion_tokens=1)
    assert Rewards(SETTINGS).score(worst)["total"] > Rewards(SETTINGS).score(best)["total"]


# ---------------------------------------------------------------- the other components


@pytest.mark.parametrize("code", ["def f(:", "", "   \n", "# a comment", "\0", "(" * 300])
def test_what_is_no_program_has_0_in_all_and_is_still_scored(code: str) -> None:
    assert score(code=code, reference=REFERENCE) == dict.fromkeys([*COMPONENTS, "total"], 0.0)


def test_lint_falls_with_findings_by_severity_and_sees_no_others() -> None:
    error, warning = finding(FindingKind.LINT, "error"), finding(FindingKind.LINT, "warning")
    assert score()["lint"] == score(findings=(finding(FindingKind.RUNTIME, "error"),))["lint"] == 1.0
    assert score(findings=(error,))["lint"] == 0.5
    assert score(findings=(warning,))["lint"] == 0.8
    assert score(findings=(error, warning, warning))["lint"] == 0.4


def test_security_falls_with_findings_and_ends_with_a_denial() -> None:
    assert score(findings=(finding(FindingKind.LINT, "error"),))["security"] == 1.0
    severities = [
        score(findings=(finding(FindingKind.SECURITY, of),))["security"] for of in ("info", "warning", "error")
    ]
    assert 1 > severities[0] > severities[1] > severities[2] > 0
    assert score(findings=(finding(FindingKind.SYNTAX, "info", "deny"),))["security"] == 0.0


def test_style_falls_beyond_its_limits() -> None:
    assert score()["style"] == 1.0
    assert score(code=f"x = '{'a' * 194}'")["style"] == 0.75
    branchy = "def f(n):\n" + "".join(f"    if n == {i}:\n        return {i}\n" for i in range(19))
    assert score(code=branchy)["style"] == 0.75


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("x = 1", 1),
        ("def f():\n    pass", 1),
        (
            "def f(a):\n    if a:\n        return 1\n    elif a is None:\n        return 2\n    else:\n        return 3",
            3,
        ),
        ("def f(a):\n    return 1 if a and a > 1 or a == 3 else 0", 4),
        ("def f(a):\n    for x in a:\n        while x:\n            x -= 1", 3),
        ("def f(a):\n    return [x for x in a if x if x > 1 for y in x]", 5),
        ("def f():\n    try:\n        g()\n    except A:\n        pass\n    except B:\n        pass", 3),
        ("def f(a):\n    match a:\n        case 1:\n            pass\n        case _:\n            pass", 3),
        ("def f(a):\n    def g(b):\n        return b or 1\n    return g if a else f", 2),
        ("class A:\n    async def f(self, xs):\n        async for x in xs:\n            yield x", 2),
        ("for a in b:\n    if a:\n        pass\ndef f():\n    pass", 3),
    ],
)
def test_complexity_is_mccabes(code: str, count: int) -> None:
    assert complexity(ast.parse(code)) == count


@pytest.mark.parametrize("component", ["speed", "memory"])
def test_economy_is_measured_against_a_reference(component: str) -> None:
    def of(cpu_s: float, memory_mib: float, reference: Usage | None = REFERENCE) -> float | None:
        return score(verdict=verdict(2, 2, cpu_s=cpu_s, memory_mib=memory_mib), reference=reference).get(component)

    assert of(0.1, 10.0) == of(0.2, 20.0) == 1.0
    assert of(0.4, 40.0) == 0.5
    assert of(20.0, 2000.0) == pytest.approx(0.01)
    assert of(0.2, 20.0, None) is of(0.2, 20.0, Usage(tokens=4)) is None
    assert of(0.0, 0.0) is None  # not measured
    wrong = verdict(1, 2, cpu_s=0.01, memory_mib=1.0)
    assert score(verdict=wrong, reference=REFERENCE)[component] == 0.0


def test_what_no_clock_tells_apart_costs_nothing() -> None:
    found = score(verdict=verdict(1, 1, cpu_s=0.01, memory_mib=1.0), reference=Usage(cpu_s=0.001, memory_mib=0.01))
    assert (found["speed"], found["memory"]) == (1.0, 1.0)


def test_length_is_measured_against_the_reference_else_the_limit() -> None:
    assert score(completion_tokens=512)["length"] == 1.0
    assert score(completion_tokens=1024)["length"] == 0.5
    assert score(completion_tokens=80, reference=REFERENCE)["length"] == 0.5
    assert score(completion_tokens=80, reference=Usage(cpu_s=1.0))["length"] == 1.0
    assert score(completion_tokens=0, code=f"x = '{'a' * 4090}'")["length"] == 0.5  # 4096 characters
    assert rewards.length(attempt(code=" \n"), SETTINGS) == 0.0


# ---------------------------------------------------------------- the total


def test_the_total_is_the_mean_by_weight_of_what_is_known() -> None:
    lint = (finding(FindingKind.LINT, "error"),)
    assert score(weighing(tests=1, lint=1), findings=lint)["total"] == 0.75
    assert score(weighing(tests=3, lint=1), findings=lint)["total"] == 0.875
    assert score(weighing(tests=1, speed=5))["total"] == 1.0  # no reference: speed is left out
    slow = verdict(4, 4, cpu_s=0.4)
    assert score(weighing(tests=1, speed=3), verdict=slow, reference=REFERENCE)["total"] == 0.625
    assert score(weighing(speed=1))["total"] == 0.0  # nothing is known


def test_every_component_has_a_weight_and_every_weight_a_component() -> None:
    assert list(SETTINGS.weights) == list(COMPONENTS)


def test_a_component_of_weight_0_is_still_told() -> None:
    assert set(score(weighing(tests=1))) == set(score()) == {*COMPONENTS, "total"} - {"speed", "memory"}
