"""The judge agrees with CPython on honest programs, right and wrong, whatever idiom their tests are written in.

One entry in four is tried by default, all of them with `--differential` (`make differential`)."""

from __future__ import annotations

from collections import Counter

import pytest

from crucible.security.base import Sandbox
from tests.security.differential.oracle import cpython, judged
from tests.security.differential.pairs import Entry, differences, entries

ENTRIES = entries()
DIFFERENCES = differences()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "entry" in metafunc.fixturenames:
        chosen = ENTRIES if metafunc.config.getoption("--differential") else ENTRIES[::4]
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
