"""A server program of ours: its process, its log, its end; and the ports such programs take."""

from __future__ import annotations

import logging
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from crucible.errors import InputError, StoreError

HOST = "127.0.0.1"
LOG_LINES, LOG_BYTES = 200, 1 << 20


class Child:
    """A running program with its log, a folder of its own, and a key for whoever asks it.

    name: of its log. Ends with `close`; that it ends with this process too, however that happens, is what the program
    itself must see to: its stdin ends then.
    """

    def __init__(self, name: str, *, log_dir: Path | None, port: int = 0, api_key: str | None = None) -> None:
        if port and port_taken(port):
            raise InputError(f"port {port} is in use by another program; set model.port to a free one, or 0")
        self.api_key = api_key or secrets.token_hex(16)  # hex: SGLang takes one that begins with - for an option
        self._log = EngineLog(log_dir, f"{name}.log", hide=self.api_key)
        self.scratch = Path(tempfile.mkdtemp(prefix=f"crucible-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    def _run(
        self, command: Sequence[str], *, speaks: bool, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts it. speaks: its stdout is for the caller, and only its stderr for the log."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if speaks else subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which ends the child in order
            cwd=cwd,
            env=env,
        )
        self._log.follow(self._process.stderr if speaks else self._process.stdout)
        return self._process

    @property
    def pid(self) -> int:
        return self._running().pid

    def wait(self, seconds: float) -> int | None:
        """The exit code, None if it still lives after `seconds`."""
        try:
            return self._running().wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self, settle_s: float = 0.0) -> str:
        return self._log.last_words(settle_s)

    def close(self) -> None:
        """Ends it now: it holds nothing that needs saving. A second call does nothing."""
        if (process := self._process) is not None:
            self._end(process)
            process.wait()
            for pipe in (process.stdin, None if process.stderr is None else process.stdout):
                if pipe is not None:
                    pipe.close()
        self._log.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process


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
