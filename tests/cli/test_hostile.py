"""A hostile task or answer is shown, and drives nothing: no escape sequence, no markup, no line of its own."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from crucible.cli.view import SolveView
from crucible.main import app
from crucible.types import Event, Feedback, FindingKind, Task
from tests.conftest import Solver

EVIL = "\x1b[31m\x1b]0;owned\x07\x9b2J\u202ecod\u2066e\u200b[red]x[/red][link=http://e]y[/link]\x00\r\x08"
LINES = f"{EVIL}\nFORGED solved"
RUNS = EVIL.translate(dict.fromkeys(map(ord, "\u202e\u2066\x00")))
"""What of it a program may hold: the policy denies one that reads otherwise than it runs."""
ANSWER = f"```python\ndef double(n):\n    '''{RUNS}'''\n    return n + n\n```"
TASK = Task(prompt=f"Write double(n).\n{LINES}", title=LINES, tests="assert double(2) == 4", id="t")


def harmless(shown: str) -> None:
    for character in "\x1b\x07\x08\x9b\x00\u202e\u2066\u200b":
        assert character not in shown, repr(character)
    assert not any(line.startswith("FORGED") for line in shown.replace("\r", "\n").split("\n"))


def view_of(*events: Event) -> str:
    """What the view prints on a terminal without colours, so that every escape sequence in it is the content's."""
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, color_system=None, width=200, highlight=False, legacy_windows=False
    )
    view = SolveView(console, max_cycles=1)
    for event in events:
        view(event)
    console.print(view._render())
    return file.getvalue()


def event(kind: str, **data: object) -> Event:
    return Event(kind=kind, run_id="r", data=data)


CASE = {"status": "wrong", "call": LINES, "expected": LINES, "actual": LINES, "message": LINES}
EVENTS = {
    "model": event("run-started", resumed=False, model={"name": LINES, "engine": LINES}, task={}),
    "secrets": event("redacted", kinds=[LINES]),
    "titles": event("retrieved", episodes=[{"title": LINES, "episode_id": "e", "score": 0.9}]),
    "stream": event("token", index=0, text=LINES.replace("FORGED", "")),
    "finding": event(
        "checked",
        attempt_id=LINES,
        findings=[Feedback(kind=FindingKind.LINT, severity="error", message=LINES, rule=LINES).model_dump()],
    ),
    "verdict": event(
        "verdict",
        attempt_id="1",
        verdict={"verdict": "fail", "passed": 0, "total": 1, "reason": LINES, "cases": [CASE]},
    ),
    "diagnosis": event("diagnosis", attempt_id="1", cause=LINES, fix=LINES),
    "notice": event("engine-restarted", message=LINES),
    "refusal": event("refused", reason=LINES),
    "decision": event("decision", decision="repair", attempt_id=LINES),
    "sampling": event("sampling", cycle=1, samples=1, strategy=LINES),
}


@pytest.mark.parametrize("shown", EVENTS.values(), ids=EVENTS)
def test_every_event_is_shown_harmless(shown: Event) -> None:
    text = view_of(shown)
    harmless(text)
    if shown.kind not in ("decision",):
        assert "[red]x[/red]" in text


def test_what_is_being_done_is_shown_harmless() -> None:
    file = io.StringIO()
    view = SolveView(Console(file=file, force_terminal=True, color_system=None, width=200), max_cycles=1)
    view.doing(f"loading {LINES}")
    view._console.print(view._render())
    assert "loading" in file.getvalue()
    harmless(file.getvalue())


@pytest.mark.sandbox
def test_a_hostile_run_is_listed_shown_and_found_harmless(solver: Solver) -> None:
    crucible = solver(ANSWER)
    episode = crucible.solve(TASK)
    assert episode.status == "solved"
    crucible.close()
    for arguments in (
        ["runs", "list"],
        ["runs", "show", episode.run_id],
        ["memory", "search", "double"],
        ["audit", "show"],
    ):
        done = CliRunner().invoke(app, arguments, standalone_mode=False)
        assert done.exception is None, done.exception
        harmless(done.stdout)
        assert arguments[0] == "audit" or "[red]x[/red]" in done.stdout
        done = CliRunner().invoke(app, [*arguments, "--json"], standalone_mode=False)
        assert done.stdout.isascii() and "\x1b" not in done.stdout and "\x00" not in done.stdout


@pytest.mark.sandbox
def test_the_report_of_a_hostile_answer_is_harmless_on_a_terminal(
    solver: Solver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from crucible.cli import output
    from crucible.cli.solve import report

    file = io.StringIO()
    monkeypatch.setattr(
        output, "stdout", lambda: Console(file=file, force_terminal=True, color_system=None, width=200, highlight=False)
    )
    report(solver(ANSWER).solve(TASK), out=None, as_json=False)
    harmless(file.getvalue())
    assert "[red]x[/red]" in file.getvalue()
