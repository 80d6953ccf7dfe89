"""A settings file that came with a checkout cannot let code run or send tasks elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucible.config import load_settings
from crucible.errors import ConfigError


@pytest.mark.parametrize(
    "line",
    [
        "cycles: {approve: auto}",
        "cycles: {require_human_approval: false}",
        "model: {base_url: 'http://elsewhere:1'}",
        "model: {adapter: learned}",
    ],
)
def test_a_projects_file_cannot_loosen_what_protects_the_user(tmp_path: Path, line: str) -> None:
    (tmp_path / "crucible.yaml").write_text(line)
    with pytest.raises(ConfigError, match=r"crucible\.yaml:1:\d+: .*a project's file may not set this"):
        load_settings(project_dir=tmp_path)
    assert load_settings(config_file=tmp_path / "crucible.yaml")


def test_a_projects_file_can_be_stricter(tmp_path: Path) -> None:
    (tmp_path / "crucible.yaml").write_text("cycles: {approve: never}")
    assert load_settings(project_dir=tmp_path).cycles.approval == "never"


def test_no_human_needed_means_auto() -> None:
    assert load_settings(overrides={"cycles": {"require_human_approval": False}}).cycles.approval == "auto"
