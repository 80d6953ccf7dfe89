"""What answers are worth in training: by the real judge, each once, and never what the policy would not let run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from crucible.config import load_settings
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods.judged import JudgedReward
from crucible.prompting.recipe import Recipe
from crucible.rewards import Rewards
from crucible.security.base import Judge
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.security.validator import load_validator
from crucible.types import Message, Task, Verdict

TASK = Task(prompt="Write add(a, b).", entry_point="add", tests="assert add(1, 2) == 3")
ASKED = Example(task=TASK, prompt=(Message(role="user", content=TASK.prompt),), episodes=("e",))
HIDDEN = {TASK.text: TASK.model_copy(update={"tests": "assert add(1, 2) == 3\nassert add(5, 5) == 10"})}


class Counting:
    def __init__(self, judge: Judge) -> None:
        self._judge, self.seen = judge, list[str]()

    def judge(self, code: str, task: Task) -> Verdict:
        self.seen.append(code)
        return self._judge.judge(code, task)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with WarmPool(select_sandbox()) as sandbox:
        yield SandboxJudge(sandbox)


def reward(judge: Judge, *, hidden: dict[str, Task] | None = None) -> JudgedReward:
    settings = load_settings()
    validate = load_validator("python", settings.tools.policy)
    return JudgedReward(judge, validate, Rewards(settings.rewards), Recipe(prefill="```python\n"), hidden=hidden)


def test_right_is_worth_more_than_wrong_and_wrong_more_than_none(judge: Judge) -> None:
    answers = ["def add(a, b):\n    return a + b\n```", "def add(a, b):\n    return a - b\n```", "I cannot say.\n```"]
    right, wrong, none = reward(judge)([ASKED] * 3, answers)
    assert right["tests"] == 1.0 and wrong["tests"] == none["total"] == 0.0
    assert right["total"] > wrong["total"] > none["total"]
    assert "hidden" not in right


def test_hidden_tests_tell_and_do_not_pay(judge: Judge) -> None:
    gamed = "def add(a, b):\n    return 3\n```"
    (blind,), (watched,) = reward(judge)([ASKED], [gamed]), reward(judge, hidden=HIDDEN)([ASKED], [gamed])
    assert watched["visible"] == watched["tests"] == 1.0 and 0.0 < watched["hidden"] < 0.5  # one of two, and no bonus
    assert {name: value for name, value in watched.items() if name not in ("visible", "hidden")} == blind
    (honest,) = reward(judge, hidden=HIDDEN)([ASKED], ["def add(a, b):\n    return a + b\n```"])
    assert honest["hidden"] == 1.0


def test_hidden_tests_pay_where_no_test_is_visible(judge: Judge) -> None:
    blind = ASKED.model_copy(update={"task": TASK.model_copy(update={"tests": ""})})
    answers = [f"def add(a, b):\n    return {body}\n```" for body in ("a + b", "3", "None")]
    right, gamed, wrong = reward(judge, hidden=HIDDEN)([blind] * 3, answers)
    assert right["tests"] == 1.0 and 0.0 < gamed["tests"] < 0.5 and wrong["tests"] == 0.0
    assert right["total"] > gamed["total"] > wrong["total"] and "hidden" not in right


def test_the_same_answer_is_judged_once_and_each_place_is_paid(judge: Judge) -> None:
    counting = Counting(judge)
    found = reward(counting)([ASKED] * 4, ["def add(a, b):\n    return a + b\n```"] * 4)
    assert len(counting.seen) == 1 and len(found) == 4 and len({each["total"] for each in found}) == 1


def test_what_needs_a_yes_is_never_run(judge: Judge) -> None:
    counting = Counting(judge)
    hostile = "import subprocess\ndef add(a, b):\n    subprocess.run(['true'])\n    return a + b\n```"
    (worth,) = reward(counting, hidden=HIDDEN)([ASKED], [hostile])
    assert not counting.seen and worth["tests"] == 0.0 and worth["hidden"] == 0.0
