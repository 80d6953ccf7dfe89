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
from crucible.models.llama.native import run_to_end

HERE = Path(__file__).parent
LOCK, PLUGIN = HERE / "sglang.lock", HERE / "plugin"
UV = "uv>=0.9"
"""Installs 200 packages in a minute, where pip takes ten."""
NEEDED_BYTES = 14 * 10**9
READY = ".ready"
INSTALL = "crucible models serve --engine sglang"
"""The command that installs SGLang where it is missing, and serves by it."""


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
            f"SGLang is not installed; install it with `{INSTALL}` (10 GB), or set model.base_url to a server that runs"
        )
    return made


def serveable(cache: Path) -> str:
    """Return what SGLang needs to serve on this machine, whether it is here, and the command that installs it, in one sentence."""
    from crucible.models.sglang.process import gpus

    count = gpus()
    hardware = f"{count} GPU{'s' * (count != 1)}" if count else "no GPU: its CPU kernels serve, slower"
    if (made := python(cache)) is not None:
        return f"installed at {made.parent.parent}; {hardware}; use it with --engine sglang"
    place = cache
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    room = f"{free / 1e9:.0f} GB free" if free >= NEEDED_BYTES else f"only {free / 1e9:.1f} GB free"
    could = "could serve here" if free >= NEEDED_BYTES else "cannot be installed here"
    return (
        f"not installed, {could}: it needs {NEEDED_BYTES / 1e9:.0f} GB in {cache} ({room}); {hardware}; install it with "
        f"`{INSTALL}`"
    )
