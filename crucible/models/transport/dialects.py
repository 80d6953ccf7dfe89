"""What each kind of OpenAI-compatible server can do and how it is asked. The data is in `dialects.yaml`."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from pydantic import Field, TypeAdapter

from crucible.models.base import Feature
from crucible.reading import parse_yaml
from crucible.types import Frozen, Sampling


class Dialect(Frozen):
    """One kind of server."""

    url: str | None = None
    """Where it listens by default."""
    features: frozenset[Feature] = frozenset()
    fields: dict[str, str] = Field(default_factory=dict)
    types: dict[str, str] = Field(default_factory=dict)
    """Where the value goes into `response_format`: that object's type."""
    prefill: dict[str, Any] = Field(default_factory=dict)

    def constrain(self, body: dict[str, Any], sampling: Sampling) -> None:
        """Adds to a request what holds the answer to a form, and which adapter writes it."""
        if sampling.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": sampling.json_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        for feature, value in (
            ("regex", sampling.regex),
            ("grammar", sampling.grammar),
            ("adapters", sampling.adapter),
        ):
            if value:
                self._put(body, feature, value)

    def _put(self, body: dict[str, Any], feature: str, value: str) -> None:
        outer, _, inner = self.fields.get(feature, feature).rpartition(".")
        place = body.setdefault(outer, {}) if outer else body
        place[inner] = value
        if feature in self.types:
            place["type"] = self.types[feature]


@cache
def dialects() -> dict[str, Dialect]:
    text = resources.files("crucible.models.transport").joinpath("dialects.yaml").read_text(encoding="utf-8")
    return TypeAdapter(dict[str, Dialect]).validate_python(parse_yaml(text, "dialects.yaml"))
