"""Bytes to values: JSON, YAML and Markdown as problem and task files hold them. Every fault is one line with its place."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from functools import cache
from pathlib import Path
from typing import Any

from crucible.errors import InputError

FAST = 1 << 15
"""Characters from which on YAML is read by libyaml, where it is there."""


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


def decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}, line {line}: not UTF-8 text (byte 0x{data[error.start]:02x})") from error


def parse_json(text: str, name: str, line: int | None = None) -> Any:  # noqa: ANN401
    """line: where `text` stands in its file, if it is one line of it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = line or (error.lineno if isinstance(error, json.JSONDecodeError) else None)
        where = f", line {found}" if found else ""
        raise InputError(f"{name}{where}: not valid JSON ({_why(error)})") from error


def parse_yaml(text: str, name: str, first_line: int = 1) -> Any:  # noqa: ANN401
    import yaml

    # libyaml reads ten times as fast and is less exact about where a fault is
    loader = strict_loader(fast=len(text) > FAST)
    try:
        if "&" in text and "*" in text:  # a few aliases of aliases are gigabytes once they are written out
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    line = (event.start_mark.line if event.start_mark else 0) + first_line
                    raise InputError(f"{name}, line {line}: aliases (*name) are not allowed in a task")
        return yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, either of the two
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date or number that is none
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + first_line}" if mark else ""
        raise InputError(f"{name}{where}: not valid YAML ({getattr(error, 'problem', None) or _why(error)})") from error


@cache
def strict_loader(*, fast: bool) -> Any:  # noqa: ANN401
    """A safe YAML loader for which 1e-6 is a number, a key set twice a fault, and what only YAML 1.1 takes for something
    else than text (yes, on, 1:30, 010) a fault that says to quote it."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if fast else yaml.SafeLoader

    class Strict(base):  # type: ignore[misc]
        pass

    def fault(node: Any, why: str) -> Exception:  # noqa: ANN401
        return yaml.constructor.ConstructorError(None, None, why, node.start_mark)

    def boolean(loader: Any, node: Any) -> Any:  # noqa: ANN401
        if node.value.lower() not in ("true", "false"):
            raise fault(
                node, f"{node.value} stands for a truth value in YAML; quote it if it is text, else write true or false"
            )
        return node.value.lower() == "true"

    def number(loader: Any, node: Any) -> Any:  # noqa: ANN401
        if ":" in node.value or re.fullmatch(r"[-+]?0[0-7_]+", node.value):
            raise fault(node, f"{node.value} stands for another number in YAML; quote it if it is text")
        if node.tag.endswith("int"):
            return loader.construct_yaml_int(node)
        return loader.construct_yaml_float(node)

    def mapping(loader: Any, node: Any) -> Any:  # noqa: ANN401
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise fault(key, f"`{key.value}` is set twice, first on line {seen[key.value] + 1}")
                seen[key.value] = key.start_mark.line
        return loader.construct_mapping(node, deep=True)

    Strict.add_constructor("tag:yaml.org,2002:bool", boolean)
    Strict.add_constructor("tag:yaml.org,2002:int", number)
    Strict.add_constructor("tag:yaml.org,2002:float", number)
    Strict.add_constructor("tag:yaml.org,2002:map", mapping)
    exponent = re.compile(r"[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$")
    Strict.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+0123456789"))
    return Strict


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


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = getattr(error, "msg", None) or str(error)
    return " ".join(str(text).split())
