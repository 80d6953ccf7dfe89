"""Static findings, fingerprints, safe text and approval."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crucible.security.approval import approver_for
from crucible.security.fingerprint import fingerprint
from crucible.security.text import one_line, printable
from crucible.security.validation.source import MAX_CHARS
from crucible.security.validator import validate


@pytest.mark.parametrize(
    ("code", "kind", "line", "said"),
    [
        ("x = (", "syntax", 1, "never closed"),
        ("def f():\n  return nowhere\n", "lint", 2, "nowhere"),
        ("x = eval('1')\n", "security", 1, "eval"),
        ("import os\nos.system('ls')\n", "security", 2, "shell"),
        ("().__class__.__subclasses__()\n", "security", 1, "reaches into the interpreter"),
        ("import ctypes\nctypes.CDLL(None)\n", "security", 1, "imports ctypes"),
        ("m = __import__('o' + 's')\n", "security", 1, "__import__"),
        ("x = '\0'", "syntax", 1, "null byte"),
        ("(" * 500, "syntax", None, "nested 500 deep"),
        ("x = 1\n" * MAX_CHARS, "syntax", None, "are allowed"),
    ],
)
def test_findings_name_kind_place_and_problem(code: str, kind: str, line: int | None, said: str) -> None:
    found = [finding for finding in validate(code) if finding.kind == kind]
    assert found and any(finding.line == line and said in finding.message for finding in found), found


def test_clean_code_has_no_findings() -> None:
    assert validate("def double(n: int) -> int:\n    return n + n\n") == ()


def test_errors_come_first() -> None:
    severities = [finding.severity for finding in validate("import ctypes\nx = eval('1')\nprint(nowhere, ctypes)\n")]
    assert severities == sorted(severities, key=lambda severity: severity != "error") and severities[0] == "error"


@given(st.text(max_size=200))
def test_no_text_breaks_fingerprints(code: str) -> None:
    assert len(fingerprint(code)) == 64


def test_equal_programs_have_equal_fingerprints() -> None:
    one = fingerprint("def f( x ):\n  # comment\n  return x+1")
    assert one == fingerprint('def f(x):\n    """Doc."""\n    return (x + 1)\n')
    assert one != fingerprint("def f(y):\n    return y + 1\n")
    assert fingerprint("def f(:") == fingerprint("def   f(:")


@given(st.text())
def test_printable_text_cannot_drive_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in shown)
    assert "\n" not in one_line(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_limits_cut() -> None:
    assert printable("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("mode", "answer", "granted"), [("auto", None, True), ("never", True, False), ("ask", None, False)]
)
def test_policies_that_need_nobody(mode: str, answer: bool | None, granted: bool) -> None:
    ask = None if answer is None else (lambda *_: answer)
    approval = approver_for(mode, ask).approve("x = 1", ())  # type: ignore[arg-type]
    assert approval.granted == granted and approval.mode == mode and approval.reason


@pytest.mark.parametrize("answer", [True, False])
def test_ask_passes_the_answer_on(answer: bool) -> None:
    seen: list[str] = []
    approval = approver_for("ask", lambda code, _: (seen.append(code), answer)[1]).approve("x = 1", ())
    assert approval.granted == answer and seen == ["x = 1"]
