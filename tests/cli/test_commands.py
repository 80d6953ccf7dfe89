"""The command line as a user meets it: exit codes, one clear line for bad input, JSON a program can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMANDS = [
    ["solve"],
    ["resume"],
    ["runs", "list"],
    ["runs", "show"],
    ["memory", "search"],
    ["memory", "stats"],
    ["models", "list"],
    ["models", "pull"],
    ["models", "build"],
    ["models", "serve"],
    ["models", "status"],
    ["models", "adapters", "list"],
    ["models", "adapters", "add"],
    ["models", "adapters", "remove"],
    ["sandbox", "check"],
    ["sandbox", "run"],
    ["sandbox", "judge"],
    ["nodes", "list"],
    ["graph"],
    ["doctor"],
    ["config", "show"],
    ["config", "validate"],
    ["problems", "list"],
    ["problems", "show"],
    ["problems", "validate"],
    ["bench", "run"],
    ["bench", "report"],
    ["bench", "compare"],
    ["bench", "rewards"],
    ["train"],
    *(
        ["finetune", name]
        for name in ["propose", "review", "approve", "reject", "train", "evaluate", "promote", "rollback", "list"]
    ),
]
FORGETFUL = {"CRUCIBLE_TOOLS__MEMORY": "false", "CRUCIBLE_TOOLS__DATASET_LOGGING": "false"}
"""Loading the text encoder takes longer than everything else that most of these tests do."""
REMEMBERS = {"CRUCIBLE_TOOLS__MEMORY": "true", "CRUCIBLE_TOOLS__DATASET_LOGGING": "true"}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(["```python\ndef double(n):\n    return n + n\n```"]))
    return path


class Crucible:
    """Runs `crucible …` in a folder of its own, with scripted answers."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.folder, self.script = folder, script

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(REPOSITORY / "main.py"), *arguments],
            env={
                **os.environ,
                "CRUCIBLE_MODEL__SCRIPT": str(self.script),
                "CRUCIBLE_MODEL__ENGINE": "scripted",
                **FORGETFUL,
                **environment,
            },
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def crucible(tmp_path: Path, script: Path) -> Crucible:
    return Crucible(tmp_path, script)


TASK = "Write double(n): twice n.\nassert double(2) == 4"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_that_says_what_it_does(crucible: Crucible, command: list[str]) -> None:
    done = crucible(*command, "--help")
    assert done.returncode == 0 and "Usage:" in done.stdout and len(done.stdout.split("\n")) > 6


def test_help_lists_every_command(crucible: Crucible) -> None:
    shown = crucible("--help").stdout
    assert all(command[0] in shown for command in COMMANDS)


def test_without_a_terminal_crucible_alone_shows_help(crucible: Crucible) -> None:
    assert "Usage:" in crucible().stdout


@pytest.mark.sandbox
def test_solve_prints_the_program_and_nothing_else(crucible: Crucible) -> None:
    done = crucible("solve", TASK, "--approve", "auto")
    assert (done.returncode, done.stdout, done.stderr) == (0, "def double(n):\n    return n + n\n", "")


@pytest.mark.sandbox
def test_solve_json_keeps_the_contract(crucible: Crucible) -> None:
    done = crucible("solve", "-", "--approve", "auto", "--json", stdin=TASK)
    result = json.loads(done.stdout)
    assert result["status"] == "solved" and result["verdict"]["passed"] == 1
    wanted = "run_id task_id status code verdict cycles samples tokens wall_s model adapter strategy confidence findings episode_id"
    assert set(wanted.split()) <= set(result) and set(result["tokens"]) == {"prompt", "completion"}


@pytest.mark.sandbox
def test_out_is_written_and_stdout_stays_empty(crucible: Crucible) -> None:
    done = crucible("solve", TASK, "--approve", "auto", "--out", "double.py")
    assert done.stdout == "" and (crucible.folder / "double.py").read_text().startswith("def double")
    assert [path.name for path in crucible.folder.glob(".double*")] == []


@pytest.mark.sandbox
def test_unsolved_is_exit_code_1_and_refused_is_3(crucible: Crucible) -> None:
    wrong = TASK.replace("4", "5")
    assert crucible("solve", wrong, "--approve", "auto", "--cycles", "1").returncode == 1
    refused = crucible("solve", TASK)
    assert refused.returncode == 3
    assert "not run: there is no terminal to ask at" in refused.stderr and "static checks" in refused.stderr
    assert json.loads(crucible("solve", TASK, "--approve", "never", "--json").stdout)["status"] == "refused"


@pytest.mark.sandbox
def test_what_was_solved_is_found_again(crucible: Crucible) -> None:
    crucible("solve", TASK, "--approve", "auto", **REMEMBERS)
    (hit,) = json.loads(crucible("memory", "search", "multiply by two", "--json").stdout)
    assert set(hit) == {"episode_id", "score", "kind", "title", "text", "code", "solved", "created", "trust"}
    assert hit["solved"] and "def double" in hit["code"]
    assert json.loads(crucible("memory", "stats", "--json").stdout)["episodes"] == 1


def test_searching_an_empty_memory_finds_nothing(crucible: Crucible) -> None:
    assert json.loads(crucible("memory", "search", "anything", "--json").stdout) == []


BAD = {
    "empty task": (["solve", "  "], "the task is empty"),
    "missing file": (["solve", "missing.yaml"], "cannot read missing.yaml: No such file or directory"),
    "missing tests": (["solve", "x", "--tests", "t.py"], "cannot read t.py: No such file or directory"),
    "unknown model": (["solve", "x", "--engine", "embedded", "--model", "qwen2.5-coder-1.5"], "qwen2.5-coder-1.5b"),
    "unknown strategy": (["solve", "x", "--strategy", "resampel"], "resample"),
    "unknown language": (["solve", "x", "--language", "cobol"], "unknown language 'cobol'"),
    "tests that do not parse": (["solve", "x", "--tests", "broken.py"], "line 2"),
    "unknown engine": (["solve", "x", "--engine", "steam"], "steam"),
    "unknown option": (["solve", "x", "--strateg", "auto"], "--strategy"),
    "bad samples": (["solve", "x", "--samples", "0"], "--samples"),
    "out in no folder": (["solve", "x", "--out", "no/where.py"], "there is no folder no"),
    "out is a folder": (["solve", "x", "--out", "."], "is a folder"),
    "no such run": (["resume", "feed"], "no run with the id 'feed'"),
    "nothing to resume": (["resume"], "no interrupted run"),
    "empty query": (["memory", "search", " "], "the query is empty"),
    "adapter": (["solve", "x", "--engine", "embedded", "--adapter", "mine"], "mine"),
    "misspelt setting": (["solve", "x", "--config", "misspelt.yaml"], "max_cycles"),
    "no such settings file": (["config", "validate", "none.yaml"], "none.yaml"),
    "program not UTF-8": (["sandbox", "run", "latin.py"], "latin.py, line 1: not UTF-8"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_exit_code_2_and_says_what_and_where(crucible: Crucible, arguments: list[str], said: str) -> None:
    (crucible.folder / "broken.py").write_text("x = 1\nassert f(1 == 2\n")
    (crucible.folder / "misspelt.yaml").write_text("cycles:\n  max_cycels: 3\n")
    (crucible.folder / "latin.py").write_bytes(b"x = '\xe9'\n")
    done = crucible(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_json_too_where_json_was_asked_for(crucible: Crucible) -> None:
    done = crucible("solve", " ", "--json")
    assert json.loads(done.stdout) == {
        "status": "error",
        "error": "the task is empty: say what the program should do",
        "exit_code": 2,
    }


def test_hostile_text_cannot_drive_the_terminal(crucible: Crucible) -> None:
    done = crucible("solve", "x", "--model", "evil\x1b]0;owned\x07\u202e", "--engine", "embedded")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr


def test_a_store_that_cannot_be_written_is_exit_code_3(crucible: Crucible, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    done = crucible("solve", TASK, "--approve", "auto", CRUCIBLE_HOME=str(tmp_path / "blocked"))
    assert done.returncode == 3 and "CRUCIBLE_HOME" in done.stderr and "Traceback" not in done.stderr


def test_doctor_names_what_is_missing(crucible: Crucible, tmp_path: Path) -> None:
    done = crucible("doctor", "--json", CRUCIBLE_MODEL__ENGINE="embedded", CRUCIBLE_CACHE=str(tmp_path / "empty"))
    rows = {row["part"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 3
    assert not rows["model"]["ok"] and "crucible models pull" in rows["model"]["detail"]
    assert rows["sandbox"]["ok"] and rows["nodes"]["ok"]


def test_a_closed_pipe_is_no_crash(crucible: Crucible) -> None:
    command = f"{sys.executable} {REPOSITORY / 'main.py'} config show | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=crucible.folder)
    assert "Traceback" not in done.stderr
