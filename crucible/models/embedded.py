"""The embedded engine: llama.cpp's server in a child process of ours. The default where no server is configured.

The child ends with its parent, however that dies (see `server.py`). If the child dies, it is started once more and the
unfinished requests are sent again; a second death is an EngineCrashedError. What was streamed of a request before the
crash is streamed again.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from crucible.errors import (
    EngineCrashedError,
    EngineError,
    InputError,
    ModelUnavailableError,
)
from crucible.models.base import OnDelta
from crucible.models.http import ChatClient, ConnectionLostError
from crucible.types import Completion, Message, ModelIdentity, Sampling

START_TIMEOUT_S = 120.0
HOST = "127.0.0.1"


class EmbeddedModel:
    """A GGUF file served by a child process. Made ready by the constructor; close it, or use it as a context manager."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        sha256: str | None = None,
        context_length: int = 4096,
        slots: int = 4,
        threads: int = 0,
        port: int = 0,
        timeout_s: float = 300.0,
        log_dir: Path | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "path": str(path),
            "context_length": context_length,
            "slots": slots,
            "threads": threads or usable_cores(),
            "api_key": secrets.token_urlsafe(24),
        }
        self._port, self._timeout_s, self._log_dir = port, timeout_s, log_dir
        self._identity = ModelIdentity(name=name, engine="embedded", sha256=sha256, context_length=context_length)
        self._notices: list[str] = []
        self._restarted = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._client: ChatClient | None = None
        self._log = _Log(log_dir)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def pid(self) -> int | None:
        """Process id of the child, None when it is closed."""
        return self._process.pid if self._process else None

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        try:
            return self._live().batch(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        except ConnectionLostError as error:
            self._restart(error)
        try:
            return self._live().batch(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        except ConnectionLostError as error:
            raise self._crashed(error) from error

    def count_tokens(self, text: str) -> int:
        try:
            answer = self._live().post("/tokenize", {"content": text})
        except ConnectionLostError as error:
            self._restart(error)
            answer = self._live().post("/tokenize", {"content": text})
        return len(answer["tokens"])

    def endpoint(self) -> tuple[str, str]:
        """(base URL, API key) of the child's OpenAI-compatible server."""
        return self._live().base_url, self._settings["api_key"]

    def notices(self) -> list[str]:
        said, self._notices = self._notices, []
        return said

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------- the child

    def _live(self) -> ChatClient:
        if self._client is None:
            raise EngineError("the engine is closed")
        return self._client

    def _start(self) -> None:
        port = self._port or _free_port()
        if self._port and _taken(port):
            raise InputError(f"port {port} is in use by another program; set model.port to a free one, or to 0")
        process = subprocess.Popen(
            [sys.executable, "-m", "crucible.models.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.target(),
            text=True,
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which ends the child in order
        )
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps({**self._settings, "port": port}) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failed_start() from error
        ready = _read_line(process, START_TIMEOUT_S)
        if ready is None:
            raise self._failed_start()
        self._client = ChatClient(
            f"http://{HOST}:{port}",
            self._identity.name,
            api_key=self._settings["api_key"],
            timeout_s=self._timeout_s,
            extra={"cache_prompt": True},
        )

    def _failed_start(self) -> ModelUnavailableError:
        last = self._log.last_words()
        return ModelUnavailableError(
            f"the embedded engine cannot serve {self._settings['path']} ({last}); check the file with "
            "`crucible models list`, or fetch it again with `crucible models pull`"
        )

    def _restart(self, error: ConnectionLostError) -> None:
        with self._lock:
            process = self._process
            if process is not None and process.poll() is None:
                try:
                    process.wait(timeout=2.0)  # a broken connection may be seen before the death
                except subprocess.TimeoutExpired:
                    raise EngineError(f"the embedded engine lives but does not answer: {error}") from error
            if self._restarted:
                raise self._crashed(error) from error
            self._restarted = True
            code = process.returncode if process is not None else None
            self._notices.append(f"the engine's process died (exit code {code}) and was started again")
            if self._client is not None:
                self._client.close()
            self._start()

    def _crashed(self, error: Exception) -> EngineCrashedError:
        return EngineCrashedError(
            f"the engine's process died twice ({error}; {self._log.last_words()}); try a smaller model.context_length "
            "or fewer model.slots, and see whether memory ran out"
        )


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _read_line(process: subprocess.Popen[str], seconds: float) -> str | None:
    """The child's one line of output, None if it ended or took too long."""
    import selectors

    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if selector.select(timeout=0.2):
                line = process.stdout.readline()
                return line or None
    return None


def _end(process: subprocess.Popen[str]) -> None:
    """End the child now: it holds nothing that needs saving."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # what was left to write has no reader any more


class _Log:
    """Where the child's stderr goes: the log folder, or a temporary file. Emptied at every start of an engine."""

    KEEP_BYTES = 64 * 1024

    def __init__(self, folder: Path | None) -> None:
        import tempfile

        if folder is None:
            self._file = tempfile.TemporaryFile("w+b")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / f"engine-{os.getpid()}.log").open("w+b")

    def target(self) -> int:
        return self._file.fileno()

    def last_words(self) -> str:
        """The last line that says something about an error, else the last line."""
        if self._file.closed:
            return "no log"
        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - self.KEEP_BYTES))
        lines = [line.strip() for line in self._file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        telling = [line for line in lines if any(word in line.lower() for word in ("error", "failed", "invalid", "cannot"))]
        return (telling or lines or ["it said nothing"])[-1][:300]

    def close(self) -> None:
        self._file.close()
