"""The SGLang engine, where Crucible starts the server itself. One that runs elsewhere is an OpenAIModel of its dialect.

SGLang batches what comes in as it comes and keeps prompts in a radix tree, so that requests which begin alike read that
part once: nothing has to be done for it but to begin alike. If the server dies it is started once more and the unfinished
batch is sent again. On a CPU it draws without regard to the seed's promise (`features`), and cannot load adapters; other
weights can be put in their place from disk (`load_weights`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from crucible.errors import CrucibleError, EngineCrashedError, ModelUnavailableError
from crucible.models.base import OnDelta
from crucible.models.openai import OpenAIModel
from crucible.models.replicas import Replicas
from crucible.models.sglang_process import SglangOptions, SglangProcess
from crucible.models.wrapped import WrappedModel
from crucible.types import Completion, Message, ModelIdentity, Sampling

START_TIMEOUT_S = 600.0
DEATH_S = 5.0
FAILOVERS = 5


class SglangModel(WrappedModel):
    """A server of our own. Ready when constructed, in about a minute; close it, or use it as a context manager.

    sha256: of the model file the weights were written from; merged: the adapter that was merged into them. replicas: how
    many servers share the work. timeout_s: seconds without a sign of life after which a request fails. retries: how often
    one that fails for a passing reason is sent again. log_dir: for `sglang.log`, None keeps none. progress: hears
    how far the start is.

    Raises InputError (port in use) and ModelUnavailableError (it does not start).
    """

    inner: OpenAIModel

    def __init__(
        self,
        options: SglangOptions,
        *,
        name: str,
        sha256: str | None = None,
        merged: str | None = None,
        replicas: int = 1,
        timeout_s: float = 300.0,
        retries: int = 0,
        log_dir: Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._options, self._name, self._timeout_s = options, name, timeout_s
        self._sha256, self._merged = sha256, merged
        # With several servers, the death of one is a passing reason.
        self._replicas, self._retries = replicas, max(retries, FAILOVERS if replicas > 1 else 0)
        self._log_dir, self._progress = log_dir, progress
        self._lock, self._notes = threading.Lock(), threading.Lock()
        self._notices: list[str] = []
        self._restarted = False
        self._process = self._start()
        super().__init__(self._connect())

    @property
    def identity(self) -> ModelIdentity:
        return self.inner.identity.model_copy(update={"adapter": self._merged})

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
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
        told: list[str] = []
        try:
            for url in self._process.servers:
                told.append(url)
                self._take(url, weights)
        except CrucibleError:
            for url in told:
                with contextlib.suppress(CrucibleError):  # the error that is raised is the first
                    self._take(url, self._options.weights)
            raise
        with self._lock:
            self._options, self._merged = self._options.model_copy(update={"weights": weights}), merged
        if isinstance(self._process, Replicas):
            self._process.serve(weights)

    def _take(self, url: str, weights: Path) -> None:
        with self._connect(url) as server:
            said = server.post("/update_weights_from_disk", {"model_path": str(weights)})
        if not said.get("success"):
            raise ModelUnavailableError(f"SGLang does not take the weights in {weights}: {said.get('message')}")

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
            dialect="sglang",
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
