"""The child process of the embedded engine: llama.cpp's own server, in a process that ends with its parent.

    python server.py      settings as one line of JSON on stdin, whose end is the parent's end; one line of JSON on stdout
                          when the server is ready; the engine's log on stderr

A forked watchdog waits for the end of stdin and kills this process. It is a process and not a thread, because a model
that is loading or decoding may hold Python's lock. This file is run as a script and imports nothing of Crucible.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
import time
from typing import Any

LOOK_S = 0.5
CACHE_MIB = 512
"""Memory for prompts that left their slot; llama.cpp's own default is 8 GiB."""
BATCH_TOKENS = 256


def watchdog(server: int, slot_dir: str) -> None:
    """In the forked child: kill `server` when stdin ends; end when it does. Leaves no saved slots behind."""
    for stream in (1, 2):
        os.close(stream)  # else nobody who reads them would see the server's end
    while os.getppid() == server:
        readable, _, _ = select.select([0], [], [], LOOK_S)
        if readable and os.read(0, 1) == b"":
            break
    if os.getppid() == server:
        os.kill(server, signal.SIGKILL)
    shutil.rmtree(slot_dir, ignore_errors=True)
    os._exit(0)


def parameters(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.port = settings["port"]
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context_length"]
    # One cache per slot: a prompt read once can then be copied to the other slots (see `EmbeddedModel`).
    params.kv_unified = False
    params.slot_save_path = settings["slot_dir"].rstrip("/") + "/"
    params.cache_ram_mib = CACHE_MIB
    params.n_threads_http = settings["slots"] + 16  # one is held by every answer that streams
    params.warmup = False
    params.ui = False
    params.verbosity = 2  # warnings and errors
    # A batch is decoded to its end before the server hears of a cancelled request; larger ones are no faster on a CPU.
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = settings["threads"]
        # Polling threads spin at every barrier: with one competitor for a core they fall to a tenth of their speed.
        threads.poll = 0
    return params


def main() -> None:
    parent = os.getppid()
    settings = json.loads(sys.stdin.readline())
    me = os.getpid()
    if os.fork() == 0:
        watchdog(me, settings["slot_dir"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answer = os.dup(1)
    os.dup2(2, 1)  # native code may print to stdout, which is kept for the one line

    import xllamacpp

    server = xllamacpp.Server(parameters(settings))  # returns when the model is loaded and the port is open
    os.write(answer, json.dumps({"url": server.listening_address}).encode() + b"\n")
    os.close(answer)
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)  # second to the watchdog: a copy of the parent may hold stdin open


if __name__ == "__main__":
    main()
