"""The whole loop over the scripted engine, everything else real: sandbox, judge, LanceDB, LangGraph, SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible.app import Crucible
from crucible.errors import InputError
from crucible.models.scripted import ScriptedModel
from crucible.security.sandbox import probe
from crucible.types import Event, Example, HiddenTests, Task
from tests.conftest import DOUBLE, RIGHT, WRONG, Solver, settings_at

pytestmark = pytest.mark.sandbox


def test_a_right_first_answer_is_solved_in_one_cycle(solver: Solver) -> None:
    episode = solver(RIGHT).solve(DOUBLE)
    assert (episode.status, episode.cycles, len(episode.attempts)) == ("solved", 1, 1)
    assert episode.verdict is not None and episode.verdict.passed == episode.verdict.total == 2
    assert "return n + n" in episode.code


def test_a_near_miss_is_repaired(solver: Solver) -> None:
    episode = solver(WRONG, '{"cause": "factor", "fix": "use two"}', RIGHT, RIGHT, RIGHT, RIGHT).solve(DOUBLE)
    assert episode.status == "solved"
    assert episode.diagnoses[0].cause == "factor"
    repaired = next(attempt for attempt in episode.attempts if attempt.solved)
    assert repaired.strategy == "repair"
    conversation = episode.prompts[repaired.prompt_fingerprint]
    assert any("double(2)" in message.content and "6" in message.content for message in conversation)


def test_feedback_names_the_failing_call_with_expected_and_actual(solver: Solver) -> None:
    episode = solver(WRONG, cycles={"max_cycles": 1}).solve(DOUBLE)
    (finding,) = [finding for finding in episode.feedback if finding.kind == "wrong-answer"]
    assert (finding.call, finding.expected, finding.actual) == ("double(2)", "4", "6")


def test_cycles_bound_the_loop(solver: Solver) -> None:
    episode = solver(WRONG, cycles={"max_cycles": 3, "strategy": "resample"}).solve(DOUBLE)
    assert (episode.status, episode.cycles, episode.stop) == ("unsolved", 3, "budget: 3 cycles used")


def test_generated_tokens_bound_the_loop(solver: Solver) -> None:
    app = solver(WRONG, cycles={"max_total_tokens": 60, "strategy": "resample", "max_cycles": 50})
    episode = app.solve(DOUBLE)
    assert episode.tokens.completion <= 60
    assert episode.stop.startswith("budget: 60 generated tokens")


def test_direct_is_one_greedy_sample(solver: Solver) -> None:
    episode = solver(WRONG, cycles={"strategy": "direct"}).solve(DOUBLE)
    assert [attempt.temperature for attempt in episode.attempts] == [0.0]


def test_the_same_program_is_not_run_twice(solver: Solver) -> None:
    app = solver(WRONG, cycles={"max_cycles": 3, "strategy": "resample"})
    verdicts: list[Event] = []
    episode = app.solve(DOUBLE, watch=lambda event: verdicts.append(event) if event.kind == "verdict" else None)
    assert len(episode.attempts) > 1
    assert len(verdicts) == 1
    assert all(attempt.duplicate_of == "1.1" for attempt in episode.attempts[1:])


def test_syntax_errors_never_reach_the_sandbox(solver: Solver) -> None:
    episode = solver("```python\ndef double(n:\n```", cycles={"max_cycles": 1}).solve(DOUBLE)
    assert episode.attempts[0].verdict is None
    assert episode.attempts[0].findings[0].kind == "syntax"


def test_without_approval_nothing_runs(solver: Solver) -> None:
    episode = solver(RIGHT, cycles={"approve": "ask"}).solve(DOUBLE)
    assert episode.status == "refused"
    assert episode.attempts[0].verdict is None and episode.code


def test_never_is_refused_and_recorded(solver: Solver) -> None:
    episode = solver(RIGHT, cycles={"approve": "never"}).solve(DOUBLE)
    assert episode.approval is not None and not episode.approval.granted and episode.approval.mode == "never"


def test_without_tests_nothing_is_called_solved(solver: Solver) -> None:
    episode = solver(RIGHT).solve(Task(prompt="Write a function that doubles a number."))
    assert (episode.status, episode.cycles, episode.stop) == ("unverified", 1, "no tests to check against")


def test_examples_in_the_prompt_are_tests(solver: Solver) -> None:
    episode = solver(RIGHT).solve(Task(prompt="def double(n):\n    '''Twice n.\n\n    >>> double(4)\n    8\n    '''"))
    assert episode.status == "solved"


def test_hidden_cases_score_the_run_and_are_shown_to_no_model(solver: Solver) -> None:
    hidden = HiddenTests(examples=(Example(input=[21], output=42), Example(input=[1], output=31337)))
    episode = solver(RIGHT).solve(DOUBLE, hidden=hidden)
    assert episode.status == "solved"
    assert episode.hidden_verdict is not None and episode.hidden_verdict.passed == 1
    assert (episode.rewards["tests"], episode.rewards["hidden_tests"]) == (1.0, 0.25)
    assert {"syntax", "lint", "style", "security", "length", "total"} < set(episode.rewards)
    assert all("31337" not in message.content for prompt in episode.prompts.values() for message in prompt)


def test_every_remembered_program_that_passed_what_it_saw_is_judged_by_the_hidden_cases(solver: Solver) -> None:
    gaming = "```python\ndef double(n):\n    return {2: 4, 5: 10}.get(n, 0)\n```"
    app = solver(gaming, RIGHT, WRONG, RIGHT, cycles={"greedy_first": False, "samples": 4})
    episode = app.solve(DOUBLE, hidden=HiddenTests(examples=(Example(input=[21], output=42),)))
    judged = [each.hidden_verdict and each.hidden_verdict.verdict for each in episode.attempts]
    assert judged == ["fail", "pass", None, "pass"]
    assert app.memory is not None and app.memory.get(episode.episode_id) == episode
    unkept = solver(RIGHT, tools={"dataset_logging": False}).solve(
        DOUBLE, hidden=HiddenTests(tests="assert double(1) == 2")
    )
    assert unkept.attempts[0].hidden_verdict is None


def test_a_solved_episode_is_an_example_for_the_next_like_task(solver: Solver) -> None:
    solver(RIGHT).solve(DOUBLE)
    again = solver(RIGHT).solve(DOUBLE.model_copy(update={"prompt": "Write double(n) that returns twice n."}))
    assert len(again.retrieved) == 1
    (prompt,) = again.prompts.values()
    assert "def double" in prompt[1].content and prompt[1].role == "assistant"


def test_unlike_episodes_are_no_examples(solver: Solver) -> None:
    solver(RIGHT).solve(DOUBLE)
    other = Task(
        prompt="Parse an ISO date string and return the weekday name.", tests="assert day('2026-11-21') == 'Saturday'"
    )
    assert solver(RIGHT, cycles={"max_cycles": 1}).solve(other).retrieved == ()


def test_memory_can_be_switched_off(solver: Solver) -> None:
    solver(RIGHT).solve(DOUBLE)
    assert solver(RIGHT, tools={"memory": False}).solve(DOUBLE).retrieved == ()


def test_the_stream_tells_the_whole_story(solver: Solver) -> None:
    kinds = [event.kind for event in solver(RIGHT).stream(DOUBLE)]
    wanted = ["run-started", "cycle-started", "sampling", "token", "sampled", "checked", "verdict", "run-finished"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in wanted] == wanted


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Task(prompt="  "), "empty"),
        (Task(prompt="p", language="cobol"), "unknown language 'cobol'"),
        (Task(prompt="p", tests="assert f( == 1"), "line 1"),
    ],
)
def test_tasks_that_cannot_be_worked_are_refused(solver: Solver, task: Task, said: str) -> None:
    with pytest.raises(InputError, match=said):
        solver(RIGHT).solve(task)


def test_the_same_seed_draws_the_same_samples(solver: Solver) -> None:
    one = solver(WRONG, RIGHT, cycles={"seed": 7}).solve(DOUBLE)
    other = solver(WRONG, RIGHT, cycles={"seed": 7}, tools={"memory": False}).solve(DOUBLE)
    assert [attempt.seed for attempt in one.attempts] == [attempt.seed for attempt in other.attempts]


def test_without_a_sandbox_nothing_runs_and_static_findings_are_still_given(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucible.security.sandbox.tiers.shutil.which", lambda *_, **__: None)
    probe._selected.cache_clear()
    answer = "```python\nimport os\ndef double(n):\n    os.system('true')\n    return n + n\n```"
    with Crucible(settings=settings_at(own_home), model=ScriptedModel([answer])) as app:
        episode = app.solve(DOUBLE)
    assert episode.status == "refused" and "apt-get install bubblewrap" in episode.stop
    assert all(attempt.verdict is None for attempt in episode.attempts)
    assert any(finding.kind == "security" for finding in episode.feedback)


def test_a_run_under_an_id_of_ones_own_is_run_once(solver: Solver) -> None:
    app = solver(RIGHT)
    first = app.solve(DOUBLE, run_id="mine")
    again = app.solve(DOUBLE, run_id="mine")
    assert again.episode_id == first.episode_id and again.attempts == first.attempts
    assert [run.run_id for run in app.runs.list()] == ["mine"]
    with pytest.raises(InputError, match="is finished"):
        app.resume("mine")


def test_a_forgotten_run_is_gone_and_its_episode_stays(solver: Solver) -> None:
    app = solver(RIGHT)
    episode = app.solve(DOUBLE, run_id="mine")
    app.runs.forget("mine")
    assert app.runs.list() == [] and not app.runs.has("mine")
    assert app.memory.get(episode.episode_id) is not None


@pytest.mark.parametrize("lint", [True, False])
def test_the_linters_errors_reach_the_model_where_the_setting_says_so(solver: Solver, lint: bool) -> None:
    unsure = "```python\ndef double(n):\n    return n * 3 if n >= 0 else nothing_of_that_name\n```"
    app = solver(
        unsure,
        '{"cause": "factor", "fix": "use two"}',
        RIGHT,
        cycles={"strategy": "repair", "samples": 1},
        tools={"lint": lint},
    )
    episode = app.solve(DOUBLE)
    told = [m.content for prompt in episode.prompts.values() for m in prompt if "nothing_of_that_name" in m.content]
    assert any("Undefined name" in content for content in told) is lint
    assert any(found.rule == "F821" for found in episode.attempts[0].findings)  # recorded either way
