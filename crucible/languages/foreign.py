"""Programs in languages that Crucible does not parse: taken from an answer by its code fences alone."""

from __future__ import annotations

import re

from crucible.languages.python.extract import Extracted

_BLOCK = re.compile(r"^(`{3,}|~{3,})[^\n`]*\n(.*?)^\1[ \t]*$", re.MULTILINE | re.DOTALL)


def fenced(answer: str) -> Extracted:
    """The last complete fenced block; the whole answer where there is none."""
    blocks = _BLOCK.findall(answer.replace("\r\n", "\n"))
    if not blocks:
        return Extracted(answer.strip(), ("whole answer",))
    return Extracted(str(blocks[-1][1]).rstrip("\n"), ("last block",))
