"""The isolating tiers. Each starts one fresh sandbox for every program; what they promise is in docs/security.md.

Tier A: bubblewrap with empty namespaces, a seccomp filter and limits. Inside, a program sees /usr and the Python it runs
on, read-only, and one small scratch directory. It has no /proc, no network, no environment of ours, no capabilities and an
ordinary user's id.

Tier B, where user namespaces are missing: Landlock, the same filter, the same limits, and another user's id where we are
root. Inside, a program opens the same few files; it can see that others exist, not what is in them.

The function profile takes away new processes and programs. The project profile gives them back, within a control group
that bounds memory and processes of all of them together; it exists on tier A alone.

What every tier shares with the machine is the kernel: a hole in that is outside what they promise.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Execution, Profile
from crucible.security.sandbox import seccomp
from crucible.security.sandbox.session import BOOT, CPU_SLACK_S, GRACE_S, Launcher, Session, Start
from crucible.types import Limits

NOBODY = 65534
SCRATCH = "/work"
STAGING = "/mnt"
PROCESSES = 64
SCRATCH_FILES = 20_000

_ENVIRONMENT = {
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",  # an arena a thread would use up the address space limit
}
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class _Tier:
    """What the tiers share: who the program is, which interpreter it runs on, and the launcher."""

    tier: str
    profile: Profile

    def __init__(self) -> None:
        self._uid = NOBODY if os.geteuid() == 0 else None
        self._python = os.path.realpath(sys.executable)
        self._prefix = os.path.realpath(sys.base_prefix)
        self._staged = self._uid is not None and not _reachable(self._prefix)
        stage = (self._prefix, STAGING) if self._staged else None
        self._launcher = Launcher(stage=stage, **self._launching())
        weakref.finalize(self, self._launcher.close)

    def run(self, code: str, *, stdin: str = "", limits: Limits | None = None) -> Execution:
        """Run one program as `__main__` and wait for it. Raises SandboxUnavailableError."""
        limits = limits or Limits()
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode("utf-8", "surrogatepass"))
            given.seek(0)
            with self._session(limits, given.fileno()) as session:
                session.order("run", limits, code=code)
                report = session.finish()
        return Execution(**_execution(report, limits), tier=self.tier, profile=self.profile)

    def open(self, limits: Limits) -> Session:
        """A fresh sandbox whose guest waits for an order."""
        return self._session(limits, None)

    def _session(self, limits: Limits, stdin: int | None) -> Session:
        return Session(self._launcher, self._start(limits), profile=self.profile, stdin=stdin)

    def _launching(self) -> dict[str, Any]:
        """How this tier's launcher differs."""
        return {}

    def _start(self, limits: Limits) -> Start:
        raise NotImplementedError

    @property
    def _interpreter(self) -> list[str]:
        return [self._python, "-I", "-S", "-B", "-X", "utf8", "-c", BOOT]

    @cached_property
    def _filter(self) -> str:
        return seccomp.outer_filter(self.profile, attributes=self.tier == "A").hex()


class BubblewrapSandbox(_Tier):
    """Tier A. Construction checks that bubblewrap is there; what holds, `probe.observe` finds out."""

    tier = "A"

    def __init__(self, profile: Profile = "function") -> None:
        self.profile = profile
        self._bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
        if self._bwrap is None:
            raise SandboxUnavailableError(
                "the sandbox needs bubblewrap, which is not installed; run: apt-get install bubblewrap (or your system's way)"
            )
        super().__init__()

    def _launching(self) -> dict[str, Any]:
        if self.profile == "project":  # only root may make control groups
            return {}
        return {"uid": self._uid, "world": self._shares_world}

    def _start(self, limits: Limits) -> Start:
        argv = self._argv(limits.disk_mib << 20)
        if self.profile == "function":
            return Start(argv, {}, self._filter)
        return Start(argv, {}, self._filter, self._uid, group=(limits.memory_mib << 20, PROCESSES))

    def _argv(self, scratch_bytes: int) -> list[str]:
        sized = ["--size", str(scratch_bytes), "--tmpfs"]
        argv = [*self._system]
        if self.profile == "project":  # terminals, and where semaphores and shared memory of several processes lie
            argv += ["--dev", "/dev", *sized, "/dev/shm"]  # noqa: S108
        else:
            argv += ["--tmpfs", "/dev", *(word for path in _DEVICES for word in ("--dev-bind", path, path))]
        argv += ["--remount-ro", "/dev", *sized, SCRATCH, "--chdir", SCRATCH, "--remount-ro", "/", "--seccomp", "5"]
        for name, value in _ENVIRONMENT.items():
            argv += ["--setenv", name, value]
        return [*argv, "--", *self._interpreter]

    @property
    def _shares_world(self) -> bool:
        """Whether functions, which can make no socket, share one empty network and host name: each its own costs
        milliseconds, at its end too."""
        return self.profile == "function" and self._uid is not None

    @cached_property
    def _system(self) -> list[str]:
        """bubblewrap, its namespaces, and what of the machine is shown read-only."""
        assert self._bwrap is not None
        argv = [
            self._bwrap,
            *(f"--unshare-{name}" for name in ("user", "ipc", "pid")),
            *(() if self._shares_world else ("--unshare-net", "--unshare-uts", "--unshare-cgroup")),
            "--disable-userns",
            "--die-with-parent",
            "--new-session",
        ]
        argv += ["--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr"]
        for name in _SYSTEM:
            path = Path("/") / name
            if path.is_symlink():
                argv += ["--symlink", str(path.readlink()), str(path)]
            elif path.is_dir():
                argv += ["--ro-bind", str(path), str(path)]
        if not self._prefix.startswith("/usr/") and self._prefix != "/usr":
            argv += ["--ro-bind", f"{STAGING}/0" if self._staged else self._prefix, self._prefix]
        return argv


class LandlockSandbox(_Tier):
    """Tier B, for the function profile alone."""

    tier = "B"
    profile: Profile = "function"

    def _launching(self) -> dict[str, Any]:
        return {"mounts": self._uid is not None}

    def _start(self, limits: Limits) -> Start:
        prefix = f"{STAGING}/0" if self._staged else self._prefix
        system = ["/usr", *(f"/{name}" for name in _SYSTEM), "/etc/ld.so.cache"]
        readable = dict.fromkeys([*(os.path.realpath(path) for path in system if Path(path).exists()), prefix])
        devices = [path for path in _DEVICES if Path(path).exists()]
        landlock = {"readable": [*readable], "writable": [], "devices": devices}
        interpreter = [self._python.replace(self._prefix, prefix, 1), *self._interpreter[1:]]
        return Start(
            interpreter,
            dict(_ENVIRONMENT),
            self._filter,
            self._uid,
            landlock=landlock,
            scratch=(limits.disk_mib << 20, SCRATCH_FILES),
        )


def _execution(report: dict[str, Any], limits: Limits) -> dict[str, Any]:
    code = report["exit_code"]
    if (
        report["why"] == "timeout"
        or report["cpu_s"] >= math.ceil(limits.cpu_s) - CPU_SLACK_S
        or report["wall_s"] > limits.wall_s + GRACE_S
    ):
        status = "timeout"
    elif report["over"] or report["why"] == "output_limit":
        status = "output_limit"
    elif code == 0 and report["why"] is None:
        status = "ok"
    else:
        # bwrap passes on a program killed by signal N as exit code 128 + N
        status = "killed" if code is None or code < 0 or code > 128 else "error"
    kept = ("exit_code", "stdout", "stderr", "wall_s", "cpu_s", "memory_mib")
    return {"status": status, **{key: report[key] for key in kept}}


def _reachable(path: str) -> bool:
    """Whether any user may enter every folder on the way to `path`, and read it."""
    folders = [Path(path), *Path(path).parents]
    return all(folder.stat().st_mode & 0o001 for folder in folders) and bool(Path(path).stat().st_mode & 0o004)
