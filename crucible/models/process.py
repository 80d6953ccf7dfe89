"""The embedded engine's child process: start it, know its end, say why it ended."""

from __future__ import annotations

import json
import logging
import os
import secrets
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from crucible.errors import InputError, ModelUnavailableError, StoreError
from crucible.types import Frozen

HOST = "127.0.0.1"
SCRIPT = Path(__file__).with_name("server.py")
LOG_LINES, LOG_BYTES = 200, 1 << 20


class EngineOptions(Frozen):
    """What the child is told. `port` 0 takes a free one; `threads` 0 takes as many as this process may use."""

    path: Path
    context_length: int
    """Tokens one request may span; the engine holds `slots` times as many."""
    slots: int
    threads: int = 0
    port: int = 0
    adapters: tuple[Path, ...] = ()
    """GGUF adapters to load; each request says which of them are applied."""
    program: Path | None = None
    """llama.cpp's server compiled for this machine (see `native`); None takes the prebuilt one."""


class EngineProcess:
    """A running child, ready to serve. Ends when `close` is called or when this process ends, however that happens."""

    def __init__(self, options: EngineOptions, *, log_dir: Path | None, start_timeout_s: float) -> None:
        if options.port and port_taken(options.port):
            raise InputError(f"port {options.port} is in use by another program; set model.port to a free one, or 0")
        self.options = options
        self.api_key = secrets.token_urlsafe(24)
        self._log = EngineLog(log_dir, "engine.log")
        self._slot_dir = Path(tempfile.mkdtemp(prefix="crucible-slots-"))
        # A session of its own: a terminal's Ctrl-C is for the parent, which ends the child in order. -P: nothing in the
        # working directory is imported, where generated programs may lie.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._log.follow(self._process.stderr)
            self.url = self._wait_until_ready(start_timeout_s)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def slot_dir(self) -> Path:
        """Where the server saves slots."""
        return self._slot_dir

    def wait(self, seconds: float) -> int | None:
        """The exit code, None if it still lives after `seconds`."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> str:
        return self._log.last_words()

    def close(self) -> None:
        """Ends the child now: it holds nothing that needs saving. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._log.close()
        shutil.rmtree(self._slot_dir, ignore_errors=True)

    def _wait_until_ready(self, seconds: float) -> str:
        stdin = self._process.stdin
        assert stdin is not None
        threads = self.options.threads or usable_cores()
        told = {"threads": threads, "api_key": self.api_key, "slot_dir": str(self._slot_dir)}
        try:
            os.write(stdin.fileno(), json.dumps(self.options.model_dump(mode="json") | told).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._failed("it ended at once") from error
        line = _read_line(self._process.stdout, seconds)
        if line is None:
            raise self._failed(f"not ready after {seconds:.0f} s")
        if not line:
            self.wait(5.0)
            raise self._failed(self._log.last_words(settle_s=1.0))
        return str(json.loads(line)["url"])

    def _failed(self, why: str) -> ModelUnavailableError:
        return ModelUnavailableError(
            f"the embedded engine cannot serve {self.options.path}: {why}. If the file is damaged, fetch it again with "
            "`crucible models pull`; if memory is short, lower model.slots or model.context_length"
        )


def usable_cores() -> int:
    """Cores worth a decoding thread: those this process may use, hyper-threads and CPU quota taken off.

    From four on, one is left for everything else: one busy competitor slows all threads down to its pace.
    """
    import psutil

    cores = min(len(os.sched_getaffinity(0)), psutil.cpu_count(logical=False) or 1 << 16)
    limits = Path("/sys/fs/cgroup/cpu.max")
    if limits.is_file():
        quota, _, period = limits.read_text(encoding="ascii").strip().partition(" ")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores - 1 if cores >= 4 else max(1, cores)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def port_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _read_line(stream: IO[bytes] | None, seconds: float) -> bytes | None:
    """The child's one line; empty if it ended first, None if it took too long."""
    assert stream is not None
    line, deadline = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if selector.select(timeout=left):
                piece = os.read(stream.fileno(), 4096)
                line += piece
                if not piece or line.endswith(b"\n"):
                    return line
    return None


class EngineLog:
    """The child's last lines, in memory and, where there is a log folder, in a file of at most two MiB."""

    def __init__(self, folder: Path | None, name: str, *, hide: str = "\0") -> None:
        self._hide = hide
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._thread: threading.Thread | None = None
        self._file: RotatingFileHandler | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._file = RotatingFileHandler(folder / name, maxBytes=LOG_BYTES, backupCount=1)
            except OSError as error:
                raise StoreError(f"cannot write the engine's log to {folder}: {error.strerror}") from error

    def follow(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True, name="crucible-log")
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip().replace(self._hide, "***")
                self._lines.append(line)
                if self._file is not None:
                    self._file.handle(logging.LogRecord("engine", logging.INFO, "", 0, line, None, None))

    def last_words(self, settle_s: float = 0.0) -> str:
        """The first error of the last lines (those after it follow from it), else the last line."""
        if self._thread is not None:
            self._thread.join(settle_s)
        lines = [line.strip() for line in tuple(self._lines) if line.strip()]
        telling = [line for line in lines if " E " in line or "error" in line.lower()]
        return ([*telling[:1], *lines[-1:]] or ["it said nothing"])[0][:300]

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if self._file is not None:
            self._file.close()
