"""Crucible's side of a sandbox: the launcher process that starts sandboxes, and a session with one of them."""

from __future__ import annotations

import json
import marshal
import math
import os
import resource
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Self

from crucible.errors import SandboxUnavailableError
from crucible.security.base import Profile
from crucible.security.sandbox import seccomp, wire
from crucible.types import Limits

THREADS = 64
OPEN_FILES = 256
GRACE_S = 0.5
"""Beyond the program's own deadline: for starting and for ending it."""

LEAVE_S = 0.2
CPU_SLACK_S = 0.1
"""The kernel may end a program a little before it has used up its CPU seconds, as it counts them."""

BOOT = "import marshal,posix\nd=b''\nwhile p:=posix.read(6,65536):d+=p\nposix.close(6)\nexec(marshal.loads(d))"
"""What the interpreter in a sandbox starts with: the guest, compiled here, comes on descriptor 6."""


class Start(NamedTuple):
    """The launcher's order to start one sandbox of one tier. Descriptors 3 and 4 are the guest's pipes, 5 holds the
    filter, 6 the guest."""

    argv: list[str]
    environment: dict[str, str]
    filter: str  # hex
    uid: int | None = None
    folder: str = "/"
    landlock: dict[str, list[str]] | None = None
    scratch: tuple[int, int] | None = None  # bytes, files
    group: tuple[int, int] | None = None  # bytes of memory, processes


class Launcher:
    """The process that starts sandboxes, itself started with the first. Threads may share it."""

    def __init__(
        self,
        *,
        stage: tuple[str, str] | None = None,
        mounts: bool = False,
        world: bool = False,
        uid: int | None = None,
    ) -> None:
        """stage: a folder, and where to show it to every user. mounts: whether it needs mounts of its own. world: whether
        its sandboxes share one empty network and host name. uid: the user it becomes; sandboxes of another user's need a
        launcher that stays root."""
        self._hello = {
            "guest": _guest().hex(),
            "stage": stage,
            "mounts": mounts or stage is not None,
            "world": world,
            "uid": uid,
        }
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(self, start: Start, fds: list[int]) -> None:
        """Start one sandbox; fds: its stdin, request and reply pipes, its control pipe, and where the report goes.

        Raises SandboxUnavailableError."""
        order = json.dumps(start._asdict()).encode()
        with self._lock:
            for _ in range(2):
                if self._channel is None:
                    self._launch()
                assert self._channel is not None
                try:
                    socket.send_fds(self._channel, [order], fds)
                except (BrokenPipeError, ConnectionResetError):  # it was killed: one more try with a new one
                    self._drop()
                else:
                    return
        raise SandboxUnavailableError("the sandbox's launcher dies at once; run: crucible sandbox check")

    def close(self) -> None:
        """End the launcher; sandboxes that still run end with their sessions."""
        with self._lock:
            self._drop()

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("launcher.py"))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,  # a terminal's Ctrl-C is for Crucible, which ends its sandboxes in order
            )
        ours.send(json.dumps(self._hello).encode())
        self._channel = ours

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.wait()
            self._process = None


class Session:
    """One sandbox, from its start to its report. The guest inside waits for an order, as long as it takes."""

    def __init__(
        self, launcher: Launcher, start: Start, *, profile: Profile = "function", stdin: int | None = None
    ) -> None:
        self._profile = profile
        self._report: dict[str, Any] | None = None
        self._buffer = bytearray()
        self._tight = self._begun = self._ended = False
        null = os.open(os.devnull, os.O_RDONLY)
        to_guest, self._send = os.pipe()
        self._receive, from_guest = os.pipe()
        control, self._control = os.pipe()
        self._reports, reports = os.pipe()
        os.set_blocking(self._receive, False)
        theirs = [null if stdin is None else stdin, to_guest, from_guest, control, reports]
        try:
            launcher.start(start, theirs)
        except BaseException:
            self._end()
            raise
        finally:
            for fd in (null, *theirs[1:]):
                os.close(fd)

    def order(self, mode: str, limits: Limits, **details: Any) -> None:  # noqa: ANN401
        """Tell the guest what to be. Its time counts from here."""
        disk = limits.disk_mib << 20
        rlimits = {
            resource.RLIMIT_CPU: math.ceil(limits.cpu_s),
            resource.RLIMIT_FSIZE: disk,
            resource.RLIMIT_NPROC: THREADS,
            resource.RLIMIT_NOFILE: OPEN_FILES,
            resource.RLIMIT_CORE: 0,
        }
        if self._profile == "function":  # a project's programs share one limit, its control group's
            rlimits[resource.RLIMIT_AS] = limits.memory_mib << 20
        go = {"wall_s": limits.wall_s + GRACE_S, "output_bytes": limits.output_bytes}
        with suppress(BrokenPipeError):  # then the report says why
            os.write(self._control, json.dumps(go).encode())
        self.send({"mode": mode, "limits": rlimits, "filter": seccomp.inner_filter(self._profile), **details})

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
            if self._ended:
                raise EOFError
            if poll.poll(left * 1000):
                self._fill()

    def pending(self) -> bool:
        """Return whether bytes are there that nobody asked for."""
        self._fill()
        return bool(self._buffer)

    def finish(self) -> dict[str, Any]:
        """Wait for the program's own end or its deadline, and return the launcher's report."""
        if self._report is None:
            line = self._read_report()
            self._fill()
            self._end()
            if not line:
                raise SandboxUnavailableError(
                    "the sandbox's launcher died without a report; run: crucible sandbox check"
                )
            self._report = json.loads(line)
        if not self._tight and self._report["why"] is None:
            said = self._report["stderr"].strip()[:200]
            raise SandboxUnavailableError(f"the sandbox cannot start ({said})")
        return self._report

    def close(self) -> dict[str, Any]:
        """End the sandbox and return the report. An honest guest ends when nobody can ask it any more; it is given a
        moment for that, so that the kernel still tells what it used."""
        if self._report is None:
            self._close("_send")
            select.select([self._reports], [], [], LEAVE_S)
            self._close("_control")
        return self.finish()

    def abandon(self) -> None:
        """End it, whatever it does, and wait until it is gone."""
        if self._report is None and self._reports >= 0:
            self._close("_control")
            self._read_report()
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.abandon()

    def _read_report(self) -> bytes:
        parts = []
        while part := os.read(self._reports, 1 << 16):
            parts.append(part)
        return b"".join(parts)

    def _end(self) -> None:
        for name in ("_send", "_receive", "_control", "_reports"):
            self._close(name)

    def _close(self, name: str) -> None:
        fd: int = getattr(self, name)
        if fd >= 0:
            os.close(fd)
            setattr(self, name, -1)

    def _fill(self) -> None:
        """Take what is in the pipe. Its first byte says that the guest has tightened the sandbox."""
        while not self._ended and len(self._buffer) <= wire.MAX_FRAME + 4:
            try:
                part = os.read(self._receive, 1 << 16)
            except BlockingIOError:
                return
            self._ended = not part
            if part and not self._begun:
                self._begun, self._tight = True, part[:1] == wire.TIGHT
                part = part[1:]
            self._buffer += part


@cache
def _guest() -> bytes:
    package = files("crucible.security.sandbox")
    source = "\n".join(package.joinpath(name).read_text() for name in ("wire.py", "guest.py"))
    return marshal.dumps(compile(source, "guest", "exec", dont_inherit=True))  # nor does what it compiles, then
