"""The log: one JSON object a line whatever was said, no secrets, bounded, shared by several processes."""

from __future__ import annotations

import json
import logging
import stat
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.errors import CancelledError, InputError
from crucible.logs import MAX_FILE_BYTES, MAX_TEXT, RunLog
from crucible.types import Event

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def read(log: RunLog) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.path.read_bytes().split(b"\n")[:-1]]


def refused(reason: str) -> Event:
    return Event(kind="refused", run_id="r1", data={"reason": reason})


def test_a_record_says_when_how_bad_what_and_of_which_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "logs", "info")
    log.event(refused("no"))
    (line,) = read(log)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "crucible.run", "message": "refused", "run_id": "r1", "reason": "no"}


@given(text=st.text(max_size=200))
def test_no_text_forges_a_record_or_drives_a_terminal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    log = RunLog(tmp_path_factory.mktemp("t"), "debug")
    log.event(refused(f'x\n{{"message": "forged"}}\r\n\x1b[31m\u202e{text}'))
    log.event(Event(kind=f"kind\n{text}", run_id=text, data={text: text}))
    content = log.path.read_bytes()
    assert (
        content.isascii() and content.count(b"\n") == len(read(log)) and b"\r" not in content and b"\x1b" not in content
    )
    shown = "".join(str(value) for line in read(log) for value in line.values())
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    assert all(line["message"] != "forged" for line in read(log))
    log.close()


def test_secrets_stay_out(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "debug")
    log.event(refused(f"the key is {TOKEN}"))
    log.event(Event(kind="checked", run_id="r", data={"findings": [{"message": [TOKEN]}]}))
    with pytest.raises(InputError), log.following("r"):
        raise InputError(f"not with {TOKEN}")
    assert TOKEN not in log.path.read_text() and log.path.read_text().count("[redacted: GitHub Token]") == 3


def test_long_texts_are_cut(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "info")
    log.event(refused("x" * 100_000))
    assert len(read(log)[0]["reason"]) == MAX_TEXT


@pytest.mark.parametrize(("level", "kinds"), [("debug", 3), ("info", 2), ("warning", 1), ("error", 0), ("off", 0)])
def test_the_level_chooses(tmp_path: Path, level: str, kinds: int) -> None:
    log = RunLog(tmp_path / "logs", level)
    for kind in ("refused", "decision", "a-plugins-own", "token"):
        log.event(Event(kind=kind, run_id="r", data={}))
    assert (len(read(log)) if log.path.exists() else 0) == kinds
    if level == "off":
        assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "error", [InputError("bad"), CancelledError("stopped"), KeyboardInterrupt(), ValueError("bug")]
)
def test_what_ends_a_run_is_logged_and_raised(tmp_path: Path, error: BaseException) -> None:
    log = RunLog(tmp_path, "info")
    with pytest.raises(type(error)), log.following("r"):
        raise error
    (line,) = read(log)
    interrupted = isinstance(error, CancelledError | KeyboardInterrupt)
    assert line["message"] == ("run-interrupted" if interrupted else "run-failed") and line["run_id"] == "r"
    assert interrupted or (line["error"], line["type"]) == (str(error), type(error).__name__)


def test_what_a_module_warns_of_is_there_too_until_closed(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "info")
    logging.getLogger("crucible.memory.store").warning("could not compact %s", "x\ny")
    log.close()
    log.close()
    logging.getLogger("crucible.memory.store").warning("unheard")
    log.event(refused("unheard"))
    assert [line["message"] for line in read(log)] == ["could not compact x\\ny"]


def test_two_logs_of_one_process_do_not_mix(tmp_path: Path) -> None:
    one, other = RunLog(tmp_path / "one", "info"), RunLog(tmp_path / "other", "info")
    one.event(refused("one"))
    other.event(refused("other"))
    assert [line["reason"] for line in read(one)] == ["one"]
    one.close()
    other.close()


def test_the_file_is_bounded_and_keeps_the_one_before(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "info")
    log.path.write_bytes(b"x" * (MAX_FILE_BYTES - 10) + b"\n")
    log.event(refused("new"))
    assert len(read(log)) == 1
    assert (tmp_path / "crucible.jsonl.1").stat().st_size == MAX_FILE_BYTES - 9


def test_others_cannot_read_it(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "info")
    log.event(refused("no"))
    assert stat.S_IMODE(log.path.stat().st_mode) & 0o077 == 0


def test_a_folder_that_cannot_be_made_leaves_no_log_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = RunLog(tmp_path / "file" / "logs", "info")
    log.event(refused("no"))
    assert "CRUCIBLE_HOME" in log.failure


def test_a_log_that_cannot_be_written_is_said_once_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RunLog(tmp_path, "info")
    log.path.mkdir()
    for _ in range(3):
        log.event(refused("no"))
    assert capsys.readouterr().err.count("cannot write") == 1


def test_processes_share_the_file(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from crucible.logs import RunLog; from crucible.types import Event\n"
        "log = RunLog(Path(sys.argv[1]), 'info')\n"
        "for n in range(100): log.event(Event(kind='refused', run_id=sys.argv[2], data={'reason': 'x' * 500}))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(n)]) for n in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = read(RunLog(tmp_path, "info"))
    assert len(lines) == 300 and {line["run_id"] for line in lines} == {"0", "1", "2"}
