from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests: no variables, no user file, an empty working directory."""
    for name in os.environ:
        if name.upper().startswith("CRUCIBLE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "config" / "crucible" / "crucible.yaml"
    path.parent.mkdir(parents=True)
    return path
