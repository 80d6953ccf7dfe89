"""The embedded engine: llama.cpp's server in a child process of ours. The default where no server is configured.

The child ends with its parent, however that dies (see `server.py`). If the child dies, it is started once more and the
unfinished requests are sent again; what was streamed of those before is then streamed anew. If it dies again before a
batch came through, that is an EngineCrashedError.

Several samples of one prompt share the reading of it: one slot reads it, its state is copied to the others. Reading is
most of the cost of a short answer on a CPU.

Adapters lie beside the model's weights, and every request says which one is applied. llama.cpp loads adapters only when it
starts: for a new one a second child is started and takes over, and the first ends with its last request.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Self

from crucible.errors import (
    ContextOverflowError,
    EngineCrashedError,
    EngineError,
    EngineTimeoutError,
)
from crucible.models.base import AdapterForm, Feature, OnDelta, refuse_beyond, refuse_unloaded
from crucible.models.llama.completion import llama_request
from crucible.models.llama.process import EngineOptions, EngineProcess
from crucible.models.llama.slots import Lane, SlotClient
from crucible.models.transport.chat import chat
from crucible.models.transport.http import ConnectionLostError
from crucible.models.transport.payload import mapping, tokens
from crucible.models.transport.stop import Stop
from crucible.types import Completion, Message, ModelIdentity, Sampling

FEATURES: frozenset[Feature] = frozenset({"seed", "json_schema", "grammar", "logprobs", "prefill", "adapters"})
SHARE_FROM_CHARS = 400
"""Prompts shorter than this are read by every slot by itself: copying would cost as much."""
DEATH_S = 2.0
"""A broken connection may be seen this long before the death that broke it."""


class _Live:
    """A child that serves. Closed by whoever leaves it last once it is retired; `users` is kept under the model's lock."""

    def __init__(self, process: EngineProcess, client: SlotClient, adapters: tuple[str, ...]) -> None:
        self.process, self.client, self.adapters = process, client, adapters
        self.users = 0
        self.retired = False

    def close(self) -> None:
        self.client.close()
        self.process.close()


class EmbeddedModel:
    """A GGUF file served by a child process. Ready when constructed; close it, or use it as a context manager.

    path: the model file, verified by whoever passes it. context_length: tokens one request may span. slots: requests
    decoded at once; more of them wait. adapters: GGUF adapters to load, by name; adapter: the one to apply where a sampling
    names none. threads: 0 takes what the machine has. port: 0 takes a free one.
    draft: a smaller model's file, and ngrams: the text so far, from which the next tokens are guessed; the model checks them.
    one_cache: for whoever asks its `endpoint` for whole batches, which end one by one and would leave gaps (see `EngineOptions`).
    timeout_s: seconds without a sign of life after which a request fails. program: llama.cpp's server compiled for this
    machine, None takes the prebuilt one. log_dir: for `engine.log`, None keeps none.

    Raises InputError (port in use, an adapter that is not among `adapters`) and ModelUnavailableError (the engine cannot
    load the file).
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
        adapters: Mapping[str, Path] | None = None,
        adapter: str | None = None,
        timeout_s: float = 300.0,
        draft: Path | None = None,
        ngrams: bool = False,
        one_cache: bool = False,
        program: Path | None = None,
        log_dir: Path | None = None,
        start_timeout_s: float = 180.0,
    ) -> None:
        self._adapters = dict(adapters or {})
        self._options = EngineOptions(
            path=path,
            context_length=context_length,
            slots=slots,
            threads=threads,
            port=port,
            adapters=tuple(self._adapters.values()),
            draft=draft,
            ngrams=ngrams,
            one_cache=one_cache,
            program=program,
        )
        self._timeout_s, self._log_dir, self._start_timeout_s = timeout_s, log_dir, start_timeout_s
        self._identity = ModelIdentity(
            name=name,
            engine="embedded",
            build=f"llama.cpp of xllamacpp {version('xllamacpp')}, {'native' if program else 'prebuilt'}",
            sha256=sha256,
            adapter=adapter,
            context_length=context_length,
        )
        self._notices: list[str] = []
        self._lock = threading.Lock()
        self._restarted = False
        self._sharing = not one_cache
        self._live: _Live | None = None
        if adapter:
            refuse_unloaded(adapter, self._adapters)
        self._live = self._start()

    remote = False
    adapter_form: AdapterForm | None = "gguf"

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def features(self) -> frozenset[Feature]:
        return FEATURES

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
        refuse_beyond("embedded", self.features, samplings)
        done: dict[int, Completion] = {}
        with Stop(cancel, deadline_s, self._timeout_s) as stop:
            while len(done) < len(samplings):
                with self._entered() as live:
                    try:
                        self._draw(live, messages, samplings, stop, done, on_delta)
                    except ConnectionLostError as error:
                        self._restart(live, error)
                        stop.reason = ""  # the other requests ended only because the engine was gone
        self._restarted = False
        return [done[index] for index in range(len(samplings))]

    def count_tokens(self, text: str) -> int:
        body = {"content": text, "add_special": False, "parse_special": False}
        while True:
            with self._entered() as live:
                try:
                    counted = tokens(live.client.post("/tokenize", body))
                except ConnectionLostError as error:
                    self._restart(live, error)
                    continue
            if counted is None:
                raise EngineError("the embedded engine does not say how many tokens a text has")
            return counted

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serves with `adapters` too, from now on; those of a name already known are replaced. Takes a start of the engine.

        What is being drawn is drawn to its end as it began. Raises like the constructor; the old set then serves on.
        """
        with self._lock:
            old, before = self._serving(), (self._adapters, self._options)
            self._adapters = self._adapters | dict(adapters)
            self._options = self._options.model_copy(update={"adapters": tuple(self._adapters.values())})
            if self._options.port:
                old.close()  # its port is needed; what it was drawing is drawn anew
            try:
                self._live = self._start()
            except BaseException:
                self._adapters, self._options = before
                if self._options.port:
                    self._live = self._start()
                raise
            old.retired = True
            unused = not old.users
        if unused:
            old.close()

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
            live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ------------------------------------------------------------- one prompt, many samples

    def _draw(
        self,
        live: _Live,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        stop: Stop,
        done: dict[int, Completion],
        on_delta: OnDelta | None,
    ) -> None:
        """Draws what `done` lacks."""
        scales = [self._scales(live, sampling) for sampling in samplings]
        prompt = _render(live, messages)
        missing = [scales[index] for index in range(len(samplings)) if index not in done]
        with self._shared(live, prompt, missing, stop) as client:
            client.batch(
                lambda index: llama_request(prompt, samplings[index], scales=scales[index]),
                len(samplings),
                stop,
                done,
                on_delta,
            )

    def _scales(self, live: _Live, sampling: Sampling) -> tuple[float, ...]:
        """How much of every loaded adapter is applied."""
        name = self._identity.adapter if sampling.adapter is None else sampling.adapter
        if name:
            refuse_unloaded(name, live.adapters)
        return tuple(float(other == name) for other in live.adapters)

    @contextmanager
    def _shared(
        self, live: _Live, prompt: str, scales: Sequence[tuple[float, ...]], stop: Stop
    ) -> Iterator[SlotClient]:
        """A client for a sample under each of `scales`: where that pays, one whose slots have read the prompt already."""
        held: list[int] = []
        # What a slot has read is one adapter's.
        if self._sharing and len(prompt) >= SHARE_FROM_CHARS and len(set(scales)) == 1:
            held = live.client.slots.lane(len(scales), prompt, stop)
        if not held:
            yield live.client
            return
        lane = Lane(live.client.slots, held, len(scales))
        try:
            self._fill(live, prompt, held, scales[0], stop)
            yield live.client.within(lane)
        finally:
            lane.close()

    def _fill(self, live: _Live, prompt: str, slots: Sequence[int], scales: tuple[float, ...], stop: Stop) -> None:
        """Reads the prompt into the first of `slots` and copies the slot's state to the others."""
        first, others = slots[0], slots[1:]
        if scales:
            # What a slot holds is taken for the work of the adapter it last drew with: that must be this one.
            live.client.batch(
                lambda index: llama_request("x", Sampling(max_tokens=1), slot=others[index], scales=scales),
                len(others),
                stop,
                {},
            )
        live.client.draw(llama_request(prompt, Sampling(max_tokens=1), slot=first, scales=scales), stop)
        if stop.check():
            return
        state = {"filename": f"prompt-{first}.bin"}
        try:
            live.client.post(f"/slots/{first}?action=save", state)
            for slot in others:
                live.client.post(f"/slots/{slot}?action=restore", state)
        except (ContextOverflowError, EngineTimeoutError, ConnectionLostError):
            raise
        except EngineError as error:
            self._sharing = False
            self._note(f"samples of one prompt now read it each for itself, which is slower ({error})")
        finally:
            (live.process.scratch / state["filename"]).unlink(missing_ok=True)

    # ------------------------------------------------------------- the child

    @contextmanager
    def _entered(self) -> Iterator[_Live]:
        """The child that serves now, which stays until it is left."""
        with self._lock:
            live = self._serving()
            live.users += 1
        try:
            yield live
        finally:
            with self._lock:
                live.users -= 1
                last = live.retired and not live.users
            if last:
                live.close()

    def _serving(self) -> _Live:
        live = self._live
        if live is None:
            raise EngineError("the engine is closed")
        return live

    def _start(self) -> _Live:
        process = EngineProcess(self._options, log_dir=self._log_dir, start_timeout_s=self._start_timeout_s)
        client = SlotClient(
            process.url,
            self._identity.name,
            api_key=process.api_key,
            timeout_s=self._timeout_s,
            streams=self._options.slots,
        )
        live = _Live(process, client, tuple(self._adapters))
        if self._adapters:  # for whoever else asks this server: it would apply all of them
            scales = self._scales(live, Sampling())
            client.post("/lora-adapters", [{"id": number, "scale": scale} for number, scale in enumerate(scales)])
        return live

    def _restart(self, dead: _Live, error: ConnectionLostError) -> None:
        """Puts a new child in the place of `dead`, unless another thread did so already."""
        with self._lock:
            if self._live is not dead:
                return
            code = dead.process.wait(DEATH_S)
            if code is None:
                raise EngineError(f"the embedded engine lives but does not answer: {error}") from error
            words = dead.process.last_words()
            dead.close()
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
    prompt = mapping(live.client.post("/apply-template", body)).get("prompt")
    if not isinstance(prompt, str):
        raise EngineError("the embedded engine does not render the model's chat template")
    return prompt
