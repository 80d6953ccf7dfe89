"""A real HTTP server that answers every request with the same bytes, in pieces."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class RawServer(ThreadingHTTPServer):
    daemon_threads = True
    pieces: tuple[bytes, ...]
    headers: Mapping[str, str]
    status: int
    pause_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: RawServer

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        self._head()
        self._pieces()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._head()
        self._pieces()

    def _head(self) -> None:
        moved = self.path.startswith("/moved/")
        self.send_response(200 if moved else self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _pieces(self) -> None:
        for number, piece in enumerate(self.server.pieces):
            if number:
                time.sleep(self.server.pause_s)
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


@contextmanager
def raw(
    *pieces: bytes, status: int = 200, headers: Mapping[str, str] | None = None, pause_s: float = 0.0
) -> Iterator[RawServer]:
    with RawServer(("127.0.0.1", 0), _Handler) as server:
        server.pieces, server.status, server.headers, server.pause_s = pieces, status, headers or {}, pause_s
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()  # a thread that goes on over a closed socket turns without end
