"""The base of every group of settings."""

from __future__ import annotations

from pydantic import ConfigDict

from crucible.types import Frozen


class Section(Frozen):
    """A group of settings. The docstring under a field says its unit and effect."""

    model_config = ConfigDict(allow_inf_nan=False)
