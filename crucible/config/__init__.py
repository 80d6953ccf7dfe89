"""Settings: packaged defaults < user file < project file < environment < options. See `load`.

The environment is read in this package and nowhere else. What reads files is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from crucible.config.learning import CurriculumSettings, HealthLimits, HintSettings
from crucible.config.paths import Paths, find_paths
from crucible.config.settings import (
    CyclesSettings,
    Explained,
    MemorySettings,
    ModelSettings,
    RewardSettings,
    SandboxSettings,
    Settings,
    ToolsSettings,
)

if TYPE_CHECKING:
    from crucible.config.load import default_policy, examine_file, load_settings, packaged, validate_file

__all__ = [
    "CurriculumSettings",
    "CyclesSettings",
    "Explained",
    "HealthLimits",
    "HintSettings",
    "MemorySettings",
    "ModelSettings",
    "Paths",
    "RewardSettings",
    "SandboxSettings",
    "Settings",
    "ToolsSettings",
    "default_policy",
    "examine_file",
    "find_paths",
    "load_settings",
    "packaged",
    "validate_file",
]


def __getattr__(name: str) -> object:
    if name not in ("default_policy", "examine_file", "load_settings", "packaged", "validate_file"):
        raise AttributeError(f"module 'crucible.config' has no attribute {name!r}")
    return getattr(import_module("crucible.config.load"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
