"""Tier A: bubblewrap with empty namespaces, a seccomp filter and limits, in the function profile (no processes, no network).

Inside, a program sees /usr and the Python it runs on, read-only, and one small scratch directory. It has no /proc, no
network, no environment of ours, no capabilities, an ordinary user's id, and cannot start another program. What it shares
with the machine is the kernel: a hole in that is outside what this tier promises.
"""

from __future__ import annotations

import json
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from crucible.errors import SandboxUnavailableError
from crucible.security import seccomp, wire
from crucible.security.base import Execution, Profile
from crucible.types import Limits

NOBODY = 65534
SCRATCH = "/work"
STAGING = "/mnt"
THREADS = 64
OPEN_FILES = 256
GRACE_S = 0.5
"""Beyond the program's own deadline: for starting and for ending it."""

LEAVE_S = 0.2

_ENVIRONMENT = {
    "HOME": SCRATCH,
    "TMPDIR": SCRATCH,
    "PATH": "/usr/bin",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",  # an arena a thread would use up the address space limit
    "PYTHONHASHSEED": "0",
}


class BubblewrapSandbox:
    """Starts one fresh sandbox for every program. Construction checks that bubblewrap is there, `probe` that it holds."""

    tier = "A"
    profile: Profile = "function"

    def __init__(self) -> None:
        self._bwrap = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
        if self._bwrap is None:
            raise SandboxUnavailableError(
                "the sandbox needs bubblewrap, which is not installed; run: apt-get install bubblewrap (or your system's way)"
            )
        self._uid = NOBODY if os.geteuid() == 0 else None
        self._python = os.path.realpath(sys.executable)
        self._prefix = os.path.realpath(sys.base_prefix)
        self._staged = self._uid is not None and not _reachable(self._prefix)

    def run(self, code: str, *, stdin: str = "", limits: Limits | None = None) -> Execution:
        """Run one program as `__main__` and wait for it. Raises SandboxUnavailableError."""
        limits = limits or Limits()
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode("utf-8", "surrogatepass"))
            given.seek(0)
            with Session(self, limits, stdin=given.fileno()) as session:
                session.order("run", limits, code=code)
                report = session.finish()
        return Execution(**_execution(report, limits), tier=self.tier, profile=self.profile)

    def open(self, limits: Limits) -> Session:
        """A fresh sandbox whose guest waits for an order."""
        return Session(self, limits)

    def argv(self, limits: Limits) -> list[str]:
        """bubblewrap's arguments. Descriptors: 3 and 4 are the guest's pipes, 5 the filter, 6 the guest's source."""
        assert self._bwrap is not None
        argv = [
            self._bwrap,
            "--unshare-all",
            "--unshare-user",
            "--disable-userns",
            "--die-with-parent",
            "--new-session",
        ]
        argv += ["--cap-drop", "ALL", "--clearenv", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/") / name
            if path.is_symlink():
                argv += ["--symlink", str(path.readlink()), str(path)]
            elif path.is_dir():
                argv += ["--ro-bind", str(path), str(path)]
        if not self._prefix.startswith("/usr/") and self._prefix != "/usr":
            argv += ["--ro-bind", f"{STAGING}/0" if self._staged else self._prefix, self._prefix]
        argv += ["--dev", "/dev", "--remount-ro", "/dev"]
        argv += ["--size", str(limits.disk_mib << 20), "--tmpfs", SCRATCH, "--chdir", SCRATCH]
        argv += ["--ro-bind-data", "6", "/guest.py", "--remount-ro", "/", "--seccomp", "5"]
        for name, value in _ENVIRONMENT.items():
            argv += ["--setenv", name, value]
        return [*argv, "--", self._python, "-I", "-S", "-B", "-X", "utf8", "/guest.py"]

    @property
    def uid(self) -> int | None:
        return self._uid

    @property
    def stage(self) -> list[str] | None:
        return [self._prefix, STAGING] if self._staged else None


class Session:
    """One sandbox, from its start to its report. The guest inside waits for an order."""

    def __init__(self, sandbox: BubblewrapSandbox, limits: Limits, *, stdin: int | None = None) -> None:
        self._report: dict[str, Any] | None = None
        self._buffer = bytearray()
        to_guest, self._send = os.pipe()
        self._receive, from_guest = os.pipe()
        os.set_blocking(self._receive, False)
        opened = [to_guest, from_guest]
        try:
            null = os.open(os.devnull, os.O_RDONLY)
            opened.append(null)
            program, source = _memory_file(seccomp.outer_filter()), _memory_file(_guest_source())
            opened += [program, source]
            fds = {0: null if stdin is None else stdin, 3: to_guest, 4: from_guest, 5: program, 6: source}
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launcher.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=tuple(fds.values()),
                env={},
                start_new_session=True,  # a terminal's Ctrl-C is for Crucible, which ends the sandbox in order
            )
        finally:
            for fd in opened:
                os.close(fd)
        self._write_order(
            {
                "argv": sandbox.argv(limits),
                "fds": fds,
                "uid": sandbox.uid,
                "stage": sandbox.stage,
                "wall_s": limits.wall_s + GRACE_S,
                "output_bytes": limits.output_bytes,
            }
        )

    def order(self, mode: str, limits: Limits, **details: Any) -> None:  # noqa: ANN401
        """Tell the guest what to be."""
        seconds = math.ceil(limits.cpu_s)
        disk = limits.disk_mib << 20
        memory = limits.memory_mib << 20
        rlimits = {
            "RLIMIT_AS": memory,
            "RLIMIT_CPU": seconds,
            "RLIMIT_FSIZE": disk,
            "RLIMIT_NPROC": THREADS,
            "RLIMIT_NOFILE": OPEN_FILES,
            "RLIMIT_CORE": 0,
        }
        self.send({"mode": mode, "limits": rlimits, "filter": seccomp.inner_filter(), **details})

    def send(self, value: Any) -> None:  # noqa: ANN401
        """Send one value. Raises BrokenPipeError when the sandbox has ended, WireError for what has no plain form."""
        data = wire.encode(value)
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[os.write(self._send, data) :]

    def receive(self, deadline: float) -> Any:  # noqa: ANN401
        """The next value. Raises TimeoutError, EOFError (the sandbox ended), WireError (no value)."""
        poll = select.poll()
        poll.register(self._receive, select.POLLIN)
        while True:
            if len(self._buffer) >= 4:
                size = int.from_bytes(self._buffer[:4], "big")
                if size > wire.MAX_FRAME:
                    raise wire.WireError("the reply is too large")
                if len(self._buffer) >= 4 + size:
                    data = bytes(self._buffer[4 : 4 + size])
                    del self._buffer[: 4 + size]
                    return wire.decode(data)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if poll.poll(left * 1000) and not self._fill():
                raise EOFError

    def pending(self) -> bool:
        """Whether bytes are there that nobody asked for."""
        self._fill()
        return bool(self._buffer)

    def finish(self) -> dict[str, Any]:
        """Wait for the program's own end or its deadline, and return the launcher's report."""
        if self._report is None:
            assert self._launcher.stdout is not None
            line = self._launcher.stdout.readline()
            self._end()
            if not line:
                raise SandboxUnavailableError(
                    "the sandbox's launcher died without a report; run: crucible sandbox check"
                )
            self._report = json.loads(line)
            if self._report["exit_code"] in (119, 120) or self._report["stderr"].startswith("bwrap: "):
                raise SandboxUnavailableError(
                    f"the sandbox cannot start ({self._report['stderr'].strip()[:200]}); run: crucible sandbox check"
                )
        return self._report

    def close(self) -> dict[str, Any]:
        """End the sandbox and return the report. An honest guest ends when nobody can ask it any more; it is given a
        moment for that, so that the kernel still tells what it used."""
        if self._report is None and self._launcher.stdin is not None and self._launcher.stdout is not None:
            os.close(self._send)
            self._send = -1
            select.select([self._launcher.stdout], [], [], LEAVE_S)
            with suppress(BrokenPipeError):  # it ended by itself
                self._launcher.stdin.close()
        return self.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._report is None:
            assert self._launcher.stdin is not None and self._launcher.stdout is not None
            with suppress(BrokenPipeError):
                self._launcher.stdin.close()
            self._launcher.stdout.readline()
            self._end()

    def _end(self) -> None:
        for pipe in (self._launcher.stdin, self._launcher.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._launcher.wait()
        for fd in (self._send, self._receive):
            if fd >= 0:
                os.close(fd)
        self._send = self._receive = -1

    def _write_order(self, order: dict[str, Any]) -> None:
        assert self._launcher.stdin is not None
        with suppress(BrokenPipeError):  # then its report is missing, which finish() tells
            self._launcher.stdin.write(json.dumps(order).encode() + b"\n")
            self._launcher.stdin.flush()

    def _fill(self) -> bool:
        """Take what is in the pipe; False at its end."""
        while len(self._buffer) <= wire.MAX_FRAME + 4:
            try:
                part = os.read(self._receive, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                return bool(self._buffer)
            self._buffer += part
        return True


def _execution(report: dict[str, Any], limits: Limits) -> dict[str, Any]:
    code = report["exit_code"]
    if (
        report["why"] == "timeout"
        or report["cpu_s"] >= math.ceil(limits.cpu_s)
        or report["wall_s"] > limits.wall_s + GRACE_S
    ):
        status = "timeout"
    elif report["over"] or report["why"] == "output_limit":
        status = "output_limit"
    elif code == 0:
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


def _memory_file(data: bytes) -> int:
    fd = os.memfd_create("crucible", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@cache
def _guest_source() -> bytes:
    package = files("crucible.security")
    return b"".join(package.joinpath(name).read_bytes() + b"\n" for name in ("wire.py", "guest.py"))
