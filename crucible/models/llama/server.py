"""The child process of the embedded engine: llama.cpp's own server, in a process that ends with its parent.

    python server.py      settings as one line of JSON on stdin, whose end is the parent's end; one line of JSON on stdout
                          when the server is ready; the engine's log on stderr

The server is the prebuilt library's, or this process becomes the compiled program that the settings name. A forked
watchdog waits for the end of stdin and kills it. That is a process and not a thread, because a model that is loading or
decoding may hold Python's lock. This file is run as a script and imports nothing of Crucible.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

LOOK_S = 0.5
READY_LOOK_S = 0.05
HOST = "127.0.0.1"
CACHE_MIB = 512
"""Memory for prompts that left their slot; llama.cpp's own default is 8 GiB."""
BATCH_TOKENS = 256
NGRAM, NGRAM_GUESS = 6, 16
"""Tokens that must have been said before in this order, and how many of what followed then are guessed."""


def watchdog(server: int, parent: int, slot_dir: str, port: int) -> NoReturn:
    """In the forked child: kill `server` when stdin or `parent` ends; end when it does. Leaves no saved slots behind.

    `port`, where not 0, is the compiled program's, whose readiness is told here.
    """
    os.close(2)  # else nobody who reads it would see the server's end, and so with 1
    if not port:
        os.close(1)
    while os.getppid() == server:
        if port and answers(port):
            say_ready(1, f"http://{HOST}:{port}")
            os.close(1)
            port = 0
        readable, _, _ = select.select([0], [], [], READY_LOOK_S if port else LOOK_S)
        if readable and os.read(0, 1) == b"":
            break
        if parent_of(server) != parent:  # a copy of the parent may hold stdin open
            break
    if os.getppid() == server:
        os.kill(server, signal.SIGKILL)
    shutil.rmtree(slot_dir, ignore_errors=True)
    os._exit(0)


def answers(port: int) -> bool:
    """Return whether the model is loaded there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def say_ready(to: int, url: str) -> None:
    os.write(to, json.dumps({"url": url}).encode() + b"\n")


def parent_of(pid: int) -> int:
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        )
    except OSError:
        return 0


def cache_mib(settings: dict[str, Any]) -> int:
    """None with adapters: llama.cpp finds a prompt there by its tokens alone, whichever adapter read it."""
    return 0 if settings["adapters"] else CACHE_MIB


def parameters(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.port = settings["port"]
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context_length"]
    params.kv_unified = settings["one_cache"]
    params.slot_save_path = settings["slot_dir"].rstrip("/") + "/"
    params.cache_ram_mib = cache_mib(settings)
    params.n_threads_http = settings["slots"] + 16  # one is held by every answer that streams
    params.warmup = False
    params.ui = False
    params.verbosity = 2  # warnings and errors
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in settings["adapters"]]
    params.lora_init_without_apply = True  # every request says which
    guess(params.speculative, settings)
    # A batch is decoded to its end before the server hears of a cancelled request; larger ones are no faster on a CPU.
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = settings["threads"]
        # Polling threads spin at every barrier: with one competitor for a core they fall to a tenth of their speed.
        threads.poll = 0
    return params


def guess(speculative: Any, settings: dict[str, Any]) -> None:  # noqa: ANN401
    import xllamacpp

    kinds = xllamacpp.common_speculative_type
    chosen = []
    if settings["draft"]:
        chosen.append(kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE)
        speculative.draft.mparams.path = settings["draft"]
        for threads in (speculative.draft.cpuparams, speculative.draft.cpuparams_batch):
            threads.n_threads, threads.poll = settings["threads"], 0
    if settings["ngrams"]:
        chosen.append(kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE)
        speculative.ngram_simple.size_n, speculative.ngram_simple.size_m = NGRAM, NGRAM_GUESS
    if chosen:
        speculative.types = chosen


def arguments(settings: dict[str, Any], port: int) -> list[str]:
    """`parameters` for the compiled program."""
    slots, threads, batch = settings["slots"], settings["threads"], BATCH_TOKENS
    options = {
        "model": settings["path"],
        "host": HOST,
        "port": port,
        "parallel": slots,
        "ctx-size": slots * settings["context_length"],
        "fit": "off",  # it would change what was not asked for
        "slot-save-path": settings["slot_dir"].rstrip("/") + "/",
        "cache-ram": cache_mib(settings),
        "threads-http": slots + 16,
        "verbosity": 2,
        "batch-size": batch,
        "ubatch-size": batch,
        "threads": threads,
        "threads-batch": threads,
        "poll": 0,
        "poll-batch": 0,
    }
    pairs = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    pairs += [word for path in settings["adapters"] for word in ("--lora", path)]
    kinds = [
        kind for kind, wanted in (("draft-simple", settings["draft"]), ("ngram-simple", settings["ngrams"])) if wanted
    ]
    if kinds:
        pairs += ["--spec-type", ",".join(kinds)]
    if settings["draft"]:
        pairs += ["--spec-draft-model", settings["draft"], "--spec-draft-poll", "0", "--spec-draft-poll-batch", "0"]
    if settings["ngrams"]:
        pairs += ["--spec-ngram-simple-size-n", str(NGRAM), "--spec-ngram-simple-size-m", str(NGRAM_GUESS)]
    return [
        settings["program"],
        *pairs,
        "--lora-init-without-apply",
        "--kv-unified" if settings["one_cache"] else "--no-kv-unified",
        "--no-warmup",
        "--no-ui",
        "--offline",
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def become(settings: dict[str, Any], port: int) -> NoReturn:
    """Turns this process into the compiled program."""
    os.dup2(2, 1)
    command = arguments(settings, port)
    # In the environment the key is not for all to see, as it is among the arguments.
    os.execve(command[0], command, os.environ | {"LLAMA_API_KEY": settings["api_key"]})  # noqa: S606


def serve(settings: dict[str, Any]) -> NoReturn:
    """Runs the prebuilt library's server in this process."""
    answer = os.dup(1)
    os.dup2(2, 1)  # native code may print to stdout, which is kept for the one line

    import xllamacpp

    server = xllamacpp.Server(parameters(settings))  # returns when the model is loaded and the port is open
    say_ready(answer, server.listening_address)
    os.close(answer)
    while True:
        signal.pause()


def main() -> None:
    parent, me = os.getppid(), os.getpid()
    settings = json.loads(sys.stdin.readline())
    port = (settings["port"] or free_port()) if settings["program"] else 0
    if os.fork() == 0:
        watchdog(me, parent, settings["slot_dir"], port)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if port:
        become(settings, port)
    serve(settings)


if __name__ == "__main__":
    main()
