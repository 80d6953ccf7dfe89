"""The pairs: tests in every idiom of Python, each with honest programs that are right and honest ones that are wrong.

An entry of `pairs/*.yaml` has `idiom` (unique), `tests`, `right` and `wrong` (a program or a list of them), and
`entry`, the task's entry point where the tests need one. `differences.yaml` lists the pairs on which the judge says something
else than CPython on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

FOLDER = Path(__file__).parent


class Pair(NamedTuple):
    """One program for one entry's tests, and whether its author means it to pass."""

    id: str
    tests: str
    entry: str | None
    program: str
    right: bool


class Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    idiom: str
    tests: str
    right: str | list[str] = []
    wrong: str | list[str] = []
    entry: str | None = None
    group: str = ""

    def pairs(self) -> Iterator[Pair]:
        for label, programs in (("right", self.right), ("wrong", self.wrong)):
            for number, program in enumerate([programs] if isinstance(programs, str) else programs, 1):
                name = f"{self.group}: {self.idiom}: {label} {number}"
                yield Pair(name, self.tests, self.entry, program, label == "right")


def entries() -> list[Entry]:
    return [
        Entry.model_validate(entry | {"group": path.stem})
        for path in sorted(FOLDER.glob("pairs/*.yaml"))
        for entry in yaml.load(path.read_text("utf-8"), yaml.CSafeLoader)
    ]


class Difference(BaseModel):
    """A difference by intention. verdict: what the judge says: `refused`, or `fail` for what CPython passes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["refused", "fail"]
    reason: str


def differences() -> dict[str, Difference]:
    """By pair id."""
    found = yaml.safe_load((FOLDER / "differences.yaml").read_text("utf-8"))
    return {name: Difference.model_validate(value) for name, value in found.items()}
