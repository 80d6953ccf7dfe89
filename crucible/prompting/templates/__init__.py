"""The prompt templates, rendered with StrictUndefined: a misspelt variable is an error, never an empty gap.

What is filled in is data, whoever wrote it: control and bidirectional characters show as escapes, a finding stays on its
line, and no content can close the code fence it stands in. Ordinary text comes out as it went in.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from crucible.text import one_line, plain

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_LINE = 400
"""Characters of one finding or constraint that a prompt quotes."""


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Prompts are plain text for a model, not HTML: escaping would corrupt the code in them.
    environment = Environment(
        loader=PackageLoader("crucible.prompting", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        keep_trailing_newline=False,
        finalize=lambda value: plain(value) if isinstance(value, str) else value,
    )
    environment.filters |= {"line": _line, "span": _span}
    return environment


def render(template: str, **values: object) -> str:
    """The text of `<template>.j2` with `values` filled in; `fence` is one that none of them can close."""
    text = _environment().get_template(f"{template}.j2").render(**values, fence=fence(repr(values)))
    return text.strip()


def fence(content: str) -> str:
    """Backticks for a code block around `content`: three, or one more than the longest run in it."""
    return "`" * max(3, 1 + _longest_run(content))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _line(value: object) -> str:
    return one_line(str(value), MAX_LINE)


def _span(value: object) -> str:
    """Inline code, by the rule of CommonMark: fenced by more backticks than it holds."""
    text = _line(value)
    ticks = "`" * (1 + _longest_run(text))
    return f"{ticks} {text} {ticks}" if len(ticks) > 1 else f"`{text}`"
