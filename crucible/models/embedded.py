"""The embedded engine: llama.cpp's server in a child process of ours. The default where no server is configured.

The child ends with its parent, however that dies (see `server.py`). If the child dies, it is started once more and the
unfinished requests are sent again; what was streamed of those before is then streamed anew. If it dies again before a
batch came through, that is an EngineCrashedError.

Several samples of one prompt share the reading of it: one slot reads it, its state is copied to the others. Reading is
most of the cost of a short answer on a CPU.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, Self

from crucible.errors import (
    ContextOverflowError,
    EngineCrashedError,
    EngineError,
    EngineTimeoutError,
)
from crucible.models.base import OnDelta
from crucible.models.chat import chat
from crucible.models.http import ConnectionLostError, StreamClient
from crucible.models.llama import llama_request
from crucible.models.process import EngineOptions, EngineProcess
from crucible.models.stop import Stop
from crucible.types import Completion, Message, ModelIdentity, Sampling

SHARE_FROM_CHARS = 400
"""Prompts shorter than this are read by every slot by itself: copying would cost as much."""
DEATH_S = 2.0
"""A broken connection may be seen this long before the death that broke it."""


class _Live(NamedTuple):
    process: EngineProcess
    client: StreamClient


class EmbeddedModel:
    """A GGUF file served by a child process. Ready when constructed; close it, or use it as a context manager.

    path: the model file, verified by whoever passes it. context_length: tokens one request may span. slots: requests
    decoded at once; more of them wait. threads: 0 takes what the machine has. port: 0 takes a free one.
    timeout_s: seconds without a sign of life after which a request fails. program: llama.cpp's server compiled for this
    machine, None takes the prebuilt one. log_dir: for `engine.log`, None keeps none.

    Raises InputError (port in use) and ModelUnavailableError (the engine cannot load the file).
    """

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
        program: Path | None = None,
        log_dir: Path | None = None,
        start_timeout_s: float = 180.0,
    ) -> None:
        self._options = EngineOptions(
            path=path, context_length=context_length, slots=slots, threads=threads, port=port, program=program
        )
        self._timeout_s, self._log_dir, self._start_timeout_s = timeout_s, log_dir, start_timeout_s
        self._identity = ModelIdentity(
            name=name,
            engine="embedded",
            build=f"llama.cpp of xllamacpp {version('xllamacpp')}, {'native' if program else 'prebuilt'}",
            sha256=sha256,
            context_length=context_length,
        )
        self._notices: list[str] = []
        self._lock = threading.Lock()
        self._restarted = False
        self._sharing = True
        self._active = 0
        self._live: _Live | None = self._start()

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._serving().process.pid

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        done: dict[int, Completion] = {}
        with self._lock:
            self._active += 1
        try:
            with Stop(cancel, deadline_s, self._timeout_s) as stop:
                while len(done) < len(samplings):
                    live = self._serving()
                    try:
                        prompt = _render(live, messages)
                        self._share_prompt(live, prompt, len(samplings) - len(done), stop)
                        live.client.batch(
                            lambda index, prompt=prompt: llama_request(prompt, samplings[index]),  # type: ignore[misc]
                            len(samplings),
                            stop,
                            done,
                            on_delta,
                        )
                    except ConnectionLostError as error:
                        self._restart(live, error)
                        stop.reason = ""  # the other requests ended only because the engine was gone
        finally:
            with self._lock:
                self._active -= 1
        self._restarted = False
        return [done[index] for index in range(len(samplings))]

    def count_tokens(self, text: str) -> int:
        body = {"content": text, "add_special": False, "parse_special": False}
        while True:
            live = self._serving()
            try:
                return len(live.client.post("/tokenize", body)["tokens"])
            except ConnectionLostError as error:
                self._restart(live, error)

    def endpoint(self) -> tuple[str, str]:
        """(base URL, API key) of the child, for anything else that speaks the OpenAI API."""
        live = self._serving()
        return live.client.base_url, live.process.api_key

    def notices(self) -> list[str]:
        with self._lock:
            said, self._notices = self._notices, []
        return said

    def close(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.client.close()
            live.process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------- one prompt, many samples

    def _share_prompt(self, live: _Live, prompt: str, samples: int, stop: Stop) -> None:
        """Reads the prompt into slot 0 and copies the slot's state to the others that will draw."""
        slots = min(samples, self._options.slots)
        if slots < 2 or len(prompt) < SHARE_FROM_CHARS or not self._sharing or self._active > 1:
            return  # in the midst of another batch slot 0 may be taken, and waiting for it costs more
        live.client.draw(llama_request(prompt, Sampling(max_tokens=1), slot=0), stop)
        if stop.check():
            return
        state = {"filename": "prompt.bin"}
        try:
            live.client.post("/slots/0?action=save", state)
            for slot in range(1, slots):
                live.client.post(f"/slots/{slot}?action=restore", state)
        except (ContextOverflowError, EngineTimeoutError, ConnectionLostError):
            raise
        except EngineError as error:
            self._sharing = False
            self._note(f"samples of one prompt now read it each for itself, which is slower ({error})")
        finally:
            (live.process.slot_dir / "prompt.bin").unlink(missing_ok=True)

    # ------------------------------------------------------------- the child

    def _serving(self) -> _Live:
        live = self._live
        if live is None:
            raise EngineError("the engine is closed")
        return live

    def _start(self) -> _Live:
        process = EngineProcess(self._options, log_dir=self._log_dir, start_timeout_s=self._start_timeout_s)
        client = StreamClient(
            process.url,
            self._identity.name,
            api_key=process.api_key,
            timeout_s=self._timeout_s,
            streams=self._options.slots,
        )
        return _Live(process, client)

    def _restart(self, dead: _Live, error: ConnectionLostError) -> None:
        """Puts a new child in the place of `dead`, unless another thread did so already."""
        with self._lock:
            if self._live is not dead:
                return
            code = dead.process.wait(DEATH_S)
            if code is None:
                raise EngineError(f"the embedded engine lives but does not answer: {error}") from error
            words = dead.process.last_words()
            dead.client.close()
            dead.process.close()
            self._live = None
            if self._restarted:
                raise EngineCrashedError(
                    f"the engine's process died twice (exit code {code}; {words}). See whether memory ran out; lower "
                    "model.slots or model.context_length, or take a smaller model"
                ) from error
            self._restarted = True
            self._notices.append(
                f"the engine's process died (exit code {code}) and was started again; unfinished samples are drawn anew"
            )
            self._live = self._start()

    def _note(self, text: str) -> None:
        with self._lock:
            self._notices.append(text)


def _render(live: _Live, messages: Sequence[Message]) -> str:
    """The chat as the model's own template writes it; a last assistant message is left open."""
    body = {"messages": chat(messages)}
    return str(live.client.post("/apply-template", body)["prompt"])
