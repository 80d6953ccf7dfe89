"""The embedded engine's child process: start it, know its end, say why it ended."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from crucible.errors import ModelUnavailableError
from crucible.models.transport.child import Child
from crucible.types import Frozen

SCRIPT = Path(__file__).with_name("server.py")


class EngineOptions(Frozen):
    """The options of the engine's child process. `port` 0 takes a free one; `threads` 0 takes as many as this process may use."""

    path: Path
    context_length: int
    """Tokens one request may span; the engine holds `slots` times as many."""
    slots: int
    threads: int = 0
    port: int = 0
    adapters: tuple[Path, ...] = ()
    """GGUF adapters to load; each request says which of them are applied."""
    draft: Path | None = None
    """A smaller model of the same vocabulary that guesses what comes next, for the model to check several at once."""
    ngrams: bool = False
    """Guess from what the prompt and the answer said before."""
    one_cache: bool = False
    """All slots share it, and gaps between busy ones cost nothing; else each has its own, to which a prompt that was read once can
    be copied."""
    program: Path | None = None
    """llama.cpp's server compiled for this machine (see `native`); None takes the prebuilt one."""


class EngineProcess(Child):
    """A running child, ready to serve. Ends when `close` is called or when this process ends, however that happens."""

    def __init__(self, options: EngineOptions, *, log_dir: Path | None, start_timeout_s: float) -> None:
        super().__init__("engine", log_dir=log_dir, port=options.port)
        self.options = options
        try:
            # -P: nothing in the working directory is imported, where generated programs may lie.
            process = self._run([sys.executable, "-P", str(SCRIPT)], speaks=True)
            self.url = self._wait_until_ready(process, start_timeout_s)
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes], seconds: float) -> str:
        assert process.stdin is not None
        threads = self.options.threads or usable_cores()
        told = {"threads": threads, "api_key": self.api_key, "slot_dir": str(self.scratch)}
        try:
            os.write(process.stdin.fileno(), json.dumps(self.options.model_dump(mode="json") | told).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._failed("it ended at once") from error
        line = _read_line(process.stdout, seconds)
        if line is None:
            raise self._failed(f"not ready after {seconds:.0f} s")
        if not line:
            self.wait(5.0)
            raise self._failed(self.last_words(settle_s=1.0))
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
