"""What an answer is worth in training: the rewards of the problem harness, by the same judge in the same sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from crucible.finetune.data.dataset import Example
from crucible.languages.python.extract import extract_for
from crucible.prompting.recipe import Recipe
from crucible.rewards import RewardInput, Rewards
from crucible.security.base import Judge
from crucible.security.judge.visible import has_tests
from crucible.types import Feedback, Task

Validate = Callable[[str], tuple[Feedback, ...]]


class JudgedReward:
    """Runs every answer that `validate` finds nothing against, each once.

    hidden: by a task's text, the same task with tests that are neither shown nor paid for. They give the figure `hidden`,
    and those that are paid for, of the same answers, `visible`: where that rises alone, the tests are being gamed. A task
    without visible tests is paid for by its hidden ones, and gives neither figure.
    workers: sandboxes at a time.
    """

    def __init__(
        self,
        judge: Judge,
        validate: Validate,
        rewards: Rewards,
        recipe: Recipe,
        *,
        hidden: Mapping[str, Task] | None = None,
        workers: int = 2,
    ) -> None:
        self._judge, self._validate, self._rewards, self._recipe = judge, validate, rewards, recipe
        self._hidden, self._workers = hidden or {}, workers

    def __call__(self, examples: Sequence[Example], answers: Sequence[str]) -> list[dict[str, float]]:
        asked = [(example.task, answer) for example, answer in zip(examples, answers, strict=True)]
        different = {(task.text, answer): task for task, answer in asked}
        with ThreadPoolExecutor(self._workers, thread_name_prefix="crucible-reward") as pool:
            found = pool.map(lambda key: self._worth(different[key], key[1]), different)
            known = dict(zip(different, found, strict=True))
        return [known[task.text, answer] for task, answer in asked]

    def _worth(self, task: Task, answer: str) -> dict[str, float]:
        code = extract_for(task, answer, inside_fence=self._recipe.opens_fence).code
        findings = self._validate(code)
        runs = bool(code.strip()) and all(found.action == "allow" for found in findings)
        scored = self._hidden.get(task.text)
        if scored is not None and not has_tests(task):
            task, scored = scored, None
        verdict = self._judge.judge(code, task) if runs else None
        worth = self._rewards.score(RewardInput(code=code, verdict=verdict, findings=findings))
        if scored is not None:
            unseen = RewardInput(
                code=code, verdict=self._judge.judge(code, scored) if runs else None, findings=findings
            )
            worth |= {"visible": worth["tests"], "hidden": self._rewards.score(unseen)["tests"]}
        return worth
