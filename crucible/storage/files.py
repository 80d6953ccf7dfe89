"""Files that are there whole or not at all.

A link is followed: the file it names is replaced, the link stays. A pipe or a device is written into and never replaced.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from crucible.errors import InputError, StoreError

_NOT_PLAIN = stat.S_IFIFO, stat.S_IFCHR


def check_place(path: Path) -> None:
    """Raise InputError where `write_atomically` could not write `path`, StoreError where it may not."""
    mode = _mode(path)
    if mode in _NOT_PLAIN or _descriptor(path) is not None:
        return
    folder = followed(path).parent
    if mode == stat.S_IFDIR:
        raise InputError(f"{path} is a folder; name a file")
    if mode not in (0, stat.S_IFREG):
        raise InputError(f"cannot write {path}: it is neither a file nor a pipe; name a file")
    if not folder.is_dir():
        named = folder if path.is_symlink() else path.parent
        raise InputError(f"cannot write {path}: there is no folder {named}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write {path}: the folder {folder} is not writable for you")


def write_atomically(path: Path, text: str) -> None:
    """Write all of `text`, or keep the old file. Half of a surrogate pair becomes a backslash escape.

    Raises InputError for a bad place, StoreError for no space."""
    check_place(path)
    data = text.encode("utf-8", "backslashreplace")
    try:
        if (descriptor := _descriptor(path)) is not None:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()  # what was said before comes first
            _write_into(os.dup(descriptor), data)
        elif _mode(path) in _NOT_PLAIN:
            _write_into(os.open(path, os.O_WRONLY), data)
        else:
            _replace(followed(path), data)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


def followed(path: Path) -> Path:
    """The place that `path` names once every link on the way is followed, whether or not a file is there."""
    return Path(os.path.realpath(path))


def _replace(path: Path, data: bytes) -> None:
    temporary = None
    try:
        prefix = f".{path.name[:64]}."
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=prefix, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            old = path.stat()
            with suppress(PermissionError):  # only root gives files away
                os.chown(temporary, old.st_uid, old.st_gid)
            temporary.chmod(stat.S_IMODE(old.st_mode))
        else:
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        temporary = None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _write_into(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _descriptor(path: Path) -> int | None:
    """The open file of this process that `path` stands for, as /dev/stdout does; None for every other path.

    Opening such a path anew would start at the file's beginning, over what is there already."""
    place = path.absolute()
    for _ in range(40):  # links that go round in a circle end here
        folder = followed(place.parent)
        if place.name.isdecimal() and folder == Path(f"/proc/{os.getpid()}/fd"):
            return int(place.name)
        if not place.is_symlink():
            return None
        place = folder / place.readlink()
    return None


def _mode(path: Path) -> int:
    """The kind of file at the end of all links; 0 where there is none."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
