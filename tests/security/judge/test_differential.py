"""The judge agrees with CPython on honest programs, right and wrong, whatever idiom their tests are written in.

One entry in six is tried by default, all of them with `--thorough` (`make thorough`)."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.types import Task
from tests.security.judge.differential.oracle import cpython, judged
from tests.security.judge.differential.pairs import Entry, differences, entries

ENTRIES = entries()
DIFFERENCES = differences()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "entry" in metafunc.fixturenames:
        chosen = ENTRIES if metafunc.config.getoption("--thorough") else ENTRIES[::6]
        metafunc.parametrize("entry", chosen, ids=[f"{entry.group}: {entry.idiom}" for entry in chosen])


@pytest.mark.sandbox
def test_the_judge_agrees_with_cpython(sandbox: Sandbox, entry: Entry) -> None:
    found = []
    for pair in entry.pairs():
        python, ours = cpython(sandbox, pair), judged(sandbox, pair)
        assert (python.verdict == "pass") == pair.right, f"{pair.id} is labelled wrongly: {python.reason}"
        expected = DIFFERENCES[pair.id].verdict if pair.id in DIFFERENCES else python.verdict
        if ours.verdict != expected:
            found.append(f"{pair.id}: CPython {python.verdict}, judge {ours.verdict}: {ours.reason}")
    assert not found, "\n".join(found)


def test_there_are_enough_pairs_and_few_differ() -> None:
    pairs = [pair for entry in ENTRIES for pair in entry.pairs()]
    counts = Counter(pair.right for pair in pairs)
    assert len(pairs) >= 800 and min(counts.values()) >= 350, counts
    assert len({pair.id for pair in pairs}) == len(pairs), "two entries of a group have the same name"
    assert all(entry.right and entry.wrong for entry in ENTRIES), "a test that nothing passes or fails proves little"
    assert DIFFERENCES.keys() <= {pair.id for pair in pairs}
    assert len(DIFFERENCES) <= 0.02 * len(pairs)


def written(value: object) -> str:
    """An expression for a plain value, infinity and NaN among its parts."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple | set | frozenset):
        inside = ", ".join(map(written, value))
        if isinstance(value, tuple):
            return f"({inside},)" if value else "()"
        return f"{type(value).__name__}([{inside}])" if isinstance(value, set | frozenset) else f"[{inside}]"
    return repr(value)


# Few values of many types, for two of them to be equal often.
PLAIN = st.sampled_from(
    [None, False, True, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, 0.5, float("inf"), float("nan"), 1j, "", "a", "1", b"", b"a"]
)
VALUES = st.recursive(
    PLAIN,
    lambda inside: (
        st.lists(inside, max_size=2)
        | st.lists(inside, max_size=2).map(tuple)
        | st.sets(PLAIN, max_size=2)
        | st.frozensets(PLAIN, max_size=2)
        | st.dictionaries(PLAIN, inside, max_size=2)
    ),
    max_leaves=4,
)
OPERATORS = st.sampled_from(["==", "==", "==", "!=", "in", "not in", "<", ">="])
COMPARISONS = st.lists(st.tuples(VALUES, OPERATORS, VALUES), min_size=6, max_size=12)


def holds(comparison: str) -> bool:
    try:
        return bool(eval(comparison))
    except TypeError:
        return False


@pytest.mark.sandbox
@given(COMPARISONS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_comparisons_of_plain_values_come_out_as_in_python(
    sandbox: Sandbox, comparisons: list[tuple[object, str, object]]
) -> None:
    program = "def f(n):\n    return [" + ", ".join(written(left) for left, _, _ in comparisons) + "][n]"
    tests = [f"assert f({n}) {operator} {written(right)}" for n, (_, operator, right) in enumerate(comparisons)]
    verdict = SandboxJudge(sandbox).judge(program, Task(prompt="Write it.", tests="\n".join(tests)))
    wanted = [holds(f"{written(left)} {operator} {written(right)}") for left, operator, right in comparisons]
    assert [case.status == "pass" for case in verdict.cases] == wanted, list(zip(tests, verdict.cases, strict=False))
