"""Each documented extension point, used as a stranger's package uses it: from a distribution of its own, by public names."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from crucible import Crucible, Task
from crucible.errors import InputError
from crucible.finetune.steps.proposing import _dataset
from crucible.models.scripted import ScriptedModel
from crucible.prompting.recipe import Recipe
from crucible.security.base import Sandbox
from tests.conftest import DOUBLE, RIGHT, WRONG, settings_at

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
OUTSIDE = '''
from crucible.nodes import BaseNode
from crucible.types import Completion, Feedback, FindingKind, Hit, ModelIdentity, Verdict


class Watch(BaseNode):
    """A node that notes what passes by."""

    name = "watch"
    before = "learn"

    def run(self, state, context):
        return {"feedback": [{"kind": "style", "severity": "info", "message": "watched"}]}


class LuaChecks:
    """A validator of another language."""

    language = "lua"

    def __init__(self, policy):
        pass

    def validate(self, source):
        if "os.execute" not in source:
            return ()
        return (Feedback(kind=FindingKind.SECURITY, severity="error", message="shell", rule="LUA1", action="deny"),)


class LuaJudge:
    """A judge of another language; "runs" a program by looking at it."""

    def judge(self, code, task):
        right = code.strip().endswith(task.tests)
        return Verdict(verdict="pass" if right else "fail", reason="looked", passed=int(right), total=1)


class Elsewhere:
    """A model that keeps what the protocol had before it asked where a model is: no `remote`, no adapters."""

    features = frozenset()
    identity = ModelIdentity(name="elsewhere", engine="outside")

    def __init__(self, reply):
        self.reply, self.heard = reply, []

    def generate(self, messages, samplings, *, on_delta=None, cancel=None, deadline_s=None):
        self.heard += messages
        return [
            Completion(
                text=self.reply, finish_reason="stop", prompt_tokens=1, completion_tokens=1, seed=each.seed, wall_s=0.0
            )
            for each in samplings
        ]

    def count_tokens(self, text):
        self.heard.append(text)
        return len(text)

    def notices(self):
        return []

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Shelf:
    """An episode store that keeps everything in a list."""

    def __init__(self):
        self.kept = []

    def add(self, episode):
        self.kept = [each for each in self.kept if each.episode_id != episode.episode_id] + [episode]

    def get(self, episode_id):
        return next((each for each in self.kept if each.episode_id == episode_id), None)

    def fetch_semantic(self, query, k=5, *, solved=None):
        return []

    def episodes(self):
        return iter(self.kept)

    def stats(self):
        raise NotImplementedError

    def close(self):
        pass
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A distribution as pip leaves it: a module, and metadata with its entry points."""
    site = tmp_path / "site"
    info = site / "outside-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "outside.py").write_text(OUTSIDE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent("""
            [crucible.nodes]
            watch = outside:Watch
            [crucible.validators]
            lua = outside:LuaChecks
        """)
    )
    monkeypatch.syspath_prepend(site)
    yield import_module("outside")
    del sys.modules["outside"]


FORGETFUL: dict[str, dict[str, object]] = {"tools": {"memory": False, "dataset_logging": False}}


@pytest.mark.sandbox
def test_an_installed_node_runs(outside: ModuleType, own_home: Path, sandbox: Sandbox) -> None:
    with Crucible(settings=settings_at(own_home, **FORGETFUL), model=ScriptedModel([RIGHT]), sandbox=sandbox) as app:
        episode = app.solve(DOUBLE)
    assert episode.status == "solved" and [each.message for each in episode.feedback] == ["watched"]


LUA = Task(prompt="Write a Lua program that returns four.", language="lua", tests="return 4")


def lua(outside: ModuleType, home: Path, *replies: str) -> Crucible:
    return Crucible(
        settings=settings_at(home, cycles={"max_cycles": 1}, **FORGETFUL),
        model=ScriptedModel(list(replies)),
        judge=outside.LuaJudge(),
    )


@pytest.mark.parametrize(("answer", "status"), [("return 4", "solved"), ("return 5", "unsolved")])
def test_another_language_is_worked_with_its_validator_and_a_judge(
    outside: ModuleType, own_home: Path, answer: str, status: str
) -> None:
    with lua(outside, own_home, f"```lua\n{answer}\n```") as app:
        episode = app.solve(LUA)
    assert (episode.status, episode.code.strip()) == (status, answer)


def test_what_its_validator_denies_does_not_run(outside: ModuleType, own_home: Path) -> None:
    with lua(outside, own_home, "```lua\nos.execute('ls')\nreturn 4\n```") as app:
        (attempt,) = app.solve(LUA).attempts
    assert attempt.verdict is None and [found.rule for found in attempt.findings] == ["LUA1"]


def test_a_language_that_is_checked_and_not_judged_is_refused(outside: ModuleType, own_home: Path) -> None:
    app = Crucible(settings=settings_at(own_home, **FORGETFUL), model=ScriptedModel(["x"]))
    with pytest.raises(InputError, match="nothing here runs the tests of a program in 'lua': hand a judge for it"):
        app.solve(LUA)


def test_an_unknown_language_lists_those_that_are_installed(outside: ModuleType, own_home: Path) -> None:
    app = Crucible(settings=settings_at(own_home, **FORGETFUL), model=ScriptedModel(["x"]))
    with pytest.raises(InputError, match=r"unknown language 'cobol'; Crucible writes: lua, python \(a package adds"):
        app.solve(LUA.model_copy(update={"language": "cobol"}))


@pytest.mark.sandbox
@pytest.mark.parametrize(("said", "remote"), [({}, True), ({"remote": False}, False), ({"remote": None}, True)])
def test_a_model_that_does_not_say_where_it_is_gets_no_secrets(
    outside: ModuleType, own_home: Path, sandbox: Sandbox, said: dict[str, object], remote: bool
) -> None:
    model = outside.Elsewhere(RIGHT)
    for name, value in said.items():
        setattr(model, name, value)
    task = DOUBLE.model_copy(update={"prompt": f"Write double(n): twice n. My token is {TOKEN}."})
    with Crucible(settings=settings_at(own_home, **FORGETFUL), model=model, sandbox=sandbox) as app:
        assert app.solve(task).status == "solved"
    assert any(TOKEN in message.content for message in model.heard) is not remote


@pytest.mark.sandbox
def test_a_memory_of_another_kind_is_written_to_and_learned_from(
    outside: ModuleType, own_home: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    shelf = outside.Shelf()
    with Crucible(
        settings=settings_at(own_home), model=ScriptedModel([WRONG, RIGHT]), sandbox=sandbox, memory=shelf
    ) as app:
        solved = app.solve(DOUBLE)
        assert shelf.get(solved.episode_id) is not None
        dataset = _dataset(app, "sft", Recipe(), [], None, frozenset())
    assert list(dataset.episodes) == [solved.episode_id]


def test_a_memory_that_lists_nothing_is_named(outside: ModuleType, own_home: Path) -> None:
    class Closed:
        """A store without `episodes`."""

    app = Crucible(settings=settings_at(own_home), model=ScriptedModel(["x"]), memory=Closed())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Closed cannot list its episodes: give it a method episodes\(\)"):
        _dataset(app, "sft", Recipe(), [], None, frozenset())
