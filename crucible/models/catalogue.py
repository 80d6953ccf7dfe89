"""Which models there are and what a model's name means. The data is in `catalogue.yaml`; nothing here fetches anything.

A name is one of the catalogue's, the path of a local .gguf file, or `owner/repository[@revision]:file.gguf` on the hub.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources
from pathlib import Path

import yaml
from pydantic import Field

from crucible.errors import InputError
from crucible.types import Frozen

_HUB_SPEC = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?:(?P<file>[\w.-][\w./-]*\.gguf)",
    re.IGNORECASE,
)


class HubFile(Frozen):
    """One file of a model hub's repository at one revision."""

    repository: str
    revision: str = "main"
    file: str


class IndexParts(Frozen):
    """A file cut in numbered parts, each the data of one wheel on the package index."""

    package: str
    version: str
    member: str
    parts: int = Field(ge=1)
    part_bytes: int = Field(ge=1)
    """Length of every part but the last."""

    def requirement(self, number: int) -> str:
        return f"{self.package.format(n=number)}=={self.version}"

    def member_of(self, number: int) -> str:
        return self.member.format(n=number)


class ChatRecipe(Frozen):
    """How a model's maker asks it: a system prompt, and the words its answer is opened with."""

    system: str | None = None
    prefill: str | None = None


class ModelSource(Frozen):
    """What is known about a model file and where it can be had. None = not known, or not to be had there."""

    name: str
    file: str
    """Its file name in the model cache; an absolute path for a local model."""
    description: str = ""
    license: str = ""
    bytes: int | None = None
    sha256: str | None = None
    context_length: int | None = None
    """Tokens the model was trained to span."""
    hub: HubFile | None = None
    index: IndexParts | None = None
    recipe: ChatRecipe = ChatRecipe()
    local: bool = False

    def path(self, cache_dir: Path) -> Path:
        return Path(self.file) if self.local else cache_dir / self.file


@cache
def catalogue() -> tuple[ModelSource, ...]:
    """All models known by name, the default first."""
    text = resources.files("crucible.models").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return tuple(ModelSource.model_validate(entry) for entry in yaml.safe_load(text)["models"])


def resolve(spec: str) -> ModelSource:
    """The model that `spec` names. Raises InputError for an unknown name, with the nearest known ones."""
    known = {entry.name: entry for entry in catalogue()}
    if spec.lower() in known:
        return known[spec.lower()]
    hub = _HUB_SPEC.fullmatch(spec)
    if hub:
        return _on_hub(spec, HubFile(**{key: value for key, value in hub.groupdict().items() if value}))
    if spec.lower().endswith(".gguf"):
        path = Path(spec).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"model {spec!r}: there is no file {path}")
        return ModelSource(name=path.stem, file=str(path), local=True)
    near = difflib.get_close_matches(spec.lower(), known, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise InputError(f"unknown model {spec!r}; {meant} A path of a .gguf file or owner/repository:file.gguf works too")


def _on_hub(spec: str, hub: HubFile) -> ModelSource:
    """The catalogue's entry where it is the same file, so that its hash and its parts are known."""
    for entry in catalogue():
        if entry.hub is not None and hub in (entry.hub, entry.hub.model_copy(update={"revision": "main"})):
            return entry
    if ".." in hub.file.split("/"):
        raise InputError(f"model {spec!r}: the file must lie inside the repository")
    kept = [hub.repository] + ([hub.revision] if hub.revision != "main" else []) + [hub.file]
    return ModelSource(name=spec, file="--".join(part.replace("/", "--") for part in kept), hub=hub)
