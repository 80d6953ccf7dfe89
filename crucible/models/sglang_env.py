"""SGLang's own virtual environment: it pins other versions of torch and transformers than Crucible, and takes 10 GB.

Made on demand in the cache, from the exact versions in `sglang.lock`, with Crucible's plugin beside it. The folder's name
is a hash of both, so a new version of either is a new environment.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from crucible.errors import ModelUnavailableError, StoreError
from crucible.models.native import run_to_end

HERE = Path(__file__).parent
LOCK, PLUGIN = HERE / "sglang.lock", HERE / "sglang_plugin"
UV = "uv>=0.9"
"""Installs 200 packages in a minute, where pip takes ten."""
NEEDED_BYTES = 14 * 10**9
READY = ".ready"


def folder(cache: Path) -> Path:
    mark = hashlib.sha256(LOCK.read_bytes())
    for path in sorted(PLUGIN.glob("*.*")):
        mark.update(path.read_bytes())
    return cache / "engines" / f"sglang-{mark.hexdigest()[:12]}"


def python(cache: Path) -> Path | None:
    """The environment's interpreter, None where it was not made."""
    place = folder(cache)
    return place / "bin" / "python" if (place / READY).is_file() else None


def install(cache: Path, progress: Callable[[str], None]) -> Path:
    """Makes the environment, once, and returns its interpreter. `progress` hears what is being done.

    Raises ModelUnavailableError (a package cannot be had) and StoreError (no room).
    """
    import filelock

    place = folder(cache)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{place}.lock"):
            if (made := python(cache)) is not None:
                return made
            free = shutil.disk_usage(place.parent).free
            if free < NEEDED_BYTES:
                raise StoreError(
                    f"SGLang needs {NEEDED_BYTES / 1e9:.0f} GB in {place.parent}; {free / 1e9:.1f} are free"
                )
            shutil.rmtree(place, ignore_errors=True)
            began = time.monotonic()
            progress("making a virtual environment for SGLang (some 10 GB, a few minutes)")
            run_to_end([sys.executable, "-m", "venv", str(place)])
            inside = place / "bin" / "python"
            pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run_to_end([str(inside), *pip, UV])
            uv = [str(inside), "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--python", str(inside)]
            progress("installing the locked packages")
            run_to_end([*uv, "--requirement", str(LOCK)])
            with tempfile.TemporaryDirectory() as scratch:  # setuptools builds inside the source's folder
                run_to_end([*uv, str(shutil.copytree(PLUGIN, Path(scratch, "plugin")))])
            (place / READY).touch()
            progress(f"SGLang is installed ({time.monotonic() - began:.0f} s)")
            return inside
    except OSError as error:
        raise StoreError(f"cannot make SGLang's environment in {place}: {error.strerror or error}") from error


def need(cache: Path) -> Path:
    """The interpreter. Raises ModelUnavailableError where SGLang was not installed."""
    made = python(cache)
    if made is None:
        raise ModelUnavailableError(
            "SGLang is not installed; install it with `crucible models serve --engine sglang` (10 GB), or set "
            "model.base_url to a server that runs"
        )
    return made
