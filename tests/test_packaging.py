"""What the packaging says of the packages that this one needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_trl_is_bounded_to_the_minor_version_whose_private_methods_are_overridden() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (spec,) = [each for each in extras["finetune"] if each.startswith("trl")]
    locked = re.search(r"^trl==(\d+)\.(\d+)\.", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    major, minor = int(locked[1]), int(locked[2])
    assert spec == f"trl>={major}.{minor},<{major}.{minor + 1}"
