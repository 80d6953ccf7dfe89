"""A training from its first episode to its last, whatever comes between."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from crucible.app import Crucible
from crucible.config import HintSettings, packaged
from crucible.errors import InputError, RefusedError
from crucible.experience.record import HISTORY, RESULTS, Trained
from crucible.experience.remembered import Experience
from crucible.experience.report.plots import draw
from crucible.experience.train import ALL_SOLVED, ENOUGH
from crucible.memory import MemoryStore
from crucible.models.scripted import ScriptedModel
from crucible.security.trust.audit import AuditLog
from crucible.training import train
from tests.conftest import settings_at
from tests.experience.small_training import EPISODES, EVALUATION, HARD, NUMBERS, run
from tests.memory.episodes import HashEncoder, episode

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]
KILLS = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The training run without a break, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder / "out", folder / "home")


def outcome(trained: Trained) -> tuple[Any, ...]:
    """What was decided and what came of it, clocks left out."""
    evaluated = {(each.after, each.problem): (each.passed, each.tokens) for each in trained.evaluated}
    return [entry.result for entry in trained.entries], trained.rounds, evaluated


def begun(folder: Path, *, lines: int) -> subprocess.Popen[str]:
    """A process that goes on with the training in `folder`, and has said so many lines."""
    command = [sys.executable, "-m", "tests.experience.small_training", str(folder)]
    with (folder.parent / "stderr").open("w") as said:
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=said, text=True)
    assert child.stdout is not None
    for _ in range(lines):
        assert child.stdout.readline(), (folder.parent / "stderr").read_text()
    return child


def home_of(trained: Trained) -> MemoryStore:
    return MemoryStore(Path(trained.folder).parent / "home" / "episodes", encoder=HashEncoder())


def test_every_episode_is_there_once_and_remembered(whole: Trained) -> None:
    assert [entry.episode for entry in whole.entries] == list(range(1, EPISODES + 1))
    assert whole.stopped == ENOUGH
    assert {each.episode_id for each in home_of(whole).episodes()} == {each.episode_id for each in whole.entries}


def test_no_solved_problem_is_worked_again_and_no_round_has_one_twice(whole: Trained) -> None:
    solved: set[str] = set()
    for record in whole.rounds:
        names = [pick.problem for pick in record.picks]
        assert len(set(names)) == len(names) and not solved & set(names)
        numbers = range(record.first, record.first + len(names))
        solved |= {entry.problem for entry in whole.entries if entry.success and entry.episode in numbers}
    assert solved and len(solved) == whole.solved


def test_success_is_by_the_hidden_tests_and_rewards_know_the_reference(whole: Trained) -> None:
    assert {"", "hidden-only"} < {entry.failure for entry in whole.entries}
    for entry in whole.entries:
        assert (entry.rewards["tests"] == 1.0) == entry.success
        assert {"speed", "memory", "total"} <= entry.rewards.keys() and entry.reward == entry.rewards["total"]
    lines = (Path(whole.folder) / "references.jsonl").read_text().splitlines()
    assert len(lines) == len({entry.problem for entry in whole.entries})


def test_evaluations_remember_nothing(whole: Trained) -> None:
    assert [(each.after, each.problems) for each in whole.evaluations] == [(0, 3), (9, 3), (18, 3)]
    assert not {f"times-{number}" for number in EVALUATION} & {each.task.id for each in home_of(whole).episodes()}


def test_the_results_file_has_what_plotting_scripts_read(whole: Trained) -> None:
    found = json.loads((Path(whole.folder) / RESULTS).read_text())
    assert list(found["training_history"][0])[:5] == ["episode", "problem", "difficulty", "level", "reward"]
    assert {"training_history", "evaluations", "hints", "curriculum", "config", "command"} <= found.keys()
    assert len(found["training_history"]) == EPISODES and found["config"]["episodes"] == EPISODES


def test_the_report_shows_it_and_holds_no_problem(whole: Trained) -> None:
    for name in ("training.md", "training.html"):
        text = (Path(whole.folder) / name).read_text()
        assert "Success and reward" in text and "Levels" in text and "Write times_" not in text
    assert "<script" not in text and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_episodes_that_were_broken_off_leave_no_gap_in_the_report(whole: Trained) -> None:
    first, *_, last = whole.entries  # side by side, a late one may end and an early one not
    drawn = draw(whole.model_copy(update={"entries": (first, last)}))
    level = next(plot for plot in drawn if plot.title.startswith("Level"))
    assert f"level {last.level} from episode {last.episode}" in level.svg


def greedy(memory: MemoryStore) -> Counter[str]:
    """How often each task was asked greedily."""
    attempts = [(each.task.id, attempt) for each in memory.episodes() for attempt in each.attempts]
    return Counter(task for task, attempt in attempts if attempt.temperature == 0.0)


def test_no_problem_is_asked_greedily_twice(whole: Trained) -> None:
    worked = Counter(entry.problem for entry in whole.entries)
    asked = greedy(home_of(whole))
    assert max(worked.values()) > 1 and set(asked) == set(worked) and set(asked.values()) == {1}


@pytest.mark.parametrize("strategy", ["auto", "direct"])
def test_a_problem_without_visible_tests_gets_other_answers_than_the_greedy_one(tmp_path: Path, strategy: str) -> None:
    problems = tmp_path / "set.json"
    cases = {"test_cases": [[2], [3]], "expected_outputs": [4, 6], "hidden": "all"}
    problems.write_text(json.dumps({"id": "twice", "prompt": "Write twice(n).", "entry_point": "twice", **cases}))
    script = ScriptedModel(
        ["```python\ndef twice(n):\n    return n + 1\n```", "```python\ndef twice(n):\n    return n * 2\n```"]
    )
    settings = settings_at(tmp_path / "home", cycles={"strategy": strategy}, tools={"log_level": "off"})
    memory = MemoryStore(tmp_path / "home" / "episodes", encoder=HashEncoder())
    with Crucible(settings=settings, model=script, memory=memory) as app:
        trained = train(app, [str(problems)], out=tmp_path / "out", episodes=5)
    assert [entry.success for entry in trained.entries] == [False, True] and trained.stopped == ALL_SOLVED
    assert greedy(memory) == {"twice": 1}


def test_approvals_are_in_the_users_own_audit_log(whole: Trained) -> None:
    log = AuditLog(Path(whole.folder).parent / "home" / "audit.jsonl")
    assert log.path.exists()


def test_killed_at_random_points_it_ends_with_the_same_history(whole: Trained, tmp_path: Path) -> None:
    lot = random.Random(4)
    folder = tmp_path / "out"
    for _ in range(KILLS):
        child = begun(folder, lines=lot.randint(1, 4))
        time.sleep(lot.uniform(0.0, 0.12))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    resumed = run(folder, tmp_path / "home")
    assert outcome(resumed) == outcome(whole)
    assert len(list(home_of(resumed).episodes())) == EPISODES
    assert len((folder / HISTORY).read_text().splitlines()) == EPISODES


def test_ctrl_c_twice_keeps_what_is_done_and_the_same_call_goes_on(whole: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    child = begun(folder, lines=8)
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)  # it ends its runs and writes the report
    child.send_signal(signal.SIGINT)
    assert child.wait() != 0
    found = json.loads((folder / RESULTS).read_text())
    assert found["stopped"].startswith("interrupted") and 5 <= len(found["training_history"]) < EPISODES
    assert (folder / "training.html").read_text().endswith("</html>\n")
    assert outcome(run(folder, tmp_path / "home")) == outcome(whole)


def test_more_episodes_go_on_in_the_same_folder(whole: Trained, tmp_path: Path) -> None:
    run(tmp_path / "out", tmp_path / "home", episodes=9)
    assert outcome(run(tmp_path / "out", tmp_path / "home"))[0] == outcome(whole)[0]


def test_hints_come_only_to_the_stuck_and_it_ends_when_all_is_solved(tmp_path: Path) -> None:
    sure = packaged(HintSettings, stuck_after=2, chance=1.0, backoff=1.0)
    trained = run(tmp_path / "out", tmp_path / "home", episodes=400, eval_sets=(), eval_every=0, hints=sure)
    assert trained.stopped == ALL_SOLVED and trained.solved == len(NUMBERS) and len(trained.entries) < 400
    failed: dict[str, int] = {}
    for entry in trained.entries:
        assert entry.hinted == (failed.get(entry.problem, 0) >= 2)
        failed[entry.problem] = failed.get(entry.problem, 0) + (not entry.success)
    (solving,) = [entry for entry in trained.entries if entry.problem == f"times-{HARD}" and entry.success]
    assert solving.hinted and solving.hint == 0, "the weakest first"
    asked = home_of(trained).get(solving.episode_id)
    assert asked is not None and asked.task.hint == "Think of multiplication."
    prompts = [message.content for messages in asked.prompts.values() for message in messages]
    assert any("Hint: Think of multiplication." in text for text in prompts)
    unhinted = home_of(trained).get(trained.entries[0].episode_id)
    assert unhinted is not None and not any("Hint:" in m.content for ms in unhinted.prompts.values() for m in ms)


def test_an_evaluation_problem_that_is_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="evaluation problem 'times-2' is the training problem 'times-2'"):
        run(tmp_path / "out", tmp_path / "home", eval_sets=[str(tmp_path / "set.yaml")])
    renamed = (tmp_path / "set.yaml").read_text().replace("id: times-", "id: other-")
    (tmp_path / "renamed.yaml").write_text(renamed)
    with pytest.raises(InputError, match="evaluation problem 'other-2' is the training problem 'times-2'"):
        run(tmp_path / "out", tmp_path / "home", eval_sets=[str(tmp_path / "renamed.yaml")])


def test_what_cannot_be_is_refused(whole: Trained, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(InputError, match="nothing to evaluate on"):
        run(tmp_path / "out", home, eval_sets=(), eval_every=5)
    with pytest.raises(InputError, match="another training: it differs in again, seed"):
        run(Path(whole.folder), home, seed=7, again=True)
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / ".lock"), pytest.raises(InputError, match="by another process"):
        run(tmp_path / "busy", home)


def test_without_approval_nothing_begins(tmp_path: Path) -> None:
    from crucible.app import Crucible
    from crucible.models.scripted import ScriptedModel
    from crucible.training import train
    from tests.conftest import settings_at

    settings = settings_at(tmp_path, cycles={"approve": "ask"})
    with Crucible(settings=settings, model=ScriptedModel(["x"])) as app, pytest.raises(RefusedError):
        train(app, ["starter"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_experience_shows_neither_the_very_problem_nor_the_round_in_work(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "episodes", encoder=HashEncoder())
    for name in ("one", "two"):
        store.add(episode(name, f"Task {name}."))
    memory = Experience(store)
    assert {hit.episode_id for hit in memory.fetch_semantic("Task one.", 5)} == {"two"}
    memory.hide(["two"])
    assert memory.fetch_semantic("Task one.", 5) == []
    Experience(store, read_only=True).add(episode("three", "Task three."))
    assert store.stats().episodes == 2
