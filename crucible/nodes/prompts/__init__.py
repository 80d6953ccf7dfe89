"""The prompt templates, rendered with StrictUndefined: a misspelt variable is an error, never an empty gap."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Prompts are plain text for a model, not HTML: escaping would corrupt the code in them.
    return Environment(
        loader=PackageLoader("crucible.nodes", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        keep_trailing_newline=False,
    )


def render(template: str, **values: object) -> str:
    """The text of `<template>.j2` with `values` filled in."""
    return _environment().get_template(f"{template}.j2").render(**values).strip()
