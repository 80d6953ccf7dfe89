"""A server that speaks the OpenAI API over real HTTP and answers as a list says: well, with an error, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """status 200 answers `text`, a token a word; cut: the connection breaks after so many of them."""

    status: int = 200
    text: str = "one two three"
    cut: int | None = None
    retry_after: str | None = None
    slow_s: float = 0.0


class Asked(NamedTuple):
    at: float
    body: dict[str, Any]


class RudeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, replies: Sequence[Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies, self.asked, self.at_once, self.most = list(replies), list[Asked](), 0, 0
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: RudeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.asked.append(Asked(time.monotonic(), body))
            self.server.at_once += 1
            self.server.most = max(self.server.most, self.server.at_once)
            reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        try:
            self._answer(reply)
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def _answer(self, reply: Reply) -> None:
        time.sleep(reply.slow_s)
        self.send_response(reply.status)
        if reply.retry_after is not None:
            self.send_header("retry-after", reply.retry_after)
        self.end_headers()
        if reply.status != 200:
            self.wfile.write(json.dumps({"error": {"message": reply.text}}).encode())
            return
        words = reply.text.split()
        for number, word in enumerate(words):
            if number == reply.cut:
                return
            self._event({"choices": [{"delta": {"content": f"{word} "}}]})
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words)}})

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def rude(*replies: Reply) -> Iterator[RudeServer]:
    """The last reply is repeated."""
    with RudeServer(replies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()  # a thread that goes on over a closed socket turns without end
