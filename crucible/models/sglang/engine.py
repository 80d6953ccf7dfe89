"""The SGLang engine, where Crucible starts the server itself. One that runs elsewhere is an OpenAIModel of its dialect.

SGLang batches what comes in as it comes and keeps prompts in a radix tree, so that requests which begin alike read that
part once: nothing has to be done for it but to begin alike. If the server dies it is started once more and the unfinished
batch is sent again. It draws without regard to the seed's promise (`features`).

A fine-tuned adapter goes live without a restart in one of two ways: as an adapter that requests name (`load_adapters`), where
the server was started with room for some, or merged into the weights, which are then read anew from disk (`load_weights`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from crucible.errors import CrucibleError, EngineCrashedError, EngineError, InputError, ModelUnavailableError
from crucible.models.base import AdapterForm, OnDelta, refuse_unloaded
from crucible.models.remote.openai import OpenAIModel
from crucible.models.sglang.process import SglangOptions, SglangProcess
from crucible.models.sglang.replicas import Replicas
from crucible.models.transport.payload import mapping, string
from crucible.models.transport.quoting import quote
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, ModelIdentity, Sampling

START_TIMEOUT_S = 600.0
DEATH_S = 5.0
FAILOVERS = 5


class SglangModel(WrappedModel):
    """A server of our own. Ready when constructed, in about a minute; close it, or use it as a context manager.

    sha256: of the model file the weights were written from; merged: the adapter that was merged into them. adapter: of those
    that `options` names, the one to apply where a sampling names none. replicas: how many servers share the work. timeout_s:
    seconds without a sign of life after which a request fails. retries: how often one that fails for a passing reason is sent
    again. log_dir: for `sglang.log`, None keeps none. progress: hears how far the start is.

    Raises InputError (port in use, an adapter that `options` does not name) and ModelUnavailableError (it does not start).
    """

    inner: OpenAIModel

    def __init__(
        self,
        options: SglangOptions,
        *,
        name: str,
        sha256: str | None = None,
        merged: str | None = None,
        adapter: str | None = None,
        replicas: int = 1,
        timeout_s: float = 300.0,
        retries: int = 0,
        log_dir: Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._options, self._name, self._timeout_s = options, name, timeout_s
        self._sha256, self._merged, self._adapter = sha256, merged, adapter
        self._known([adapter] if adapter else [])
        # With several servers, the death of one is a passing reason.
        self._replicas, self._retries = replicas, max(retries, FAILOVERS if replicas > 1 else 0)
        self._log_dir, self._progress = log_dir, progress
        self._lock, self._notes = threading.Lock(), threading.Lock()
        self._notices: list[str] = []
        self._restarted = False
        self._process = self._start()
        super().__init__(self._connect())

    @property
    def adapter_form(self) -> AdapterForm | None:
        return "peft" if "adapters" in self.features else None

    @property
    def identity(self) -> ModelIdentity:
        return self.inner.identity.model_copy(update={"adapter": self._merged or self._adapter})

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        if "adapters" in self.features:
            self._known(sampling.adapter for sampling in samplings if sampling.adapter)
        while True:
            process, inner = self._process, self.inner
            try:
                drawn = inner.generate(messages, samplings, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
            except ModelUnavailableError as error:
                self._restart(process, error)
                continue
            self._restarted = False
            return drawn

    def load_weights(self, weights: Path, *, merged: str | None = None) -> None:
        """Serves the weights in that folder from now on, without a restart: same model, other numbers.

        Raises EngineError and ModelUnavailableError; then what was served is served on.
        """
        before = self._options.weights
        self._tell(lambda server: _take(server, weights), lambda server: _take(server, before))
        self._remember(self._options.model_copy(update={"weights": weights}))
        self._merged = merged

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        """Serves with the PEFT adapters in these folders too, from now on, without a restart; those of a name already known
        are replaced, once the requests that draw with them have ended.

        Raises InputError (the server was started without room for adapters), EngineError (it does not take one) and
        ModelUnavailableError; then what was served is served on.
        """
        before = self._loaded()
        replaced = {name: before[name] for name in adapters if name in before}
        self._tell(
            lambda server: _exchange(server, replaced, adapters), lambda server: _exchange(server, adapters, replaced)
        )
        self._remember(self._options.model_copy(update={"adapters": before | dict(adapters)}))

    def unload_adapters(self, *names: str) -> None:
        """Forgets them and frees their room. Raises like `load_adapters`, and InputError for one that is not loaded."""
        self._known(names)
        if self._adapter in names:
            raise InputError(f"adapter {self._adapter!r} is the one that is applied where a request names none")
        before = self._loaded()
        gone = {name: before[name] for name in names}
        self._tell(lambda server: _exchange(server, gone, {}), lambda server: _exchange(server, {}, gone))
        left = {name: path for name, path in before.items() if name not in gone}
        self._remember(self._options.model_copy(update={"adapters": left}))

    def _loaded(self) -> dict[str, Path]:
        if self._options.adapters is None:
            raise InputError("this SGLang server was started without room for adapters; merge one into its weights")
        return self._options.adapters

    def _known(self, names: Iterable[str]) -> None:
        for name in names:
            refuse_unloaded(name, self._options.adapters or {})

    def _tell(self, change: Callable[[OpenAIModel], None], undo: Callable[[OpenAIModel], None]) -> None:
        """Changes every server, or where one refuses none."""
        told: list[str] = []
        try:
            for url in self._process.servers:
                told.append(url)
                with self._connect(url) as server:
                    change(server)
        except CrucibleError:
            for url in told:
                with contextlib.suppress(CrucibleError), self._connect(url) as server:  # the first error is raised
                    undo(server)
            raise

    def _remember(self, options: SglangOptions) -> None:
        """What a server that is started anew is started with."""
        with self._lock:
            self._options = options
        if isinstance(self._process, Replicas):
            self._process.serve(options)

    @property
    def pid(self) -> int:
        """Process id of what holds the server."""
        return self._process.pid

    def endpoint(self) -> tuple[str, str]:
        """(base URL, API key), for anything else that speaks the OpenAI API."""
        return self._process.url, self._process.api_key

    def notices(self) -> list[str]:
        with self._notes:
            said, self._notices = self._notices, []
        return said + super().notices()

    def close(self) -> None:
        super().close()
        self._process.close()

    def _start(self) -> SglangProcess | Replicas:
        start = SglangProcess if self._replicas == 1 else partial(Replicas, count=self._replicas, tell=self._note)
        return start(self._options, log_dir=self._log_dir, start_timeout_s=START_TIMEOUT_S, progress=self._progress)

    def _note(self, text: str) -> None:
        with self._notes:
            self._notices.append(text)

    def _connect(self, url: str = "") -> OpenAIModel:
        return OpenAIModel(
            url or self._process.url,
            self._name,
            engine="sglang",
            sha256=self._sha256,
            api_key=self._process.api_key,
            timeout_s=self._timeout_s,
            prefill=True,
            dialect="sglang" if self._options.adapters is None else "sglang-lora",
            adapter=self._adapter,
            context_length=self._options.context_length,
            retries=self._retries,
        )

    def _restart(self, dead: SglangProcess | Replicas, error: ModelUnavailableError) -> None:
        """Puts a new server in the place of `dead`, unless another thread did so already."""
        with self._lock:
            if self._process is not dead:
                return
            if dead.wait(DEATH_S) is None:
                raise error
            words = dead.last_words()
            dead.close()
            if self._restarted:
                raise EngineCrashedError(
                    f"SGLang died twice ({words}). See whether memory ran out; lower model.slots or model.context_length"
                ) from error
            self._restarted = True
            self._note(f"SGLang died ({words}) and was started again; unfinished samples are drawn anew")
            self._process = self._start()
            self.inner.close()
            self.inner = self._connect()


def _take(server: OpenAIModel, weights: Path) -> None:
    said = mapping(server.post("/update_weights_from_disk", {"model_path": str(weights)}))
    if not said.get("success"):
        why = quote(string(said.get("message")) or "no reason given")
        raise ModelUnavailableError(f"SGLang does not take the weights in {weights}: {why}")


def _exchange(server: OpenAIModel, out: Iterable[str], into: Mapping[str, Path]) -> None:
    for name in out:
        with contextlib.suppress(EngineError):  # it has none of that name; if it has, it takes no other under it
            server.post("/unload_lora_adapter", {"lora_name": name})
    for name, path in into.items():
        server.post("/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
