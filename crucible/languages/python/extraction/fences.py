"""The code blocks of an answer, by a Markdown parser; before it, the marks of sloppy fences are set right.

Small models glue a fence to the text before or behind it, write a whole block on one line, indent it, put fences into
docstrings or never close one. What is set right is where a mark stands: alone on its line, longer than what it holds.
Python has no backticks outside string literals and comments, so any other run of them is a mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from crucible.languages.python.checks.source import TOKEN
from crucible.languages.python.extraction.source import dedent, parsed

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_CHECKS = 200
"""Marks of one answer that are looked at for lying in a string; more make no sense and cost time."""
MAX_BLOCKS = 200

PYTHON = frozenset(
    ["", "python", "py", "python3", "python2", "py3", "pycon", "ipython", "ipython3", "gyp", "code", "tool_code"]
)
_BLANK = "[ \t\u00a0\u200b\ufeff]*"
_QUOTE = r"(?:[ \t]*>[ \t]?)*"
_RUN = re.compile(r"`{3,}")
_START = re.compile(rf"({_QUOTE}){_BLANK}(?:(?:[-*+]|\d{{1,3}}[.)])[ \t]+)?{_BLANK}(`{{3,}}|~{{3,}})(.*)$")
_CODE = re.compile(r"\s*(?:@\w|def |class |import |from \w[\w.]* import |async def |\w+ = )")
_INFO = re.compile(r"[\s{.]*([\w+#-]*)[^`]{0,80}$")
_KNOWN = PYTHON - {"", "code"} | {
    "json", "diff", "patch", "markdown", "md", "bash", "sh", "shell", "console", "text", "txt", "plaintext", "output",
    "javascript", "js", "typescript", "ts", "java", "c", "cpp", "c++", "go", "rust", "sql", "html", "xml", "yaml", "toml",
}  # fmt: skip


class Block(NamedTuple):
    """language: the first word behind the fence, in small letters; empty where there is none."""

    text: str
    language: str = ""


def code_blocks(text: str, *, inside_fence: bool = False) -> list[Block]:
    """The contents of all fences in order, the last one also where it was never closed.

    inside_fence: the text begins as the content of an opened fence.
    """
    tokens = _markdown().parse(_well_formed(f"```python\n{text}" if inside_fence else text))
    fences = [token for token in tokens if token.type == "fence" and token.content.strip()]
    return [Block(token.content.rstrip("\n"), _language(token.info)) for token in fences]


def other_code(text: str) -> list[Block]:
    """Code that stands in no fence: indented blocks, then code within a line."""
    tokens = _markdown().parse(text)
    indented = [Block(token.content.rstrip("\n")) for token in tokens if token.type == "code_block"]
    inline = [part for token in tokens for part in token.children or () if part.type == "code_inline"]
    return indented + [Block(re.sub(r"^(?:python|py) ", "", part.content)) for part in inline]


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")


def _language(info: str) -> str:
    found = _INFO.match(info)
    return found[1].lower() if found else ""


def _well_formed(text: str) -> str:
    lines, out = text.split("\n"), list[str]()
    index = blocks = 0
    checks = count()
    while index < len(lines):
        opened = _opening(lines[index]) if blocks < MAX_BLOCKS else None
        if opened is None:
            out.append(lines[index])
            index += 1
            continue
        before, quote, mark, language, first = opened
        if before:
            out.append(before)
        # What follows the opening mark is put on a line of its own, and read on from there.
        rest = [*first, *lines[index + 1 :]]
        content, behind, used = _content(rest, mark[0], checks)
        blocks += 1
        longest = max([2, *(len(run) for line in content for run in re.findall(r"[`~]+", line))])
        ticks = "`" * (longest + 1)
        out += ["", f"{quote}{ticks}{language}", *content, f"{quote}{ticks}"]
        lines, index = [*behind, *rest[used:]], 0
    return "\n".join(out)


def _opening(line: str) -> tuple[str, str, str, str, list[str]] | None:
    """(text before, quote prefix, mark, language, code behind it) where a line opens a block."""
    start = _START.match(line)
    if start is not None:
        quote, mark, info = start.groups()
        before = ""
    else:
        run = _RUN.search(line)
        if run is None:
            return None
        before, mark, info, quote = line[: run.start()].rstrip(), run[0], line[run.end() :], ""
        if len(_RUN.findall(line)) == 1 and info.strip() and _language(info) not in _KNOWN and not _CODE.match(info):
            return None  # a stray mark in prose
    word = re.match(r"\s*([\w+#-]+)(?:[ \t]+|$)", info)
    language, code = "", info
    if word and (word[1].lower() in _KNOWN or ("`" not in info and not _CODE.match(info))):
        language, code = word[1].lower(), info[word.end() :]
    elif _CODE.match(info) is None and "`" not in info:
        language, code = _language(info), ""
    if "`" in code and _CODE.match(code) is None:
        return None  # code within a line of prose
    return before, quote, mark, language, [code] if _CODE.match(code) else []


def _content(lines: list[str], tick: str, checks: Iterator[int]) -> tuple[list[str], list[str], int]:
    """(the block's lines, what stands behind its closing mark or opens the next, number of lines used)."""
    for index, line in enumerate(lines):
        runs = _RUN.finditer(line) if tick == "`" else re.finditer(r"^[ \t>]*(~{3,})[ \t]*$", line)
        for run in runs:
            if next(checks) < MAX_CHECKS and _in_literal(lines, index, run.start()):
                continue
            before, behind = line[: run.start()], line[run.end() :].strip()
            content = lines[:index] + ([before.rstrip()] if before.strip(" \t>\u00a0\u200b\ufeff") else [])
            if (
                behind
                and not before.strip(" \t>")
                and _language(behind) in _KNOWN
                and behind.strip("{.} ").isidentifier()
            ):
                return content, [line], index + 1  # the next block opens: this one was never closed
            return content, [behind] if behind else [], index + 1
    return lines, [], len(lines)


def _in_literal(lines: list[str], index: int, offset: int) -> bool:
    """Return whether a run of backticks belongs to the program: to a comment, or to a string that ends."""
    begin = sum(len(line) + 1 for line in lines[:index]) + offset
    text = "\n".join(lines)
    for match in TOKEN.finditer(text):
        if match.start() > begin:
            return False
        if match.end() <= begin or match.lastgroup not in ("string", "comment"):
            continue
        end_of_line = text.find("\n", begin)
        last = text[begin : end_of_line if end_of_line >= 0 else len(text)].strip(" \t`") == ""
        if match.lastgroup == "comment":
            return not last or (match[0].strip("# \t`") == "" and _RUN.search(text[match.end() :]) is not None)
        if "\n" not in match[0]:
            return True
        behind = _RUN.search(text, match.end())
        return parsed(dedent(text[: behind.start() if behind else len(text)])) is not None
    return False
