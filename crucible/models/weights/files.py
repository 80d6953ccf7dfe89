"""Model files at rest: where a model lies, whether it is whole, and its SHA-256.

A hash once computed is kept beside the cache with the file's size and time, so that a start does not read a gigabyte
again. A file changed in place without a change of size and time is not noticed; nothing but a full hash would.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from crucible.errors import ModelUnavailableError
from crucible.models.weights.catalogue import ModelSource, shards_of
from crucible.models.weights.gguf import check_gguf, check_magic

CHUNK = 1 << 20


class ModelFile(NamedTuple):
    """A model file that is there and whole."""

    path: Path
    sha256: str


def locate(source: ModelSource, cache_dir: Path) -> ModelFile:
    """The file of `source`, verified; the first one of a model in shards, whose hash is then that of all shards' hashes.

    Raises ModelUnavailableError if a file is missing, cut off or not what it should be."""
    found = [locate_file(shard, cache_dir) for shard in shards_of(source)]
    if len(found) == 1:
        return found[0]
    together = hashlib.sha256(" ".join(shard.sha256 for shard in found).encode("ascii"))
    return ModelFile(found[0].path, together.hexdigest())


def locate_file(source: ModelSource, cache_dir: Path) -> ModelFile:
    """As `locate`, for one file."""
    path = source.path(cache_dir)
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"{path} is missing, one of the model's shards; put it beside the others"
            if source.local
            else f"model {source.name} is not on this machine; fetch it with: crucible models pull {source.name}"
        ) from error
    except OSError as error:
        raise ModelUnavailableError(f"model {source.name}: cannot read {path}: {error.strerror}") from error
    if source.bytes is not None and size != source.bytes:
        raise ModelUnavailableError(
            f"{path} has {size} bytes where model {source.name} has {source.bytes}: cut off or changed; "
            f"fetch it again with: crucible models pull {source.name}"
        )
    known = read_stamp(path, cache_dir)
    try:
        if known is not None:
            check_magic(path)
    except OSError as error:
        raise ModelUnavailableError(f"model {source.name}: cannot read {path}: {error.strerror}") from error
    if known is None:
        try:
            check_gguf(path)
            known = hash_file(path)
        except OSError as error:
            raise ModelUnavailableError(f"model {source.name}: cannot read {path}: {error.strerror}") from error
        if source.sha256 is None or known == source.sha256:
            write_stamp(path, cache_dir, known)
    if source.sha256 is not None and known != source.sha256:
        raise ModelUnavailableError(
            f"{path} has the SHA-256 {known}, not {source.sha256} of model {source.name}; "
            f"fetch it again with: crucible models pull {source.name}"
        )
    return ModelFile(path, known)


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_stamp(path: Path, cache_dir: Path) -> str | None:
    """The SHA-256 found when this very file was last hashed; None if it has changed since, or never was."""
    try:
        stamp = json.loads(_stamp(path, cache_dir).read_text(encoding="utf-8"))
        facts = path.stat()
        same = (stamp["size"], stamp["mtime_ns"]) == (facts.st_size, facts.st_mtime_ns)
        return str(stamp["sha256"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no stamp or a damaged one: hashing again is always right


def write_stamp(path: Path, cache_dir: Path, sha256: str) -> None:
    """Remember the hash. In a cache that cannot be written the next start hashes again."""
    facts = path.stat()
    stamp = _stamp(path, cache_dir)
    text = json.dumps({"path": str(path), "size": facts.st_size, "mtime_ns": facts.st_mtime_ns, "sha256": sha256})
    temporary = stamp.with_suffix(f".{os.getpid()}")
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(stamp)
    except OSError:
        with contextlib.suppress(OSError):  # a read-only cache is no error: the hash is only remembered for speed
            temporary.unlink()


def _stamp(path: Path, cache_dir: Path) -> Path:
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return cache_dir / "verified" / f"{name}.json"
