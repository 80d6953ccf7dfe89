"""A benchmark from its first cell to its last, whatever comes between."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crucible.bench.record import CELLS, Cell, Results, keys, read
from crucible.bench.run import Progress
from crucible.errors import CancelledError, InputError
from crucible.memory import MemoryStore
from tests.bench.small import ARMS, NUMBERS, SEEDS, run
from tests.memory.episodes import HashEncoder

pytestmark = pytest.mark.sandbox
ROOT = Path(__file__).parents[2]
KILLS = 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The benchmark run without a break, in this process."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder / "out", folder / "home")


def outcome(results: Results) -> dict[tuple[str, int, str], dict[str, object]]:
    """What the cells say, clocks left out."""
    return {cell.key: cell.result for cell in results.cells}


def test_every_cell_is_there_once(whole: Results) -> None:
    assert whole.complete
    assert [cell.key for cell in whole.cells] == list(keys(whole.plan))
    assert len(whole.cells) == len(NUMBERS) * (1 + (len(ARMS) - 1) * len(SEEDS))  # single is greedy: one seed


def test_the_arms_differ_and_every_kind_of_end_occurs(whole: Results) -> None:
    assert {cell.failure for cell in whole.cells} >= {"", "hidden-only", "wrong-answer", "no-code"}
    assert {len(cell.attempts) for cell in whole.of("single")} == {1}
    assert max(len(cell.attempts) for cell in whole.of("best-of-n")) > 1
    assert {attempt.strategy for cell in whole.of("best-of-n") for attempt in cell.attempts} == {"sample"}
    assert "repair" in {attempt.strategy for cell in whole.of("loop") for attempt in cell.attempts}


def test_no_cell_spends_more_than_the_budget(whole: Results) -> None:
    for cell in whole.cells:
        assert 0 < cell.tokens.completion <= whole.plan.budget
        assert sum(attempt.tokens for attempt in cell.attempts) <= cell.tokens.completion


def test_the_hidden_tests_decide_and_no_prompt_holds_them(whole: Results) -> None:
    store = MemoryStore(Path(whole.folder) / "episodes", encoder=HashEncoder())
    by_id = {cell.episode_id: cell for cell in whole.cells}
    assert store.stats().episodes == len(whole.cells)
    for episode_id, cell in by_id.items():
        episode = store.get(episode_id)
        assert episode is not None and (episode.hidden_verdict is None) == (cell.failure == "no-code")
        assert cell.passed == (episode.hidden_verdict is not None and episode.hidden_verdict.verdict == "pass")
        number = int(cell.problem.removeprefix("times-"))
        for messages in episode.prompts.values():
            assert not any(f"({5})" in message.content or f"== {5 * number}" in message.content for message in messages)


def test_nothing_of_the_runs_is_left_but_the_results(whole: Results) -> None:
    left = {path.name for path in Path(whole.folder).iterdir()} - {".lock"}
    assert left == {"plan.json", CELLS, "episodes"}


def killed(folder: Path, kills: int, lot: random.Random) -> int:
    """How often a benchmark in `folder` was begun and killed, each time soon after one more cell was done."""
    done = 0
    for _ in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.small", str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        said = child.stdout.readline()  # a cell is done; the next are in work
        time.sleep(lot.uniform(0.0, 0.12))
        child.send_signal(signal.SIGKILL)
        done += child.wait() == -signal.SIGKILL and said == "cell\n"
        child.stdout.close()
    return done


def test_killed_at_random_points_it_ends_with_the_same_results(whole: Results, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]  # two at a time: most of it is starting Python
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as threads:
        lots = map(random.Random, (4, 5))
        assert list(threads.map(killed, [each / "out" for each in folders], [KILLS // 2] * 2, lots)) == [KILLS // 2] * 2
    for folder in folders:
        resumed = run(folder / "out", folder / "home")
        assert outcome(resumed) == outcome(whole)
        store = MemoryStore(folder / "out" / "episodes", encoder=HashEncoder())
        assert store.stats().episodes == len(whole.cells)
        assert all(store.get(cell.episode_id) is not None for cell in resumed.cells)


def test_ctrl_c_keeps_what_is_done_and_the_same_call_goes_on(whole: Results, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, CancelledError)):
        run(tmp_path / "out", tmp_path / "home", tell=interrupt)
    begun = read(tmp_path / "out")
    assert len(begun.cells) == 5 and not begun.complete
    assert outcome(run(tmp_path / "out", tmp_path / "home")) == outcome(whole)


def test_a_line_that_was_cut_off_is_run_again(whole: Results, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "out")
    cells = tmp_path / "out" / CELLS
    data = cells.read_bytes()
    cells.write_bytes(data[: data.rstrip(b"\n").rfind(b"\n") + 40])
    assert len(read(tmp_path / "out").cells) == len(whole.cells) - 1
    assert outcome(run(tmp_path / "out", tmp_path / "home")) == outcome(whole)


def test_another_benchmark_in_the_folder_is_refused(whole: Results, tmp_path: Path) -> None:
    plan = whole.plan.model_copy(update={"budget": 99})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "plan.json").write_text(plan.model_dump_json())
    with pytest.raises(InputError, match="another benchmark: it differs in budget"):
        run(tmp_path / "out", tmp_path / "home")


def test_a_damaged_line_is_named(whole: Results, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(whole.plan.model_dump_json())
    (tmp_path / CELLS).write_text(whole.cells[0].model_dump_json() + "\n{}\n")
    with pytest.raises(InputError, match=r"cells\.jsonl, line 2"):
        read(tmp_path)


def test_a_cell_written_twice_counts_once(whole: Results, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(whole.plan.model_dump_json())
    line = whole.cells[0].model_dump_json() + "\n"
    (tmp_path / CELLS).write_text(line + line)
    assert read(tmp_path).cells == (Cell.model_validate_json(line),)
