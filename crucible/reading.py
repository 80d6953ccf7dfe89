"""Bytes to values: UTF-8 text, JSON and YAML. Every fault is an InputError of one line with its place.

YAML is read more strictly than YAML 1.1: `1e-6` is a number, a key set twice is a fault, and what only some readers of YAML
take for something else than text (`yes`, `on`, `1:30`, `010`, `1_000`) is a fault that says to quote it.
"""

from __future__ import annotations

import codecs
import json
import re
from functools import cache
from typing import Any

from crucible.errors import InputError
from crucible.integers import long_integers

FAST = 1 << 15
"""Characters from which on YAML is read by libyaml, where it is there."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_EXPONENT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+$")
_OCTAL = re.compile(r"[-+]?0(?:o[0-7]+|\d[\d_]*)$")
"""Octal for YAML 1.1 or 1.2, decimal or text for the other."""


def decode(data: bytes, name: str) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put before it."""
    if data.startswith(UTF_16):
        raise InputError(f"{name}: UTF-16 text; save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}, line {line}: not UTF-8 text (byte 0x{data[error.start]:02x})") from error


def parse_json(text: str, name: str, line: int | None = None) -> Any:  # noqa: ANN401
    """line: where `text` stands in its file, if it is one line of it."""
    try:
        with long_integers():
            return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        found = line or (error.lineno if isinstance(error, json.JSONDecodeError) else None)
        where = f", line {found}" if found else ""
        raise InputError(f"{name}{where}: not valid JSON ({_why(error)})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"`{next(key for key in keys if keys.count(key) > 1)}` is set twice")
    return made


def parse_yaml(text: str, name: str, first_line: int = 1, *, aliases: bool = False) -> Any:  # noqa: ANN401
    """first_line: the line of its file on which `text` begins. aliases: allow them, in Crucible's own files."""
    import yaml

    # libyaml reads ten times as fast and is less exact about where a fault is
    loader = strict_loader(fast=len(text) > FAST)
    try:
        if (
            not aliases and "&" in text and "*" in text
        ):  # a few aliases of aliases are gigabytes once they are written out
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                if isinstance(event, yaml.AliasEvent):
                    line = (event.start_mark.line if event.start_mark else 0) + first_line
                    raise InputError(f"{name}, line {line}: aliases (*name) are not allowed here")
        with long_integers():
            return yaml.load(text, Loader=loader)  # noqa: S506  # a safe loader, either of the two
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: a date or number that is none
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + first_line}" if mark else ""
        raise InputError(f"{name}{where}: not valid YAML ({getattr(error, 'problem', None) or _why(error)})") from error


@cache
def strict_loader(*, fast: bool) -> Any:  # noqa: ANN401
    """The class of a safe YAML loader with the rules above. Its faults are yaml.MarkedYAMLErrors."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if fast else yaml.SafeLoader

    class Strict(base):  # type: ignore[misc]
        pass

    def fault(node: Any, why: str) -> Exception:  # noqa: ANN401
        return yaml.constructor.ConstructorError(None, None, why, node.start_mark)

    def boolean(loader: Any, node: Any) -> Any:  # noqa: ANN401
        if node.value.lower() not in ("true", "false"):
            why = "stands for a truth value in YAML; quote it if it is text, else write true or false"
            raise fault(node, f"{node.value} {why}")
        return node.value.lower() == "true"

    def number(loader: Any, node: Any) -> Any:  # noqa: ANN401
        if ":" in node.value or "_" in node.value or _OCTAL.match(node.value):
            shown = node.value if len(node.value) < 40 else f"{node.value[:40]}…"
            raise fault(node, f"{shown} may be text or a number in YAML; quote it if it is text, else write it plainly")
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
    Strict.add_constructor("tag:yaml.org,2002:value", base.construct_yaml_str)  # a lone =
    Strict.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
    Strict.add_implicit_resolver("tag:yaml.org,2002:int", _OCTAL, list("-+0"))
    return Strict


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = getattr(error, "msg", None) or str(error)
    return " ".join(str(text).split())
