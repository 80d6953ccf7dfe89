"""A client of one server that streams completions as events, shared by the embedded and the openai engine.

Everything that goes wrong on the way is translated here, once, into Crucible's errors.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from crucible.errors import EngineError, EngineTimeoutError, InputError, ModelUnavailableError
from crucible.models.answer import Request, events, refusal
from crucible.models.base import OnDelta
from crucible.models.stop import Line, Stop
from crucible.models.throttle import Throttle, pause
from crucible.types import Completion

CONNECT_S = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine. Any other host is another machine, whatever its name resolves to."""


MAX_WAIT_S = 60.0


class ConnectionLostError(EngineError):
    """The server cannot be reached, or went away in the middle of an answer."""

    transient_s = 0.0


class StreamClient:
    """Draws completions. Thread-safe; `streams` bounds the requests in flight at a time, by what the server answers well.

    `timeout_s` is how long a request may stay without a sign of life. A request that fails for a passing reason is sent
    again up to `retries` times, after a pause that doubles; what was streamed of it is then streamed anew.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None,
        timeout_s: float,
        streams: int,
        retries: int = 0,
        backoff_s: float = 0.5,
    ) -> None:
        self.base_url, self.model, self.timeout_s = base_url, model, timeout_s
        self._streams, self._retries, self._backoff_s = streams, retries, backoff_s
        self.throttle = Throttle(streams)
        self.retried = 0
        """Requests sent again so far."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s), pool=None),
                # No connection is kept: `Line.trace` then sees the socket of every request.
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
                trust_env=urlsplit(base_url).hostname not in LOOPBACK,  # no proxy on the way to this machine
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise InputError(f"model.base_url {base_url!r} or its key cannot be used: {error}") from error

    def batch(
        self,
        make: Callable[[int], Request],
        count: int,
        stop: Stop,
        done: dict[int, Completion],
        on_delta: OnDelta | None = None,
    ) -> None:
        """Draws completion `index` from `make(index)` for every index under `count` that `done` lacks.

        Raises the first error; completions that were finished by then are in `done`.
        Ctrl-C in the calling thread ends the requests too.
        """
        missing = [index for index in range(count) if index not in done]
        pool = ThreadPoolExecutor(min(self._streams, len(missing)) or 1, thread_name_prefix="crucible-draw")

        telling = threading.Lock()  # one call of `on_delta` at a time, whichever stream it comes from

        def tell(index: int, text: str) -> None:
            if on_delta is not None:
                with telling:
                    on_delta(index, text)

        def draw(index: int) -> None:
            done[index] = self._persist(lambda: make(index), stop, on_delta and partial(tell, index))

        try:
            futures = [pool.submit(draw, index) for index in missing]
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        except BaseException:
            stop.now("failed")
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _persist(self, make: Callable[[], Request], stop: Stop, tell: Callable[[str], None] | None) -> Completion:
        """`draw`, again where that may help."""
        for attempt in range(self._retries + 1):
            try:
                with self.throttle.admitted(stop):
                    completion = self.draw(make(), stop, tell)
                    self.throttle.answered(completion.wall_s, completion.completion_tokens)
            except (EngineError, ModelUnavailableError) as error:
                if error.transient_s is None or attempt == self._retries or stop.check():
                    raise
                self.throttle.refused()
                self.retried += 1
                wait_s = self._backoff_s * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - not all at once
                pause(min(max(wait_s, error.transient_s), MAX_WAIT_S), stop)
            else:
                return completion
        raise AssertionError("the last attempt returns or raises")

    def draw(self, request: Request, stop: Stop, tell: Callable[[str], None] | None = None) -> Completion:
        """One completion; `tell` hears its text as it comes."""
        answer = request.answer
        if not stop.check():
            # A generator does the receiving, so that only what fails there is translated, and not what `tell` raises.
            with closing(self._received(request, stop)) as received:
                for event in received:
                    text = answer.take(event)
                    if text and tell is not None:
                        tell(text)
        if answer.finish is None:
            if stop.reason == "deadline":
                raise EngineTimeoutError(f"no complete answer within {stop.deadline_s:.1f} s")
            if stop.reason == "failed":  # not the caller's wish: an answer to draw again, not a short one to keep
                raise ConnectionLostError("given up because another request failed")
            if not stop.reason:
                raise ConnectionLostError(f"{self.base_url} ended its answer in the middle")
        return answer.completion()

    def _received(self, request: Request, stop: Stop) -> Generator[dict[str, Any], None, None]:
        """The events of the answer; they end early, without an error, when `stop` says so."""
        url, content = f"{self.base_url}{request.path}", _encoded(request.body)
        with Line(stop) as line:
            extensions = {"trace": line.trace}
            try:
                with self._http.stream("POST", url, content=content, headers=_JSON, extensions=extensions) as reply:
                    if reply.is_error:
                        text = reply.read().decode("utf-8", "replace")
                        after = reply.headers.get("retry-after")
                        raise refusal(reply.status_code, text, url=self.base_url, model=self.model, retry_after=after)
                    for event in events(reply.iter_bytes()):
                        line.heard()
                        yield event
            except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
                if line.silent:
                    raise EngineTimeoutError(
                        f"{self.base_url}: no sign of life for {stop.silence_s:.0f} s; raise model.timeout_s"
                    ) from error
                if not stop.reason:  # else this is what a socket we shut looks like to its reader
                    raise self._lost(error) from error

    def post(self, path: str, body: dict[str, Any] | list[Any]) -> Any:  # noqa: ANN401
        """The JSON answer to one short request."""
        try:
            reply = self._http.post(f"{self.base_url}{path}", content=_encoded(body), headers=_JSON)
            if reply.is_error:
                raise refusal(reply.status_code, reply.text, url=self.base_url, model=self.model)
            return reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        self._http.close()

    def _lost(self, error: Exception) -> EngineError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ConnectionLostError(f"no server answers at {self.base_url} ({error or 'timed out'})")
        if isinstance(error, httpx.TimeoutException):
            return EngineTimeoutError(
                f"{self.base_url}: no sign of life for {self.timeout_s:.0f} s; raise model.timeout_s"
            )
        return ConnectionLostError(f"the connection to {self.base_url} broke ({error!r})")


_JSON = {"Content-Type": "application/json"}


def _encoded(body: dict[str, Any] | list[Any]) -> bytes:
    """As UTF-8; half of a surrogate pair, which has no encoding, becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def unavailable(error: ConnectionLostError) -> ModelUnavailableError:
    return ModelUnavailableError(f"{error}; start the server or mend model.base_url")
