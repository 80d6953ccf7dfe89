"""The child process of the embedded engine: llama.cpp's own server, in a process that ends with its parent.

    python -m crucible.models.server MODEL.gguf      settings as JSON on stdin, whose end is the parent's end

A forked watchdog waits for the end of stdin and kills this process. It is a process and not a thread, because a model
that is loading or decoding can hold Python's lock for seconds.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def watchdog(pid: int) -> None:
    """In the forked child: kill `pid` when stdin ends; end when `pid` does."""
    os.set_blocking(0, False)
    while os.getppid() == pid:
        try:
            if os.read(0, 1) == b"":
                break
        except BlockingIOError:
            time.sleep(0.1)
    if os.getppid() == pid:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    me = os.getpid()
    if os.fork() == 0:
        watchdog(me)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.port = settings["port"]
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context_length"]
    params.kv_unified = False
    params.cont_batching = True
    params.cache_prompt = True
    params.warmup = False
    params.ui = False
    params.endpoint_slots = False
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = settings["threads"]
        # Polling threads spin at every barrier and starve whatever else wants a core.
        threads.poll = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
