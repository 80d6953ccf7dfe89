"""What is put around the parts of a run: every decision is on record, and no secret reaches store, log or another machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from crucible.app import Crucible, prepare
from crucible.errors import InputError, RateLimitedError, StoreError
from crucible.guards import MAX_CONSTRAINTS, MAX_PROMPT_CHARS, RecordingApprover, RedactingModel
from crucible.models.remote.openai import OpenAIModel
from crucible.models.scripted import ScriptedModel
from crucible.security.base import Sandbox
from crucible.security.trust.approval import approver_for
from crucible.security.trust.audit import AuditLog, os_user
from crucible.types import Approval, Completion, Event, Message, Sampling, Task
from tests.conftest import DOUBLE, RIGHT, Solver, settings_at

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
LEAKY = DOUBLE.model_copy(update={"prompt": f"Write double(n): twice n. My token is {TOKEN}."})
LEAKY_ANSWER = f"```python\ndef double(n):\n    token = '{TOKEN}'\n    return n + n\n```"


class Listening(ScriptedModel):
    """A scripted model on another machine that remembers what it was sent."""

    remote = True

    def __init__(self, replies: list[str]) -> None:
        super().__init__(replies)
        self.heard: list[Message] = []

    def generate(self, messages: Sequence[Message], samplings: Sequence[Sampling], **more: object) -> list[Completion]:
        self.heard += messages
        return super().generate(messages, samplings, **more)  # type: ignore[arg-type]


# ------------------------------------------------------------- approval on record


@pytest.mark.sandbox
@pytest.mark.parametrize(("mode", "granted"), [("auto", True), ("never", False), ("ask", False)])
def test_the_decision_is_in_the_episode_and_in_the_audit_log(solver: Solver, mode: str, granted: bool) -> None:
    app = solver(RIGHT, cycles={"approve": mode})
    episode = app.solve(DOUBLE)
    assert episode.approval is not None
    assert (episode.approval.granted, episode.approval.who) == (granted, os_user())
    (record,) = app.audit.last(10)
    assert record["event"] == "approval" and record["subject"]["run"] == episode.run_id
    assert record["subject"]["task"] == episode.task.id
    assert record["subject"]["code"] == episode.attempts[0].fingerprint
    assert (record["details"]["granted"], record["details"]["mode"]) == (granted, mode)
    assert record["details"]["reason"] == episode.approval.reason
    assert app.audit.verify().ok


def test_a_decision_that_cannot_be_recorded_lets_nothing_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    audit = AuditLog(tmp_path / "file" / "audit.jsonl")
    with pytest.raises(StoreError):
        RecordingApprover(approver_for("auto"), audit, run_id="r", task_id="t").approve("x = 1", ())


def test_the_reason_on_record_holds_no_secret(tmp_path: Path) -> None:
    class Talking:
        def approve(self, code: str, findings: object) -> Approval:
            return Approval(granted=True, mode="ask", reason=f"{TOKEN} " + "x" * 5000)

    audit = AuditLog(tmp_path / "audit.jsonl")
    RecordingApprover(Talking(), audit, run_id="r", task_id="t").approve("x = 1", ())
    assert TOKEN not in audit.path.read_text() and audit.path.stat().st_size < 2000


def test_approvals_from_before_who_was_kept_still_load() -> None:
    assert Approval.model_validate({"granted": True, "mode": "ask", "reason": "", "at": 1.0}).who == ""


# ------------------------------------------------------------- secrets


@pytest.mark.sandbox
def test_what_is_stored_holds_no_secret_and_the_user_is_told(solver: Solver, own_home: Path) -> None:
    app = solver(LEAKY_ANSWER)
    events: list[Event] = []
    episode = app.solve(LEAKY, watch=events.append)
    assert events[0].kind == "redacted" and events[0].data["kinds"] == ("GitHub Token",)
    assert TOKEN in episode.code and episode.status == "solved"  # the user's own copy is whole
    stored = app.memory.get(episode.episode_id)
    assert stored is not None and TOKEN not in stored.model_dump_json()
    assert "[redacted: GitHub Token]" in stored.code and "[redacted: GitHub Token]" in stored.task.prompt
    assert TOKEN not in app.memory.fetch_semantic("double", 1)[0].model_dump_json()
    assert all(TOKEN.encode() not in path.read_bytes() for path in (own_home / "episodes").rglob("*") if path.is_file())
    assert TOKEN not in (own_home / "logs" / "crucible.jsonl").read_text()


@pytest.mark.sandbox
def test_an_episode_without_secrets_is_stored_as_it_is(solver: Solver) -> None:
    app = solver(RIGHT)
    episode = app.solve(DOUBLE)
    assert app.memory.get(episode.episode_id) == episode


@pytest.mark.sandbox
def test_a_model_on_another_machine_is_sent_no_secret(own_home: Path, sandbox: Sandbox) -> None:
    model = Listening([LEAKY_ANSWER])
    events: list[Event] = []
    with Crucible(settings=settings_at(own_home), model=model, sandbox=sandbox) as app:
        app.solve(LEAKY, watch=events.append)
    assert model.heard and not any(TOKEN in message.content for message in model.heard)
    said = [event.data["message"] for event in events if event.kind == "engine-restarted"]
    assert said == ["taken out of what is sent to scripted: GitHub Token"]


@pytest.mark.sandbox
def test_a_model_on_this_machine_gets_the_text_as_it_is(solver: Solver) -> None:
    episode = solver(RIGHT).solve(LEAKY)
    assert any(TOKEN in message.content for prompt in episode.prompts.values() for message in prompt)


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("http://127.0.0.1:8080/v1", False),
        ("http://localhost:1", False),
        ("http://[::1]:1", False),
        ("http://192.168.1.7:8080", True),
        ("https://api.example.org/v1", True),
        ("http://localhost.example.org", True),
    ],
)
def test_another_machine_is_told_by_its_address(url: str, remote: bool) -> None:
    with OpenAIModel(url, "any") as model:
        assert model.remote is remote


def test_a_redacting_model_is_a_model_and_says_each_kind_once() -> None:
    inner = Listening(["one two"])
    with RedactingModel(inner) as model:
        for _ in range(2):
            model.generate([Message(role="user", content=TOKEN)], [Sampling()])
        assert [message.content for message in inner.heard] == ["[redacted: GitHub Token]"] * 2
        assert len(model.notices()) == 1 and model.notices() == []
        assert model.identity == inner.identity and model.count_tokens("a b") == 3


# ------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "x" * (MAX_PROMPT_CHARS + 1)}, "prompt has 262145 characters"),
        ({"tests": "# " + "x" * (1 << 20)}, "tests has"),
        ({"checker": "# " + "x" * (1 << 20)}, "checker has"),
        ({"title": "x" * 5000}, "title has 5000"),
        ({"id": "x" * 5000}, "id has 5000"),
        ({"entry_point": "x" * 5000}, "entry_point has"),
        ({"constraints": ("x", "y" * 5000)}, "constraint 2 has 5000"),
        ({"constraints": ("x",) * (MAX_CONSTRAINTS + 1)}, "101 constraints"),
    ],
)
def test_a_task_beyond_all_bounds_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(Task.model_validate({"prompt": "p", **change}))


@pytest.mark.sandbox
def test_solves_a_minute_are_bounded_where_the_setting_says_so(solver: Solver) -> None:
    app = solver(RIGHT, tools={"solves_per_minute": 1})
    app.solve(DOUBLE)
    with pytest.raises(
        RateLimitedError, match=r"solves_per_minute allows 1 a minute; try again in \d+\.\d s"
    ) as caught:
        next(iter(app.stream(DOUBLE)))
    assert 0 < caught.value.retry_after_s <= 60
    assert len(app.runs.list()) == 1


def test_the_limit_is_no_part_of_what_makes_two_runs_alike(own_home: Path) -> None:
    one, other = settings_at(own_home), settings_at(own_home, tools={"solves_per_minute": 3, "log_level": "off"})
    assert one.hash() == other.hash()


# ------------------------------------------------------------- the log of a run


@pytest.mark.sandbox
def test_a_run_is_in_the_log_from_beginning_to_end(solver: Solver, own_home: Path) -> None:
    episode = solver(RIGHT).solve(DOUBLE)
    lines = [json.loads(line) for line in (own_home / "logs" / "crucible.jsonl").read_text().splitlines()]
    kinds = [line["message"] for line in lines]
    assert kinds[0] == "run-started" and kinds[-1] == "run-finished" and "verdict" in kinds and "token" not in kinds
    assert {line["run_id"] for line in lines} == {episode.run_id}
    assert lines[-1]["episode.status"] == "solved" and lines[-1]["episode.approval"]["granted"] is True
    assert "return n" not in (own_home / "logs" / "crucible.jsonl").read_text()


@pytest.mark.sandbox
def test_an_interrupted_run_says_so_in_the_log(solver: Solver, own_home: Path) -> None:
    stream = iter(solver(RIGHT).stream(DOUBLE))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    last = json.loads((own_home / "logs" / "crucible.jsonl").read_text().splitlines()[-1])
    assert last["message"] == "run-interrupted"
