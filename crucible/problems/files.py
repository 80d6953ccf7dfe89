"""Problem and task files: their bytes, unpacked, and Markdown. Every fault is one line with its place."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

from crucible.errors import InputError
from crucible.reading import parse_yaml


def read_bytes(path: Path, most: int, what: str) -> bytes:
    """The file's bytes, unpacked where its name ends in .gz. most: bytes it may have, packed and unpacked."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file")
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path} has {size / 1e6:.1f} MB; {what} may have {most / 1e6:.0f} MB")
        if path.suffix.lower() != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            data = file.read(most + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > most:
        raise InputError(f"{path} unpacks to more than {most / 1e6:.0f} MB")
    return data


def parse_markdown(text: str, name: str) -> dict[Any, Any]:
    """The text is the prompt; fields may stand in YAML between two --- lines at the top."""
    match = re.match(r"---\n(.*?)\n---\n(.*)", text, re.S)
    if match is None:
        heading = re.search(r"^# +(.+)$", text, re.M)
        return {"prompt": text, "title": heading[1].strip() if heading else ""}
    fields = parse_yaml(match[1], name, first_line=2) or {}
    if not isinstance(fields, dict):
        raise InputError(f"{name}, line 2: the block between the --- lines must hold `field: value` lines")
    return {**fields, "prompt": match[2]}
