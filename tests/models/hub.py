"""Real servers for pull tests: a hub over HTTP in a thread, and wheels a real pip downloads."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub:
    """Serves files the way a model hub does: a redirect that carries size and hash, then bytes with ranges.

    Switches: `tag` (publish the hash), `ranges`, `break_after` (close the connection after so many bytes, `breaks` times),
    `pause_s` (between 64 KiB chunks), `status` (answer with this error). `asked` records (method, path, range).
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tag, self.ranges = True, True
        self.break_after, self.breaks = 0, 0
        self.pause_s, self.status = 0.0, 0
        self.asked: list[tuple[str, str, str | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, spec: str, data: bytes) -> None:
        """`spec` as a user writes it: owner/repository:file."""
        repository, file = spec.split(":")
        self.files[f"/{repository}/resolve/main/{file}"] = data

    def gets(self) -> list[str | None]:
        """The Range headers of all downloads."""
        return [asked for method, path, asked in self.asked if method == "GET" and path.startswith("/storage")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.hub.asked.append((self.command, self.path, self.headers.get("Range")))
        name = self.path.removeprefix("/storage")
        data = self.hub.files.get(name)
        if self.hub.status or data is None:
            self.send_response(self.hub.status or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == self.path:
            self.redirect(data)
        else:
            self.send_file(data, body=body)

    def redirect(self, data: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", f"/storage{self.path}")
        if self.hub.tag:
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, data: bytes, *, body: bool) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.hub.ranges else 0
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if body or self.hub.tag:  # else nothing is known before the download
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.send_slowly(data[start:])

    def send_slowly(self, data: bytes) -> None:
        for at in range(0, len(data), 1 << 16):
            if self.hub.breaks and at >= self.hub.break_after:
                self.hub.breaks -= 1
                self.close_connection = True
                return
            try:
                self.wfile.write(data[at : at + (1 << 16)])
            except OSError:
                return
            time.sleep(self.hub.pause_s)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def build_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A minimal wheel that holds `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path
