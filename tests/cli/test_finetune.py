"""`crucible finetune` as a person uses it: at a terminal it asks, elsewhere it refuses, and what it shows is what lies there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.cli.test_commands import REPOSITORY
from tests.finetune.proposals import gate, proposed


@pytest.fixture
def home(own_home: Path) -> Path:
    own_home.mkdir(parents=True)
    return own_home


def crucible(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """In a session of its own: without a terminal, whoever runs the tests has one or not."""
    command = [sys.executable, str(REPOSITORY / "main.py"), "finetune", *arguments]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=120, start_new_session=True
    )


def at_a_terminal(*arguments: str, typed: str) -> tuple[int | None, str]:
    child = pexpect.spawn(
        sys.executable,
        [str(REPOSITORY / "main.py"), "finetune", *arguments],
        encoding="utf-8",
        timeout=60,
        env=os.environ,
    )
    child.expect("to agree")
    shown = child.before or ""
    child.sendline(typed)
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, shown + (child.before or "")


def test_a_person_approves_at_the_terminal_and_then_it_is_listed_as_approved(home: Path) -> None:
    id_ = proposed(home)
    code, shown = at_a_terminal("approve", id_, typed=id_)
    assert code == 0 and "What could go wrong" in shown and f"crucible finetune train {id_}" in shown
    (row,) = json.loads(crucible("list", "--json").stdout)
    assert (row["id"], row["state"], row["adapter"]) == (id_, "approved", None)


def test_another_word_is_a_no_with_exit_1(home: Path) -> None:
    id_ = proposed(home)
    code, shown = at_a_terminal("approve", id_, typed="yes")
    assert code == 1 and "not approved" in shown


@pytest.mark.parametrize("stdin", ["", "sft-0001\n", "yes\n"])
def test_without_a_terminal_nothing_is_approved(home: Path, stdin: str) -> None:
    id_ = proposed(home)
    done = crucible("approve", id_, stdin=stdin)
    assert done.returncode == 3 and "there is no terminal to ask at" in done.stderr
    assert gate(home).state(id_) == "proposed"


@pytest.mark.parametrize("command", [["train"], ["evaluate", "--approve", "auto"], ["promote"]])
def test_what_nobody_approved_goes_no_further(home: Path, command: list[str]) -> None:
    id_ = proposed(home)
    done = crucible(command[0], id_, *command[1:])
    assert done.returncode == 3 and ("is not approved" in done.stderr or "that needs it to be" in done.stderr)
    assert gate(home).state(id_) == "proposed"


def test_there_is_no_option_that_approves(home: Path) -> None:
    id_ = proposed(home)
    for option in ("--auto-approve", "--yes", "--approve", "-y", "--force"):
        assert crucible("approve", id_, option).returncode == 2
        assert crucible("train", id_, option).returncode == 2
    assert gate(home).state(id_) == "proposed"


def test_review_shows_what_would_be_learned(home: Path) -> None:
    id_ = proposed(home)
    done = crucible("review", id_)
    assert done.returncode == 0 and "def double(number)" in done.stdout and "state          proposed" in done.stdout
    said = json.loads(crucible("review", id_, "--json", "-n", "1").stdout)
    assert said["state"] == "proposed" and len(said["sample"]) == 1 and len(said["sha256"]) == 64


def test_a_rejected_one_stays_rejected(home: Path) -> None:
    id_ = proposed(home)
    assert crucible("reject", id_, "--reason", "too little data").returncode == 0
    done = crucible("train", id_)
    assert done.returncode == 3
    assert "finetune-rejected" in (home / "audit.jsonl").read_text()


def test_what_is_not_there_and_what_is_missing_is_said(home: Path) -> None:
    assert "make a proposal with" in crucible("list").stdout
    unknown = crucible("review", "sft-0042")
    assert unknown.returncode == 2 and "there is no fine-tuning 'sft-0042'" in unknown.stderr
    assert crucible("propose").returncode == 2
    assert crucible("rollback", "--model", "smollm2-135m").returncode == 2
