"""`crucible train` and `crucible bench rewards`: what they say, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible.errors import ConfigError, InputError, RefusedError
from crucible.main import app
from tests.bench.small import write_set
from tests.experience.small_training import HINTS, NUMBERS, rules


def crucible(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = app(list(arguments), standalone_mode=False)
    said = capsys.readouterr()
    return code or 0, said.out, said.err


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A training of four episodes over the scripted engine."""
    write_set(tmp_path / "set.yaml", NUMBERS, HINTS)
    script = [{"match": rule.match, "replies": list(rule.replies), "json": rule.json_reply} for rule in rules()]
    (tmp_path / "script.yaml").write_text(yaml.safe_dump(script))
    monkeypatch.setenv("CRUCIBLE_MODEL__SCRIPT", str(tmp_path / "script.yaml"))
    # Without retrieval nothing asks for the text encoder's neighbours, and the scripted engine names no model to load.
    options = ["--episodes", "4", "--parallel", "2", "--budget", "40", "--no-memory", "--engine", "scripted"]
    return ["train", str(tmp_path / "set.yaml"), "--out", str(tmp_path / "out"), *options]


@pytest.mark.sandbox
def test_a_training_by_command_and_what_it_leaves(
    capsys: pytest.CaptureFixture[str], asked: list[str], tmp_path: Path
) -> None:
    code, out, err = crucible(capsys, *asked, "--approve", "auto")
    assert code == 0 and "4/4 episodes" in err and "ended: as many episodes as were asked for" in out
    for name in ("training_results.json", "training.md", "training.html", "history.jsonl"):
        assert (tmp_path / "out" / name).is_file()
    code, out, err = crucible(capsys, *asked, "--approve", "auto", "--json")
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and found["episodes"] == 4 and found["problems"] == len(NUMBERS) and "left" not in err
    _rewards(capsys, tmp_path)


def _rewards(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    """Two rewards over the episodes that the training left in the home."""
    (home / "a.yaml").write_text("rewards: {tests: 10}\n")
    (home / "b.yaml").write_text("rewards: {tests: 0, all_tests_bonus: 0.0}\n")
    files = ("--a", str(home / "a.yaml"), "--b", str(home / "b.yaml"))
    code, out, _ = crucible(capsys, "bench", "rewards", str(home / "home"), *files)
    assert code == 0 and "of 4 episodes" in out and "total" in out
    code, out, _ = crucible(capsys, "bench", "rewards", str(home / "home"), *files, "--json")
    assert json.loads(out)["episodes"] == 4


def test_it_needs_a_yes_and_a_folder(capsys: pytest.CaptureFixture[str], asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="--approve auto"):
        crucible(capsys, *asked, "--approve", "never")
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        crucible(capsys, *asked, "--approve", "auto")


def test_rewards_are_read_from_files_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {slots: 2}\n")
    (tmp_path / "b.yaml").write_text("rewards: {tets: 1}\n")
    for name, says in (("a.yaml", "no section `rewards`"), ("b.yaml", "rewards.tets")):
        with pytest.raises(ConfigError, match=says):
            crucible(
                capsys, "bench", "rewards", str(tmp_path), "--a", str(tmp_path / name), "--b", str(tmp_path / name)
            )
