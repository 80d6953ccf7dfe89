"""Crucible with other streams, limits and environments than a developer's terminal: one line, and no result is lost."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.app import Crucible
from crucible.types import Episode
from tests.cli.test_commands import FORGETFUL, REMEMBERS
from tests.conftest import DOUBLE, RIGHT, WRONG, Solver

REPOSITORY = Path(__file__).parents[2]
MAIN = f"{shlex.quote(sys.executable)} {shlex.quote(str(REPOSITORY / 'main.py'))}"
TASK = "Write double(n). assert double(2) == 4"
SOLVE = f"{MAIN} solve {shlex.quote(TASK)} --engine scripted --approve auto --cycles 1"
PROGRAM = "def double(n):\n    return n * 2  # größer 🙂"


class Shell:
    """Runs a line of bash in a folder of its own, with scripted answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "script.json"
        self.script.write_text(json.dumps([f"```python\n{PROGRAM}\n```"]))

    def __call__(self, line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["bash", "-c", line],
            env={**os.environ, "CRUCIBLE_MODEL__SCRIPT": str(self.script), **FORGETFUL, **environment},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=150,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


# ------------------------------------------------------------- streams


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("problems list >&-", 3),
        ("problems list --json >/dev/full", 3),
        ("problems list <&- >&- 2>&-", 3),
        ("problems list 2>/dev/full", 0),
        ("problems list 2>&-", 0),
        ("nope 2>/dev/full", 2),
        ("runs show nope --json >/dev/full", 3),
    ],
)
def test_streams_that_take_nothing_end_in_one_line(shell: Shell, line: str, code: int) -> None:
    done = shell(f"{MAIN} {line}")
    assert done.returncode == code
    if code == 3 and "2>&-" not in line:
        assert b"cannot write the output" in done.stderr


def test_unbuffered_output_on_a_full_disk_is_one_line(shell: Shell) -> None:
    done = shell(f"{MAIN} problems list >/dev/full", PYTHONUNBUFFERED="1")
    assert done.returncode == 3 and done.stderr.count(b"\n") == 1


@pytest.mark.sandbox
@pytest.mark.parametrize("broken", [">/dev/full", ">&-"])
def test_a_program_that_stdout_cannot_take_is_in_out_and_the_exit_code_tells(shell: Shell, broken: str) -> None:
    done = shell(f"{SOLVE} --json --out a.py {broken}")
    assert done.returncode == 3 and b"crucible runs show" in done.stderr
    assert (shell.folder / "a.py").read_text() == PROGRAM + "\n"


@pytest.mark.sandbox
def test_without_stdin_it_works(shell: Shell) -> None:
    assert shell(f"{SOLVE} <&-").returncode == 0


@pytest.mark.sandbox
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_program_is_utf_8_whatever_the_streams_encoding(shell: Shell, encoding: str) -> None:
    done = shell(SOLVE, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and done.stdout.decode("utf-8").rstrip() == PROGRAM


@pytest.mark.sandbox
def test_what_a_program_prints_is_escaped_where_the_stream_lacks_it(shell: Shell) -> None:
    (shell.folder / "uni.py").write_text("print('é')")
    done = shell(f"{MAIN} sandbox run uni.py", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stdout == b"\\xe9\n"


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything(shell: Shell) -> None:
    source, sink = os.pipe()
    os.set_blocking(sink, False)
    command = [sys.executable, str(REPOSITORY / "main.py"), "config", "show", "--json"]
    with subprocess.Popen(command, stdout=sink) as process:
        os.close(sink)
        with os.fdopen(source, "rb") as reader:
            assert json.loads(reader.read())
    assert process.returncode == 0


def test_an_undecodable_task_is_bad_input(shell: Shell) -> None:
    done = shell(f"{MAIN} solve $'Write gr\\xf6. assert double(2) == 4' --engine scripted --approve auto")
    assert done.returncode == 2 and b"UTF-8" in done.stderr


# ------------------------------------------------------------- --out


@pytest.mark.sandbox
def test_out_follows_links_and_fills_pipes_and_devices(shell: Shell) -> None:
    done = shell(f"echo old > real.py; ln -s real.py link.py; {SOLVE} --out link.py")
    assert done.returncode == 0 and (shell.folder / "link.py").is_symlink()
    assert (shell.folder / "real.py").read_text().rstrip() == PROGRAM
    done = shell(f"mkfifo pipe; (cat pipe > read) & {SOLVE} --out pipe; wait")
    assert (shell.folder / "read").read_text().rstrip() == PROGRAM
    done = shell(f"{SOLVE} --out /dev/stdout | cat")
    assert done.stdout.decode().rstrip() == PROGRAM
    done = shell(f"{SOLVE} --out /dev/full")
    assert done.returncode == 3 and done.stdout.decode().rstrip() == PROGRAM and b"/dev/full" in done.stderr
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


# ------------------------------------------------------------- machines


@pytest.mark.sandbox
@pytest.mark.parametrize("limit", ["-n 128", "-u 40", "-f 2000", "-v 4000000", "-s 512", "-c 0", "-l 0"])
def test_a_stricter_machine_keeps_its_limit_and_the_sandbox_works(shell: Shell, limit: str) -> None:
    (shell.folder / "one.py").write_text("import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))")
    done = shell(f"ulimit {limit}; {MAIN} sandbox run one.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (b"(128, 128)" if limit == "-n 128" else b"(256, 256)")


@pytest.mark.parametrize("home", [None, "", "relative"])
def test_a_user_without_a_home_is_told_what_to_set(home: str | None) -> None:
    if os.geteuid() != 0:
        pytest.skip("becoming a user without a name needs root")
    # Imported before the change of user, to whom the interpreter's own folder may be closed.
    code = (
        "import os, pwd, crucible.config.environment\nfrom crucible.config import load_settings\nload_settings()\n"
        "os.chdir('/'); os.setgid(12345); os.setuid(12345); os.environ.clear()\n"
        f"os.environ.update({ {} if home is None else {'HOME': home}!r})\n"
        "try: load_settings()\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.stdout.startswith("ConfigError") and "set CRUCIBLE_HOME" in done.stdout, done.stderr


# ------------------------------------------------------------- what fails beside the work


@pytest.mark.sandbox
def test_a_memory_that_fails_at_the_end_is_a_warning(shell: Shell) -> None:
    home = shell.folder / "h"
    home.mkdir()
    (home / "episodes").symlink_to("/nonexistent/place")
    done = shell(f"{SOLVE} --out a.py --json", CRUCIBLE_HOME=str(home), **REMEMBERS)
    assert done.returncode == 0 and b"warning: this run is not remembered" in done.stderr
    assert (shell.folder / "a.py").exists() and "not remembered" in json.loads(done.stdout)["warnings"][0]


@pytest.mark.sandbox
def test_a_log_that_cannot_be_written_is_a_warning(shell: Shell) -> None:
    home = shell.folder / "h"
    home.mkdir()
    (home / "logs").write_text("")
    done = shell(f"{SOLVE} --json", CRUCIBLE_HOME=str(home))
    assert done.returncode == 0 and "nothing is logged" in json.loads(done.stdout)["warnings"][0]


@pytest.mark.sandbox
def test_an_audit_log_that_cannot_be_written_lets_nothing_run_and_the_program_is_handed_over(shell: Shell) -> None:
    home = shell.folder / "h"
    (home / "audit.jsonl").mkdir(parents=True)
    done = shell(SOLVE, CRUCIBLE_HOME=str(home))
    assert done.returncode == 3 and b"audit" in done.stderr and done.stdout.decode().rstrip() == PROGRAM


def failing_memory(app: Crucible, error: Exception) -> Crucible:
    class Failing:
        def add(self, episode: Episode) -> None:
            raise error

        def fetch_semantic(self, query: str, k: int = 5, *, solved: bool | None = None) -> list[object]:
            raise error

        def close(self) -> None: ...

    app.__dict__["memory"] = Failing()
    return app


@pytest.mark.sandbox
@pytest.mark.parametrize("error", [OSError("disk gone"), RuntimeError("no encoder"), UnicodeError("half a pair")])
def test_whatever_a_store_raises_the_episode_is_returned(solver: Solver, error: Exception) -> None:
    episode = failing_memory(solver(RIGHT), error).solve(DOUBLE)
    assert episode.status == "solved"
    assert [str(error) in warning for warning in episode.warnings] == [True, True]


@pytest.mark.sandbox
def test_where_runs_are_measured_a_store_that_fails_ends_them(solver: Solver) -> None:
    app = failing_memory(solver(RIGHT), OSError("disk gone"))
    app.strict = True
    with pytest.raises(OSError, match="disk gone"):
        app.solve(DOUBLE)


@pytest.mark.sandbox
def test_checkpoints_that_cannot_be_written_cost_the_resume_and_not_the_program(solver: Solver) -> None:
    app = solver(WRONG, RIGHT, cycles={"strategy": "repair"})
    app.runs.saver.conn.execute("PRAGMA query_only = 1")
    episode = app.solve(DOUBLE)
    assert episode.status == "solved" and any("checkpoint" in warning for warning in episode.warnings)


@pytest.mark.sandbox
def test_half_a_surrogate_pair_is_replaced_everywhere(solver: Solver) -> None:
    app = solver("Sure \ud83d\n```python\ndef double(n):\n    # \ud83d\ude42 \ud83d\n    return n + n\n```")
    episode = app.solve(DOUBLE)
    assert episode.status == "solved" and not episode.warnings and "# 🙂 \ufffd" in episode.code
    assert app.memory.get(episode.episode_id) is not None
