"""Where a figure comes from: the versions of what decides it, and the machine that worked it out."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("crucible-codegen", "xllamacpp", "langgraph", "lancedb", "torch", "sentence-transformers", "ruff")


def versions() -> Iterator[tuple[str, str]]:
    """Crucible's own, and those of the packages that decide what a model writes and how it is judged."""
    yield "python", platform.python_version()
    for name in PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def machine() -> dict[str, str]:
    """Return what ran it: processor, cores this process may use, memory, system."""
    import psutil

    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or sys.platform
