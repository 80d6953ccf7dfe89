"""Chat completions over HTTP with server-sent events: what the embedded and the OpenAI-compatible engine share.

A batch is one request per sampling, sent at once: the server batches them, every sample has a seed and a temperature of
its own, and each can be cancelled by closing its connection.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from crucible.errors import (
    ContextOverflowError,
    EngineError,
    EngineTimeoutError,
    ModelUnavailableError,
)
from crucible.models.base import OnDelta
from crucible.types import Completion, Message, Sampling, TokenLogprob

if TYPE_CHECKING:
    import httpx

MAX_PARALLEL = 64


class ConnectionLostError(EngineError):
    """The server went away; whoever runs it may know how to bring it back."""


class ChatClient:
    """One server. `extra` is added to every request; `dialect` says what it understands beyond the common API."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        import httpx

        self.base_url, self.model, self._extra = base_url.rstrip("/"), model, extra or {}
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # No connection is used twice: a server may close an idle one just as the next request goes out on it.
        limits = httpx.Limits(max_connections=MAX_PARALLEL, max_keepalive_connections=0)
        self._http = httpx.Client(
            headers=headers, timeout=httpx.Timeout(timeout_s, connect=5.0), limits=limits, trust_env=False
        )

    def batch(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        """One completion per sampling, in their order. Raises what `Model.generate` raises, or ConnectionLostError."""
        stop = _Stop(cancel, deadline_s)

        def one(index: int, sampling: Sampling) -> Completion:
            return self._draw(index, messages, sampling, on_delta, stop)

        if len(samplings) == 1 and cancel is None:
            return [one(0, samplings[0])]
        pool = ThreadPoolExecutor(min(len(samplings), MAX_PARALLEL), thread_name_prefix="draw")
        try:
            futures = [pool.submit(one, index, sampling) for index, sampling in enumerate(samplings)]
            return [future.result() for future in futures]
        except BaseException:
            stop.now.set()  # an error or a Ctrl-C ends the other requests too
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        """The JSON answer to one request. Raises like `batch`."""
        import httpx

        try:
            answer = self._http.post(f"{self.base_url}{path}", json=body)
        except httpx.HTTPError as error:
            raise self._translated(error) from error
        if answer.is_error:
            raise self._refused(answer.status_code, answer.text)
        return answer.json()

    def close(self) -> None:
        self._http.close()

    # ------------------------------------------------------------- one request

    def _draw(
        self,
        index: int,
        messages: Sequence[Message],
        sampling: Sampling,
        on_delta: OnDelta | None,
        stop: _Stop,
    ) -> Completion:
        import httpx

        answer = _Answer(sampling, time.monotonic())
        body = {"model": self.model, **self._extra, **request_body(messages, sampling)}
        try:
            with self._http.stream("POST", f"{self.base_url}/v1/chat/completions", json=body) as response:
                if response.is_error:
                    raise self._refused(response.status_code, response.read().decode("utf-8", "replace"))
                with stop.watching(response.close):
                    for event in _events(response):
                        text = answer.take(event)
                        if text and on_delta is not None:
                            on_delta(index, text)
        except (httpx.HTTPError, httpx.StreamError, OSError, RuntimeError) as error:
            if stop.timed_out:
                raise EngineTimeoutError(f"{self.base_url}: no complete answer within {stop.seconds:.0f} s") from error
            if not stop.now.is_set():
                raise self._translated(error) from error
        if stop.timed_out and answer.finish is None:
            raise EngineTimeoutError(f"{self.base_url}: no complete answer within {stop.seconds:.0f} s")
        if answer.finish is None and not stop.now.is_set():
            raise ConnectionLostError(f"{self.base_url} ended its answer in the middle")
        return answer.completion()

    def _translated(self, error: Exception) -> EngineError | ModelUnavailableError:
        import httpx

        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ConnectionLostError(f"no server answers at {self.base_url} ({error}); start it or mend model.base_url")
        if isinstance(error, httpx.TimeoutException):
            return EngineTimeoutError(f"{self.base_url} did not answer in time; raise model.timeout_s ({error!r})")
        return ConnectionLostError(f"the connection to {self.base_url} broke ({error!r})")

    def _refused(self, status: int, text: str) -> EngineError | ModelUnavailableError:
        try:
            problem = json.loads(text)["error"]
            message = problem["message"] if isinstance(problem, dict) else str(problem)
        except (ValueError, KeyError, TypeError):
            problem, message = {}, text.strip()[:200]
        kind = problem.get("type", "") if isinstance(problem, dict) else ""
        if "context" in kind or ("context" in message.lower() and "exceed" in message.lower()):
            return ContextOverflowError(f"{message}; shorten the task or raise model.context_length")
        if status in (401, 403):
            return ModelUnavailableError(f"{self.base_url} refuses the key (HTTP {status}); set model.api_key")
        if status == 404:
            return ModelUnavailableError(f"{self.base_url} has no model {self.model!r} (HTTP 404: {message})")
        return EngineError(f"{self.base_url} answers HTTP {status}: {message}")


def request_body(messages: Sequence[Message], sampling: Sampling) -> dict[str, Any]:
    """The request in the OpenAI form; `grammar` is llama.cpp's extension."""
    body: dict[str, Any] = {
        "messages": [message.model_dump() for message in messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.json_schema is not None:
        schema = {"name": "answer", "strict": True, "schema": sampling.json_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.grammar is not None:
        body["grammar"] = sampling.grammar
    if sampling.logprobs:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return body


class _Stop:
    """When to give up on a batch: the caller's event, a deadline, or a failure of another request."""

    def __init__(self, cancel: threading.Event | None, deadline_s: float | None) -> None:
        self.now = threading.Event()
        self.seconds = deadline_s or 0.0
        self.timed_out = False
        self._cancel = cancel
        self._deadline = None if deadline_s is None else time.monotonic() + deadline_s

    def watching(self, close: Callable[[], None]) -> _Watch:
        return _Watch(self, close)

    def check(self) -> bool:
        if self._cancel is not None and self._cancel.is_set():
            self.now.set()
        if self._deadline is not None and time.monotonic() > self._deadline:
            self.timed_out = True
            self.now.set()
        return self.now.is_set()


class _Watch:
    """Closes a response that must end while its reader is blocked waiting for bytes."""

    POLL_S = 0.05

    def __init__(self, stop: _Stop, close: Callable[[], None]) -> None:
        self._stop, self._close = stop, close
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.POLL_S):
            if self._stop.check():
                self._close()
                return


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line[6:])
            if "error" in event:
                raise EngineError(f"the engine failed while generating: {event['error']}")
            yield event


class _Answer:
    """Puts a completion together from its events."""

    def __init__(self, sampling: Sampling, began: float) -> None:
        self._sampling, self._began = sampling, began
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._usage: dict[str, int] = {}
        self.finish: str | None = None

    def take(self, event: dict[str, Any]) -> str:
        """Add one event; returns the text it brought."""
        if event.get("usage"):
            self._usage = event["usage"]
        text = ""
        for choice in event.get("choices", []):
            text += choice.get("delta", {}).get("content") or ""
            for item in (choice.get("logprobs") or {}).get("content") or []:
                top = tuple((other["token"], other["logprob"]) for other in item.get("top_logprobs", []))
                self._logprobs.append(TokenLogprob(token=item["token"], logprob=item["logprob"], top=top))
            self.finish = choice.get("finish_reason") or self.finish
        if text:
            self._text.append(text)
        return text

    def completion(self) -> Completion:
        return Completion(
            text="".join(self._text),
            finish_reason={"stop": "stop", "length": "length", None: "cancelled"}.get(self.finish, "stop"),  # type: ignore[arg-type]
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            # A cancelled request gets no usage: one event brings one token.
            completion_tokens=self._usage.get("completion_tokens", len(self._text)),
            seed=self._sampling.seed,
            wall_s=time.monotonic() - self._began,
            logprobs=tuple(self._logprobs) if self._sampling.logprobs else None,
        )
