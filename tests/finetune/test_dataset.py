"""What is learned from episodes, and what never is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.finetune.data.contamination import Contamination, Evaluated
from crucible.finetune.data.dataset import Dataset, DataSettings, build
from crucible.prompting.recipe import Recipe
from crucible.security.trust.secrets import redact
from crucible.types import Episode, Feedback, FindingKind
from tests.finetune.episodes import RIGHT, WRONG, attempt, episode, failed, solved, verdict

RECIPE = Recipe(prefill="Here is a script:\n```python\n")
CLEAN = Contamination([])


def sft(*episodes: Episode, evaluated: Contamination = CLEAN, settings: DataSettings | None = None) -> Dataset:
    return build("sft", episodes, RECIPE, evaluated, settings)


def test_a_verified_program_becomes_the_end_of_the_models_own_answer() -> None:
    (example,) = sft(solved("e1")).examples
    assert example.prompt[-1].content == RECIPE.prefill and example.prompt[-1].role == "assistant"
    assert "double(number)" in example.prompt[0].content
    assert example.chosen == RIGHT + "```"
    assert example.episodes == ("e1",)


def test_without_a_recipe_the_answer_opens_its_own_block() -> None:
    (example,) = build("sft", [solved("e1")], Recipe(), CLEAN).examples
    assert example.prompt[-1].role == "user" and example.chosen == f"```python\n{RIGHT}```"


@pytest.mark.parametrize(
    ("unproved", "why"),
    [
        (episode("e", attempt(RIGHT, verdict(True)), hidden=verdict(False)), "hidden tests failed"),
        (episode("e", attempt(RIGHT, verdict(True)), hidden=verdict(True, "low")), "forgeable"),
        (episode("e", attempt(RIGHT, verdict(True, "claimed"))), "on its own word"),
        (episode("e", attempt(RIGHT, verdict(True, total=0))), "no test"),
        (episode("e", attempt(RIGHT, None)), "never run"),
        (failed("e"), "wrong"),
        (episode("e", attempt(RIGHT, verdict(True)), status="refused"), "refused"),
    ],
)
def test_nothing_unproved_is_learned(unproved: Episode, why: str) -> None:
    assert sft(unproved).examples == (), why


def test_a_pass_of_the_visible_tests_proves_nothing_where_hidden_ones_judged_another() -> None:
    other = RIGHT.replace("result", "answer")
    worked = episode("e", attempt(other, verdict(True)), attempt(RIGHT, verdict(True), 2), hidden=verdict(True))
    assert [example.chosen for example in sft(worked).examples] == [RIGHT + "```"]


def test_what_hidden_tests_said_of_a_program_counts_whichever_was_the_best() -> None:
    seen = verdict(True)
    wrong = attempt(WRONG, seen).model_copy(update={"hidden_verdict": verdict(False)})
    right = attempt(RIGHT, seen, 2).model_copy(update={"hidden_verdict": verdict(True)})
    another = attempt(RIGHT.replace("result", "answer"), seen, 3).model_copy(update={"hidden_verdict": verdict(True)})
    worked = episode("e", wrong, right, another, hidden=verdict(True))
    assert {each.chosen for each in sft(worked).examples} == {RIGHT + "```", RIGHT.replace("result", "answer") + "```"}
    pairs = build("dpo", [worked], RECIPE, CLEAN).examples
    assert len(pairs) == 2 and all(each.rejected == WRONG + "```" for each in pairs)


def test_secrets_are_left_out_whether_in_the_task_or_in_the_program() -> None:
    key = "sk-" + "a1" * 16
    program = solved("e1", RIGHT + f"KEY = '{key}'\n")
    task = solved("e2", prompt=f"Call the service with {key} and return its answer.")
    made = sft(program, task)
    assert made.examples == () and made.left_out == {"a secret in it": 2}


def test_what_was_stored_with_a_secret_taken_out_is_no_program_that_was_run() -> None:
    program = redact(RIGHT + f"KEY = 'sk-{'a1' * 16}'\n").text
    assert sft(solved("e1", program)).left_out == {"a secret in it": 1}
    pairs = build("dpo", [solved("e1"), failed("e2", program)], RECIPE, CLEAN)
    assert pairs.examples == () and pairs.left_out == {"a secret in it": 1}


def test_what_hidden_tests_refuted_is_not_learned_though_it_passed_the_visible_ones_elsewhere() -> None:
    passed, refuted = solved("e1"), episode("e2", attempt(RIGHT, verdict(True)), hidden=verdict(False))
    for episodes in ((passed, refuted), (refuted, passed)):
        made = sft(*episodes)
        assert made.examples == () and made.left_out == {"right in one episode, wrong in another": 1}


@pytest.mark.parametrize("around", ["{}", "{}\n\nprint(double(2))\n```\nDone.", "Sure:\n```python\n{}```"])
def test_a_program_is_learned_in_the_models_own_characters(around: str) -> None:
    written = RIGHT.replace("\n    return", "  \n    \n    return")
    run = RIGHT.replace("\n    return", "\n\n    return")
    answered = attempt(run, verdict(True)).model_copy(update={"completion": around.format(written)})
    assert [each.chosen for each in sft(episode("e", answered)).examples] == [written.rstrip() + "\n```"]


def test_a_program_that_was_mended_is_learned_as_it_was_run() -> None:
    answered = attempt("import math\n" + RIGHT, verdict(True)).model_copy(update={"completion": RIGHT})
    assert [each.chosen for each in sft(episode("e", answered)).examples] == ["import math\n" + RIGHT + "```"]


@pytest.mark.parametrize(
    ("recipe", "entry_point", "ends"),
    [(RECIPE, "double", False), (RECIPE, None, True), (Recipe(), "double", True)],
    ids=["stopped after its function", "not stopped before its end", "not inside a fence"],
)
def test_an_end_that_was_not_the_models_own_is_not_learned(recipe: Recipe, entry_point: str | None, ends: bool) -> None:
    def of(each: Episode) -> Episode:
        return each.model_copy(update={"task": each.task.model_copy(update={"entry_point": entry_point})})

    episodes = [of(solved("e1")), of(failed("e2"))]
    (program,) = build("sft", episodes, recipe, CLEAN).examples
    (pair,) = build("dpo", episodes, recipe, CLEAN).examples
    for each in (program, pair):
        assert each.ends is ends and each.chosen.endswith("```" if ends else "return result")
    assert pair.rejected.endswith("```" if ends else "return result")
    (task,) = build("online", episodes, recipe, CLEAN).examples
    assert task.ends and task.chosen.endswith("```"), "what is replayed is a whole answer"


def test_the_end_of_an_answer_that_was_cut_off_is_not_learned() -> None:
    cut = attempt(RIGHT, verdict(True), finish_reason="length")
    (example,) = sft(episode("e", cut)).examples
    assert not example.ends and example.chosen == RIGHT.rstrip()


def test_of_what_was_never_failed_nothing_is_learned_where_that_is_asked() -> None:
    both, sure = [solved("e1"), failed("e2")], solved("e3", prompt="Write double(number), which is easy.")
    made = sft(*both, sure, settings=DataSettings(unsure=True))
    assert [each.episodes for each in made.examples] == [("e1",)]
    assert made.left_out == {"of a task that was never failed": 1}
    assert len(sft(*both, sure).examples) == 2


def test_what_needed_an_approval_of_its_own_is_left_out() -> None:
    found = Feedback(kind=FindingKind.SECURITY, severity="warning", message="opens a file", action="ask")
    assert sft(episode("e", attempt(RIGHT, verdict(True), findings=(found,)))).examples == ()


def test_a_hint_is_not_learned_with() -> None:
    hinted = solved("e1")
    hinted = hinted.model_copy(update={"task": hinted.task.model_copy(update={"hint": "add it to itself"})})
    (example,) = sft(hinted).examples
    assert "itself" not in example.prompt[0].content


def test_the_same_program_is_taken_once_however_it_is_written() -> None:
    made = sft(solved("e1"), solved("e2", RIGHT.replace("number + number", "number  +  number  # twice")))
    assert len(made.examples) == 1 and made.left_out == {"the same program again": 1}


def test_of_one_task_only_so_many_programs() -> None:
    many = [solved(f"e{n}", RIGHT.replace("result", f"result_{n}")) for n in range(9)]
    assert len(sft(*many, settings=DataSettings(per_task=3)).examples) == 3


def test_of_one_task_the_programs_of_its_usual_length_first() -> None:
    lengths = {
        name: RIGHT.replace("result", name) for name in ("r", "number_doubled", "what_comes_of_adding_it_to_itself")
    }
    many = [solved(f"e{number}", code) for number, code in enumerate(lengths.values())]
    (one,) = sft(*many, settings=DataSettings(per_task=1)).examples
    assert "number_doubled" in one.chosen


def test_no_difficulty_outweighs_all_others() -> None:
    easy = [solved(f"a{n}", prompt=f"Task number {n} of the easy ones, about doubling.") for n in range(20)]
    hard = [solved(f"b{n}", prompt=f"Number {n} of what is hard to do at all.", difficulty="5") for n in range(4)]
    made = sft(*easy, *hard)
    assert made.levels == {"1": 4, "5": 4}
    assert made.left_out["more of this difficulty than of all others"] == 16


def test_tasks_without_a_difficulty_are_neither_cut_nor_a_measure_for_the_others() -> None:
    unknown = [
        solved(f"a{n}", prompt=f"Task number {n} of unknown kind, on doubling.", difficulty="") for n in range(20)
    ]
    hard = [solved(f"b{n}", prompt=f"Number {n} of what is hard to do at all.", difficulty="5") for n in range(4)]
    assert sft(*unknown, *hard).levels == {"5": 4, "none": 20}


def test_a_pair_is_a_right_and_a_wrong_answer_to_the_same() -> None:
    elsewhere = failed("e3", prompt="Something else altogether is wanted here, and nobody solved it.")
    (pair,) = build("dpo", [solved("e1"), failed("e2"), elsewhere], RECIPE, CLEAN).examples
    assert (pair.chosen, pair.rejected) == (RIGHT + "```", WRONG + "```")
    assert pair.episodes == ("e1", "e2")


def test_one_right_program_stands_against_every_wrong_one_those_of_its_length_first() -> None:
    near, far = WRONG.replace("result", "answer"), WRONG.replace("result", "the_result_of_it_all")
    episodes = [solved("e1"), failed("e2", far), failed("e3", near)]
    pairs = build("dpo", episodes, RECIPE, CLEAN).examples
    assert {(each.chosen, each.rejected) for each in pairs} == {
        (RIGHT + "```", far + "```"),
        (RIGHT + "```", near + "```"),
    }
    (first,) = build("dpo", episodes, RECIPE, CLEAN, DataSettings(per_task=1)).examples
    assert first.rejected == near + "```"


def test_no_pair_is_of_two_programs_that_others_hold_already() -> None:
    episodes = [
        solved("e1"),
        solved("e2", RIGHT.replace("result", "answer")),
        failed("e3"),
        failed("e4", WRONG.replace("result", "answer")),
    ]
    assert len(build("dpo", episodes, RECIPE, CLEAN).examples) == 2


def test_online_learning_takes_tasks_solved_or_not_and_a_success_to_replay() -> None:
    unsolved = failed("e2", prompt="Something else altogether is wanted here, and nobody solved it.")
    made = build("online", [solved("e1"), unsolved], RECIPE, CLEAN)
    assert {(each.chosen, each.episodes) for each in made.examples} == {(RIGHT + "```", ("e1",)), ("", ("e2",))}


def test_online_learning_takes_a_task_without_visible_tests_where_its_hidden_ones_can_pay() -> None:
    blind = failed("e1")
    blind = blind.model_copy(update={"task": blind.task.model_copy(update={"tests": ""})})
    without = build("online", [blind], RECIPE, CLEAN)
    assert without.examples == () and without.left_out == {
        "without visible tests, and in no hidden set (--hidden-set)": 1
    }
    (taken,) = build("online", [blind], RECIPE, CLEAN, paid={blind.task.text}).examples
    assert taken.task == blind.task and taken.episodes == ("e1",)


def test_an_evaluation_problem_teaches_nothing() -> None:
    known = Contamination([Evaluated(id="dev/1", text="Write a function double(number) that gives twice the number!")])
    made = sft(solved("e1"), evaluated=known)
    assert made.examples == () and made.left_out == {"too like an evaluation problem": 1}


@given(st.integers(0, 2**32))
def test_the_order_of_the_episodes_changes_nothing(seed: int) -> None:
    episodes = [solved(f"e{n}", RIGHT.replace("result", f"r{n % 4}"), difficulty=str(n % 3)) for n in range(6)]
    episodes += [failed("f1"), failed("f2", WRONG.replace("result", "other"))]
    shuffled = random.Random(seed).sample(episodes, len(episodes))
    for kind in ("sft", "dpo", "online"):
        one, other = build(kind, episodes, RECIPE, CLEAN), build(kind, shuffled, RECIPE, CLEAN)
        assert one == other and one.sha256 == other.sha256


def test_another_episode_is_another_version() -> None:
    assert sft(solved("e1")).sha256 != sft(solved("e2")).sha256
