"""The published sets in ../shared/data, where they are: they load, and their reference solutions pass as loaded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crucible.errors import InputError
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool

DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLE = 15
NATIVE = {
    "dev": {
        "BigCodeBench-stdlib.jsonl.gz": 258,
        "ClassEval_data.json.gz": 41,
        "LeetCodeDataset-v0.2.0-test.dev.jsonl.gz": 191,
        "LeetCodeDataset-v0.3.0-test.dev.jsonl.gz": 197,
        "MBPP-in-HumanEval-format.jsonl.gz": 67,
        "MbppPlus.jsonl.gz": 33,
        "cruxeval.jsonl.gz": 800,
        "mbpp.jsonl.gz": 73,
    },
    "open": {
        "LeetCodeDataset-v0.2.0-train.open.jsonl.gz": 1885,
        "MBPP-in-HumanEval-format.jsonl.gz": 289,
        "MbppPlus.jsonl.gz": 95,
        "mbpp.jsonl.gz": 310,
        "puzzles.json.gz": 920,
    },
}

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no problem sets at {DATA}: they are not part of the project"
)


def spread(name: str) -> list[Problem]:
    problems = load(DATA / name).problems
    return list(problems[:: max(1, len(problems) // SAMPLE)][:SAMPLE])


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in NATIVE.items() for name in names])
def test_the_authors_own_files_load(part: str, name: str) -> None:
    problems = load(DATA / part / "native" / name).problems
    assert len(problems) == NATIVE[part][name]
    assert all(problem.hidden for problem in problems)


@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.jsonl.gz")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_common_form_loads(path: Path) -> None:
    problems = load(path).problems
    assert problems and all(problem.origin.startswith(f"{path}, line ") for problem in problems)


def test_prompts_without_a_form_are_refused_by_field() -> None:
    with pytest.raises(InputError, match=r"entry 1: `prompt` .* is missing"):
        load(DATA / "dev" / "native" / "interpreter.json.gz")


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "name",
    [
        "dev/mbpp.jsonl.gz",
        "dev/leetcode.jsonl.gz",
        "dev/exercism_python.jsonl.gz",
        "dev/native/LeetCodeDataset-v0.3.0-test.dev.jsonl.gz",
        "dev/native/MBPP-in-HumanEval-format.jsonl.gz",
        "dev/native/mbpp.jsonl.gz",
    ],
)
def test_reference_solutions_pass_what_scores_and_what_is_visible(name: str, sandbox: Sandbox) -> None:
    with WarmPool(sandbox) as pool, ThreadPoolExecutor(2) as threads:
        judge = SandboxJudge(pool)

        def failed(problem: Problem) -> list[str]:
            verdicts = [judge.judge(problem.solutions[0], problem.scored)]
            if problem.task.tests or problem.task.examples:
                verdicts.append(judge.judge(problem.solutions[0], problem.task))
            return [f"{problem.id}: {verdict.reason}" for verdict in verdicts if verdict.verdict != "pass"]

        assert [reason for reasons in threads.map(failed, spread(name)) for reason in reasons] == []
