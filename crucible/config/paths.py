"""Where Crucible keeps things. `CRUCIBLE_HOME` and `CRUCIBLE_CACHE` are read here; nothing is created."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from crucible.errors import ConfigError
from crucible.types import Frozen

APP = "crucible"
HOME_VARIABLE = "CRUCIBLE_HOME"
CACHE_VARIABLE = "CRUCIBLE_CACHE"


class Paths(Frozen):
    """The two roots and what lies in them. A folder is made by whoever first writes to it."""

    home: Path
    """Episodes, runs, logs: what cannot be fetched again."""
    cache: Path
    """Models and other files that can be fetched again; may be shared by several homes."""

    @property
    def models(self) -> Path:
        return self.cache / "models"

    @property
    def episodes(self) -> Path:
        return self.home / "episodes"

    @property
    def adapters(self) -> Path:
        return self.home / "adapters"

    @property
    def finetune(self) -> Path:
        return self.home / "finetune"

    @property
    def serving(self) -> Path:
        return self.home / "serving.json"

    @property
    def runs(self) -> Path:
        return self.home / "runs.sqlite"

    @property
    def audit(self) -> Path:
        return self.home / "audit.jsonl"

    @property
    def logs(self) -> Path:
        return self.home / "logs"


def find_paths() -> Paths:
    """The paths for this process: `CRUCIBLE_HOME` and `CRUCIBLE_CACHE`, else the platform's folders."""
    return Paths(
        home=_folder(HOME_VARIABLE) or _platform(platformdirs.user_data_path, HOME_VARIABLE),
        cache=_folder(CACHE_VARIABLE) or _platform(platformdirs.user_cache_path, CACHE_VARIABLE),
    )


def user_file() -> Path:
    """The settings file of this user, whether or not it exists."""
    try:
        return platformdirs.user_config_path(APP, appauthor=False) / "crucible.yaml"
    except (RuntimeError, KeyError):  # a user without a home folder has no settings file either
        return Path(os.devnull) / "crucible.yaml"


def _platform(find: Callable[..., Path], variable: str) -> Path:
    """The platform's folder of this user. Raises ConfigError where there is none."""
    try:
        path = find(APP, appauthor=False)
    except (RuntimeError, KeyError):
        path = Path("~")
    if path.is_absolute():
        return path
    raise ConfigError(
        f"environment variable {variable} is not set, and this user has no home folder to take its place "
        f"(HOME is {os.environ.get('HOME')!r}); set {variable}"
    )


def _folder(variable: str) -> Path | None:
    """An absolute path, so that a later change of the working directory moves nothing."""
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"environment variable {variable}: {text!r} is no usable folder: {error}") from error
