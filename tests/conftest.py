"""Shared parts of the tests: a home of their own for every test, and real parts made once."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible.app import Crucible
from crucible.config import Paths, Settings, load_settings
from crucible.models.scripted import ScriptedModel
from crucible.security.base import Sandbox
from crucible.security.sandbox.probe import select_sandbox
from crucible.types import Task

DOUBLE = Task(
    prompt="Write double(n): twice n.", entry_point="double", tests="assert double(2) == 4\nassert double(0) == 0"
)
RIGHT = "```python\ndef double(n):\n    return n + n\n```"
WRONG = "```python\ndef double(n):\n    return n * 3\n```"
"""Passes double(0) only: a near miss."""


if "PYTEST_XDIST_WORKER" in os.environ:
    # Of several that share the tests each has a folder of its own for what passes: one of them looks for what programs in the
    # sandbox leave in /tmp.
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="tests-")
    Path(tempfile.tempdir).chmod(0o1777)
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

# A shell without job control starts `make test &` with Ctrl-C ignored, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="judge every pair and every forgery, not a sample")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own episodes, runs or settings. Models stay in the shared cache."""
    home = tmp_path / "home"
    monkeypatch.setenv("CRUCIBLE_HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return home


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return select_sandbox()


def settings_at(home: Path, **sections: dict[str, object]) -> Settings:
    """Packaged settings with `sections` changed, approval given, and everything under `home`."""
    sections["cycles"] = {"approve": "auto", **sections.get("cycles", {})}
    sections["model"] = {"name": "scripted", "engine": "scripted", **sections.get("model", {})}
    settings = load_settings(overrides=sections)
    return settings.model_copy(update={"paths": Paths(home=home, cache=settings.paths.cache)})


class Solver:
    """Makes Crucibles over scripted replies, and closes them."""

    def __init__(self, home: Path, sandbox: Sandbox) -> None:
        self._home, self._sandbox = home, sandbox
        self.made: list[Crucible] = []

    def __call__(self, *replies: str, **sections: dict[str, object]) -> Crucible:
        app = Crucible(
            settings=settings_at(self._home, **sections), model=ScriptedModel(list(replies)), sandbox=self._sandbox
        )
        self.made.append(app)
        return app


@pytest.fixture
def solver(own_home: Path, sandbox: Sandbox) -> Iterator[Solver]:
    make = Solver(own_home, sandbox)
    yield make
    for app in make.made:
        app.close()
