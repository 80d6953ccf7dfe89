"""`crucible audit` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crucible.main import app
from crucible.security.trust.audit import AuditLog

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202e [bold]x[/bold]\nforged line"


@pytest.fixture
def log(own_home: Path) -> AuditLog:
    log = AuditLog(own_home / "audit.jsonl")
    for granted in (True, False):
        log.append("approval", {"run": "r1"}, {"granted": granted, "reason": HOSTILE})
    return log


def crucible(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", *arguments], standalone_mode=False)
    assert done.exception is None, done.exception
    return done.return_value, done.stdout


def test_a_whole_log_is_exit_code_0_and_prints_the_hash_to_note(log: AuditLog) -> None:
    code, shown = crucible("verify")
    assert code == 0 and shown == f"whole, 2 records, last {log.last(1)[0]['sha256']}\n"


def test_a_broken_log_is_exit_code_1_and_json_says_where(log: AuditLog) -> None:
    log.path.write_text(log.path.read_text().replace("true", "null"))
    code, shown = crucible("verify", "--json")
    report = json.loads(shown)
    assert code == 1 and not report["ok"] and report["problems"] == ["line 1: was changed: its hash does not fit"]
    assert crucible("verify")[1].startswith("BROKEN, 2 records")


def test_nothing_recorded_is_whole(own_home: Path) -> None:
    assert crucible("verify")[0] == 0
    assert crucible("show") == (0, "nothing recorded yet\n")


def test_show_is_one_line_a_record_whatever_it_holds(log: AuditLog) -> None:
    code, shown = crucible("show")
    assert code == 0 and len(shown.splitlines()) == 2
    assert "\x1b" not in shown and "\u202e" not in shown and "[bold]" in shown and "run=r1" in shown
    assert len(json.loads(crucible("show", "-n", "1", "--json")[1])) == 1
