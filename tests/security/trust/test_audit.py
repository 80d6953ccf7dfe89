"""The audit log: what is on record stays, and no record can be changed, removed, put in or moved without `verify` saying so."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.errors import StoreError
from crucible.security.trust.audit import GENESIS, MISMATCH, TORN, AuditLog, AuditReport

COUNT = 5


def written(path: Path, count: int = COUNT) -> AuditLog:
    log = AuditLog(path)
    for number in range(count):
        log.append("approval", {"run": f"r{number}"}, {"granted": number % 2 == 0, "reason": "said so"})
    return log


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return written(tmp_path / "audit.jsonl")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("audit") / "audit.jsonl").path


def with_content(intact: Path, folder: Path, content: bytes) -> AuditReport:
    """What `verify` says of the intact log's head beside a log of this content."""
    log = AuditLog(folder / "audit.jsonl")
    log.path.write_bytes(content)
    (folder / "audit.head.json").write_bytes(intact.with_suffix(".head.json").read_bytes())
    return log.verify()


# ------------------------------------------------------------- what is recorded


def test_a_record_says_what_who_when_and_what_came_before(log: AuditLog) -> None:
    records = log.last(COUNT)
    assert [record["seq"] for record in records] == [1, 2, 3, 4, 5]
    assert [record["previous"] for record in records] == [GENESIS, *[record["sha256"] for record in records[:-1]]]
    assert records[0]["actor"] == pwd.getpwuid(os.getuid()).pw_name
    assert records[0]["time"].endswith("+00:00") and records[0]["time"] < records[-1]["time"]


def test_an_intact_log_verifies(log: AuditLog) -> None:
    report = log.verify()
    assert report.ok and report.notes == () and report.records == COUNT
    assert report.last == log.last(1)[0]["sha256"]


def test_no_log_is_no_problem_and_makes_no_file(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "home" / "audit.jsonl")
    assert log.verify().ok and log.last(3) == []
    assert not (tmp_path / "home").exists()


def test_others_cannot_read_it(log: AuditLog) -> None:
    assert log.path.stat().st_mode & 0o077 == 0


def test_any_text_can_be_recorded(log: AuditLog) -> None:
    text = "line\nline\r\x1b[31m\u202e\x00 half \ud83d"
    log.append("approval", {}, {"reason": text})
    assert log.verify().ok and log.last(1)[0]["details"]["reason"] == text
    assert log.path.read_bytes().isascii() and log.path.read_bytes().count(b"\n") == COUNT + 1


# ------------------------------------------------------------- what is found


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_every_changed_byte_is_found(
    intact: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(intact.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != content[place]))
    assert not with_content(intact, tmp_path_factory.mktemp("t"), bytes(content)).ok


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_every_byte_removed_or_put_in_is_found(
    intact: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = intact.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    removed = content[:place] + content[place + 1 :]
    added = content[:place] + bytes([data.draw(st.integers(0, 255))]) + content[place:]
    for changed in (removed, added):
        assert not with_content(intact, tmp_path_factory.mktemp("t"), changed).ok


@settings(max_examples=100, deadline=None)
@given(order=st.lists(st.integers(0, COUNT - 1), max_size=2 * COUNT).filter(lambda o: o != list(range(COUNT))))
def test_every_other_choice_or_order_of_records_is_found(
    intact: Path, tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    lines = intact.read_bytes().splitlines(keepends=True)
    assert not with_content(intact, tmp_path_factory.mktemp("t"), b"".join(lines[index] for index in order)).ok


@pytest.mark.parametrize("kept", range(COUNT))
def test_a_cut_off_tail_is_found_by_the_head(intact: Path, tmp_path: Path, kept: int) -> None:
    lines = intact.read_bytes().splitlines(keepends=True)
    report = with_content(intact, tmp_path, b"".join(lines[:kept]))
    assert not report.ok and f"the log has {kept}" in report.problems[-1]


def test_a_record_with_a_right_hash_that_nobody_announced_is_found(log: AuditLog, tmp_path: Path) -> None:
    before = log.path.with_suffix(".head.json").read_bytes()
    log.append("approval", {}, {"granted": True})
    log.path.with_suffix(".head.json").write_bytes(before)
    assert not log.verify().ok


def test_a_missing_or_damaged_head_is_found(log: AuditLog) -> None:
    head = log.path.with_suffix(".head.json")
    for content in (b"", b"{}", b"[1]", b'{"count": "5", "sha256": "", "pending": null}'):
        head.write_bytes(content)
        assert not log.verify().ok
    head.unlink()
    assert not log.verify().ok


def test_a_problem_names_the_line(log: AuditLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"said so", b"said no")
    log.path.write_bytes(b"".join(lines))
    assert log.verify().problems == ("line 3: was changed: its hash does not fit",)


def test_tampering_stays_on_record_after_the_next_append(log: AuditLog) -> None:
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:3]))
    log.append("approval", {}, {})
    assert [record["event"] for record in log.last(2)] == [MISMATCH, "approval"]
    (problem,) = log.verify().problems
    assert problem.startswith("line 4: the log did not fit its head") and "'head_count': 5" in problem


@given(content=st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_no_content_breaks_reading_or_going_on(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    log = AuditLog(tmp_path_factory.mktemp("t") / "audit.jsonl")
    log.path.write_bytes(content)
    assert not log.verify().ok or content == b""
    log.append("approval", {}, {})
    assert log.last(1)[0]["event"] == "approval"


def test_a_hostile_line_of_json_is_only_a_problem(log: AuditLog) -> None:
    deep = b"[" * 200_000
    wrong = [dict.fromkeys(["seq", "time"], 1), {**log.last(1)[0], "subject": "text"}, {**log.last(1)[0], "seq": True}]
    for line in (deep, *(json.dumps(item).encode() for item in wrong), b"x" * 200_000):
        log.path.write_bytes(line + b"\n")
        assert not log.verify().ok and log.last(5) == []


# ------------------------------------------------------------- crashes


@pytest.mark.parametrize("torn", [b'{"seq":6,"ti', b"\xff\x00", b"x" * 200_000])
def test_a_torn_last_line_is_reported_and_set_aside(log: AuditLog, torn: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(torn)
    if len(torn) < 1000:
        report = log.verify()
        assert report.ok and f"{len(torn)} bytes" in report.notes[0]
    log.append("approval", {"run": "next"}, {})
    said, next_one = log.last(2)
    assert said["event"] == TORN and said["details"]["bytes"] == len(torn)
    assert next_one["subject"] == {"run": "next"}
    assert log.verify().ok and log.verify().notes == ()
    assert log.path.with_suffix(".torn").read_bytes() == torn + b"\n"


def test_a_writer_killed_between_record_and_head_breaks_nothing(log: AuditLog) -> None:
    before = json.loads(log.path.with_suffix(".head.json").read_bytes())
    record = log.append("approval", {}, {})
    log.path.with_suffix(".head.json").write_text(json.dumps({**before, "pending": record["sha256"]}))
    report = log.verify()
    assert report.ok and "its writer was killed" in report.notes[0]
    log.append("approval", {}, {})
    assert log.verify().ok and log.verify().records == COUNT + 2


def test_a_writer_killed_before_its_record_breaks_nothing(log: AuditLog) -> None:
    head = log.path.with_suffix(".head.json")
    head.write_text(json.dumps({**json.loads(head.read_bytes()), "pending": "f" * 64}))
    assert log.verify().ok
    log.append("approval", {}, {})
    assert log.verify().ok


WRITER = """
import sys
from pathlib import Path
from crucible.security.trust.audit import AuditLog
log = AuditLog(Path(sys.argv[1]))
while True:
    print(log.append("approval", {"writer": sys.argv[2]}, {"reason": "x" * 3000})["seq"], flush=True)
"""


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for round_ in range(3):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, path, f"{round_}.{n}"], stdout=subprocess.PIPE, text=True)
            for n in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None and writer.stdout.readline()
        time.sleep(0.05 * round_)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        said = [int(line) for writer in writers for line in writer.communicate()[0].split() if line]
        log = AuditLog(path)
        report = log.verify()
        assert report.ok, report.problems
        assert report.records >= max(said, default=1)
        log.append("approval", {}, {})
        assert log.verify().ok


def test_threads_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    threads = [threading.Thread(target=written, args=(path, 5)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditLog(path).verify().ok and AuditLog(path).verify().records == 20


def test_a_place_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="CRUCIBLE_HOME"):
        AuditLog(tmp_path / "file" / "audit.jsonl").append("approval", {}, {})


def test_a_record_too_large_is_refused_whole(log: AuditLog) -> None:
    with pytest.raises(StoreError, match="too large"):
        log.append("approval", {}, {"reason": "x" * 100_000})
    assert log.verify().ok and log.verify().records == COUNT
