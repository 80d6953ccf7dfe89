"""Examples in a task's words."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple


class Found(NamedTuple):
    source: str
    shown: str
    line: int


class Words(NamedTuple):
    found: tuple[Found, ...] = ()
    unread: tuple[str, ...] = ()
    entry_point: str | None = None


def read(prompt: str, entry_point: str | None = None) -> Words:
    found = []
    for start in re.finditer(r"\bassert ", prompt):
        line = prompt[start.start() :].split("\n")[0]
        for end in range(len(line), 8, -1):
            try:
                ast.parse(line[:end].strip())
            except SyntaxError:
                continue
            found.append(Found(line[:end].strip(), line[:end], 0))
            break
    sessions = re.findall(r"(?:^[ \t]*>>> .*\n(?:(?![ \t]*(?:\"\"\"|'''))[ \t]*\S.*\n?)*)", prompt, re.M)
    import textwrap

    found += [Found(textwrap.dedent(each), each, 0) for each in sessions]
    return Words(tuple(found), (), entry_point)
