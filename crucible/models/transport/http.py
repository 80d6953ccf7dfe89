"""A client of one server that streams completions as events, shared by the embedded and the openai engine.

Everything that goes wrong on the way is translated here, once, into Crucible's errors.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import httpx

from crucible.errors import EngineError, EngineTimeoutError, ModelUnavailableError
from crucible.models.base import OnDelta
from crucible.models.transport.answer import Request
from crucible.models.transport.client import address, checked_key, client
from crucible.models.transport.payload import mapping
from crucible.models.transport.quoting import quote, reason, shown, words
from crucible.models.transport.refusals import failure, problem, refusal
from crucible.models.transport.sse import DONE, MAX_BYTES, Event, EventStream
from crucible.models.transport.stop import Line, Stop
from crucible.models.transport.throttle import Throttle, pause
from crucible.types import Completion

CONNECT_S = 5.0
MAX_WAIT_S = 60.0
MAX_MOVES = 3
"""Redirects that are followed, within the server itself."""
MAX_ERROR_BYTES = 1 << 16


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
        self._address, key = address(base_url), checked_key(api_key)
        self._hidden = (*self._address.secrets, *((key,) if key else ()))
        self.base_url, self.model, self.timeout_s = self._address.url, model, timeout_s
        self._streams, self._retries, self._backoff_s = streams, retries, backoff_s
        self.throttle = Throttle(streams)
        self.retried = 0
        """Requests sent again so far."""
        connect_s = min(CONNECT_S, timeout_s)
        self._http = client(self._address, key, httpx.Timeout(timeout_s, connect=connect_s, pool=None))

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
        answer, odd = request.answer, ""
        if not stop.check():
            # A generator does the receiving, so that only what fails there is translated, and not what `tell` raises.
            with closing(self._received(request, stop)) as received:
                for event in received:
                    if event.data == DONE:
                        answer.done()
                        continue
                    if found := problem(event.data, event.name, plain=True):
                        raise failure(found, url=self.base_url, model=self.model, hide=self._hidden)
                    if answer.empty and not mapping(event.data).keys() & {"choices", "content"}:
                        odd = odd or quote(json.dumps(event.data), hide=self._hidden)
                    text = answer.take(event.data)
                    if text and tell is not None:
                        tell(text)
        rest = answer.end()
        if rest and tell is not None:
            tell(rest)
        if answer.finish is None:
            if stop.reason == "deadline":
                raise EngineTimeoutError(f"no complete answer within {stop.deadline_s:.1f} s")
            if stop.reason == "failed":  # not the caller's wish: an answer to draw again, not a short one to keep
                raise ConnectionLostError("given up because another request failed")
            if not stop.reason and answer.empty and odd:
                raise EngineError(f"{self.base_url} answers with no completion but {odd}; see model.base_url")
            if not stop.reason:
                how = "answers with nothing" if answer.empty else "ended its answer in the middle"
                raise ConnectionLostError(f"{self.base_url} {how}")
        return answer.completion()

    def _received(self, request: Request, stop: Stop) -> Generator[Event, None, None]:
        """The events of the answer; they end early, without an error, when `stop` says so."""
        stream, came = EventStream(), False
        with Line(stop) as line:
            try:
                with self._opened(request.path, request.body, {"trace": line.trace}) as reply:
                    for chunk in reply.iter_bytes():
                        line.heard()  # a comment is a sign of life too
                        for event in stream.feed(chunk):
                            came = True
                            yield event
                    for event in stream.close():
                        came = True
                        yield event
                    if not came and not stop.reason and not line.silent and stream.stray:
                        raise self._foreign(reply, stream.stray, "no completion")
            except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, ValueError) as error:
                if not line.silent and not stop.reason:  # else this is what a socket we shut looks like to its reader
                    raise self._lost(error) from error
            if line.silent and not stop.reason:
                raise EngineTimeoutError(
                    f"{self.base_url}: no sign of life for {stop.silence_s:.0f} s; raise model.timeout_s"
                )

    def post(self, path: str, body: dict[str, Any] | list[Any]) -> Any:  # noqa: ANN401
        """The JSON answer to one short request."""
        try:
            with self._opened(path, body) as reply:
                content = _read(reply, MAX_BYTES)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise self._lost(error) from error
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            raise self._foreign(reply, content, "no JSON") from None
        if found := problem(document):
            raise failure(found, url=self.base_url, model=self.model, hide=self._hidden)
        return document

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def _opened(
        self, path: str, body: dict[str, Any] | list[Any], extensions: dict[str, Any] | None = None
    ) -> Iterator[httpx.Response]:
        """The server's answer, which is no error. A redirect is followed where it stays on the server: the key is not sent
        elsewhere, and neither is the prompt."""
        url, content = httpx.URL(self._address.at(path)), _encoded(body)
        for _ in range(MAX_MOVES):
            with self._http.stream("POST", url, content=content, headers=_JSON, extensions=extensions or {}) as reply:
                if not reply.has_redirect_location:
                    if not reply.is_success:
                        raise refusal(
                            reply.status_code,
                            _read(reply, MAX_ERROR_BYTES),
                            url=self.base_url,
                            model=self.model,
                            content_type=reply.headers.get("content-type", ""),
                            retry_after=reply.headers.get("retry-after"),
                            hide=self._hidden,
                        )
                    yield reply
                    return
                moved = url.join(reply.headers["location"])
                same = (moved.scheme, moved.host, moved.port) == (url.scheme, url.host, url.port)
                if reply.status_code not in (307, 308) or not same:
                    raise EngineError(
                        f"{self.base_url} answers HTTP {reply.status_code} and names {shown(str(moved))}, which is not "
                        "followed; set model.base_url to the server's own address"
                    )
                url = moved
        raise EngineError(f"{self.base_url} redirects in a circle; set model.base_url to the server's own address")

    def _foreign(self, reply: httpx.Response, body: bytes, lacks: str) -> EngineError:
        """What is none of what was asked for: a web page, say."""
        kind = quote(reply.headers.get("content-type", "").partition(";")[0], 60, hide=self._hidden)
        said = words(body, hide=self._hidden)
        return EngineError(
            f"{self.base_url} answers HTTP {reply.status_code} with {lacks} but "
            f"{kind or 'something else'}: {said or 'nothing'}; see model.base_url"
        )

    def _lost(self, error: Exception) -> EngineError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ConnectionLostError(f"no server answers at {self.base_url} ({reason(error)})")
        if isinstance(error, httpx.TimeoutException):
            return EngineTimeoutError(
                f"{self.base_url}: no sign of life for {self.timeout_s:.0f} s; raise model.timeout_s"
            )
        return ConnectionLostError(f"the connection to {self.base_url} broke ({reason(error)})")


_JSON = {"Content-Type": "application/json"}


def _read(reply: httpx.Response, most: int) -> bytes:
    """The body, or its beginning where it is longer than `most`."""
    body = b""
    for chunk in reply.iter_bytes():
        body += chunk
        if len(body) >= most:
            break
    return body[:most]


def _encoded(body: dict[str, Any] | list[Any]) -> bytes:
    """As UTF-8; half of a surrogate pair, which has no encoding, becomes a question mark."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def unavailable(error: ConnectionLostError) -> ModelUnavailableError:
    return ModelUnavailableError(f"{error}; start the server or mend model.base_url")
