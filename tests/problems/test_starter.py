"""The set that is shipped: what is right passes, what is wrong fails, in the sandbox, by the judge."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.security.base import Sandbox
from crucible.security.judge.judge import SandboxJudge

PROBLEMS = load("starter").problems


def test_there_are_eighty_or_more_over_all_levels() -> None:
    assert len(PROBLEMS) >= 80
    assert set(Counter(problem.task.difficulty for problem in PROBLEMS)) == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.id)
def test_every_problem_is_whole(problem: Problem) -> None:
    assert problem.task.tests or problem.task.examples
    assert problem.hidden
    assert problem.solutions and len(problem.mutants) >= 3 and len(problem.hints) >= 2


@pytest.mark.sandbox
def test_every_reference_passes_and_every_mutant_fails(sandbox: Sandbox) -> None:
    judge = SandboxJudge(sandbox)

    def complaints(problem: Problem) -> list[str]:
        task = problem.hidden.task(problem.task)
        wrong = []
        for number, code in enumerate(problem.solutions, 1):
            for judged in (task, problem.task):
                verdict = judge.judge(code, judged)
                if verdict.verdict != "pass" or verdict.trust != "full":
                    wrong.append(f"{problem.id}: solution {number}: {verdict.reason}, trust {verdict.trust}")
        for number, code in enumerate([*problem.mutants, ""], 1):
            verdict = judge.judge(code, task)
            if verdict.verdict == "pass":
                wrong.append(f"{problem.id}: mutant {number} passes the hidden tests")
            elif code and "does not load" in verdict.reason:
                wrong.append(f"{problem.id}: mutant {number} is no program: {verdict.reason}")
        return wrong

    with ThreadPoolExecutor(2) as threads:
        assert [text for found in threads.map(complaints, PROBLEMS) for text in found] == []
