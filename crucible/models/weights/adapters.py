"""Fine-tuned adapters at rest: versioned, verified, each in both forms its engines need.

    <root>/<name>/0001/card.json                   what it is, of which model, from which parent, its hashes
                       adapter_config.json         } as PEFT saved it
                       adapter_model.safetensors   }
                       adapter.gguf                for llama.cpp

A version never changes: a new one is put beside it. It is written under another name and renamed when whole, so that what
has a card is complete, whatever was killed when.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import Field, ValidationError

from crucible.errors import InputError, RefusedError, StoreError
from crucible.models.transport.quoting import quote
from crucible.models.weights.bases import check_base
from crucible.models.weights.files import ModelFile, hash_file
from crucible.models.weights.lora import CONFIG, WEIGHTS, convert, read_config
from crucible.storage.files import write_atomically
from crucible.types import Frozen

NO_ADAPTER = "base"
"""In settings: the model itself, whatever was promoted."""
CARD, CONVERTED = "card.json", "adapter.gguf"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{4,6}")
_SPEC = re.compile(rf"(?P<name>{NAME.pattern})(?:@(?P<version>[0-9]{{1,6}}))?")


class AdapterCard(Frozen):
    """One version of an adapter."""

    name: str
    version: int = Field(ge=1)
    base: str
    """The model it was trained on, by name, and that file's SHA-256."""
    base_sha256: str
    parent: str | None = None
    """The adapter its training began from, as name@version."""
    created: datetime
    rank: int
    alpha: float
    targets: tuple[str, ...]
    sha256: str
    """Of PEFT's weights."""
    gguf_sha256: str
    config_sha256: str = ""
    """Of PEFT's settings, which say how strongly the weights count."""
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def mark(self) -> str:
        """SHA-256 over all that makes the adapter: what a decision on it names."""
        parts = (self.base_sha256, self.sha256, self.gguf_sha256, self.config_sha256)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


class Damaged(NamedTuple):
    """A version whose card cannot be read; as a text, a line that says so."""

    name: str
    version: int
    why: str

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"adapter {self.id} is not usable: {self.why}"


def check_name(name: str) -> None:
    """Raises InputError for what no adapter may be called."""
    if not NAME.fullmatch(name):
        raise InputError(f"adapter name {name!r}: letters, digits, '.', '_' and '-', 64 at most")
    if name == NO_ADAPTER:
        raise InputError(f"{NO_ADAPTER!r} stands for the model itself; name the adapter otherwise")


class AdapterStore:
    """The adapters under `root`, which is made on first use. Safe for several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self, folder: Path, *, name: str, base: str, base_file: ModelFile, parent: str | None = None, note: str = ""
    ) -> AdapterCard:
        """Takes a copy of the PEFT adapter in `folder` as the next version of `name`.

        Raises InputError (a bad name, an adapter that does not fit the base model) and StoreError.
        """
        check_name(name)
        if parent is not None:
            parent = self.get(parent).id
        with self._locked():
            (self.root / name).mkdir(exist_ok=True)
            version = max((number for number, _ in self._folders(name)), default=0) + 1
            with tempfile.TemporaryDirectory(prefix=".new-", dir=self.root) as scratch:
                made = Path(scratch, "adapter")
                made.mkdir()
                check_base(read_config(folder).base, base, base_file)
                config = convert(folder, base_file.path, made / CONVERTED)
                for part in (CONFIG, WEIGHTS):
                    shutil.copyfile(folder / part, made / part)
                card = AdapterCard(
                    name=name,
                    version=version,
                    base=base,
                    base_sha256=base_file.sha256,
                    parent=parent,
                    created=datetime.now(UTC),
                    **config.model_dump(),
                    sha256=hash_file(made / WEIGHTS),
                    gguf_sha256=hash_file(made / CONVERTED),
                    config_sha256=hash_file(made / CONFIG),
                    note=note,
                )
                write_atomically(made / CARD, card.model_dump_json(indent=2) + "\n")
                made.rename(self.folder(card))
            return card

    def get(self, spec: str) -> AdapterCard:
        """The adapter `name@version`, or the newest version of `name`. Raises InputError where there is none, StoreError where
        it is damaged."""
        found = self._find(spec)
        if isinstance(found, Damaged):
            raise StoreError(f"{found}; remove it with: crucible models adapters remove {found.id}")
        return found

    def which(self, spec: str) -> str:
        """The id, `name@version`, of what `spec` names, damaged or not. Raises InputError where there is none."""
        return self._find(spec).id

    def _find(self, spec: str) -> AdapterCard | Damaged:
        asked = _SPEC.fullmatch(spec)
        if asked is None:
            raise InputError(f"adapter {spec!r}: a name, or name@version")
        versions = self._versions(asked["name"])
        if asked["version"] is not None:
            versions = [card for card in versions if card.version == int(asked["version"])]
        if versions:
            return versions[-1]
        known = [each.id for each in self._all()]
        near = difflib.get_close_matches(spec, [*known, *(each.name for each in self._all())], n=2, cutoff=0.5)
        meant = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise InputError(f"there is no adapter {spec!r}; {meant}")

    def exactly(self, spec: str, mark: str) -> AdapterCard:
        """The adapter that was decided on by its mark. Raises RefusedError where another lies in its place, InputError where
        none does."""
        card = self.get(spec)
        if card.mark != mark:
            raise RefusedError(f"adapter {card.id} is not the one that was decided on; it was replaced")
        return card

    def cards(self) -> list[AdapterCard]:
        """All of them, by name and version; those that are damaged are left out (see `damaged`)."""
        return [each for each in self._all() if isinstance(each, AdapterCard)]

    def damaged(self) -> list[Damaged]:
        """The versions whose card cannot be read."""
        return [each for each in self._all() if isinstance(each, Damaged)]

    def remove(self, spec: str) -> str:
        """Deletes one version, damaged or not, whose number no other gets, and returns its id. Raises InputError where another
        adapter was trained from it."""
        with self._locked():
            found = self._find(spec)
            children = [other.id for other in self.cards() if other.parent == found.id]
            if children:
                raise InputError(f"adapter {found.id} is the parent of {', '.join(children)}; remove those first")
            for part in (CARD, CONVERTED, WEIGHTS, CONFIG):  # its folder stays, and with it the number
                (self.folder(found) / part).unlink(missing_ok=True)
            return found.id

    def folder(self, card: AdapterCard | Damaged) -> Path:
        """Return where PEFT can load it from."""
        return self.root / card.name / f"{card.version:04}"

    def gguf(self, card: AdapterCard) -> Path:
        """The file for llama.cpp, verified. Raises StoreError where it is damaged or gone."""
        return self._verified(card, CONVERTED, card.gguf_sha256)

    def weights(self, card: AdapterCard) -> Path:
        """PEFT's weights, verified, and the settings beside them."""
        if card.config_sha256:
            self._verified(card, CONFIG, card.config_sha256)
        return self._verified(card, WEIGHTS, card.sha256)

    def _verified(self, card: AdapterCard, name: str, sha256: str) -> Path:
        path = self.folder(card) / name
        try:
            found = hash_file(path)
        except OSError as error:
            raise StoreError(f"adapter {card.id}: cannot read {path}: {error.strerror}") from error
        if found != sha256:
            raise StoreError(f"adapter {card.id}: {path} is not what was stored (SHA-256 {found}, not {sha256})")
        return path

    def _all(self) -> list[AdapterCard | Damaged]:
        try:
            names = sorted(path.name for path in self.root.iterdir()) if self.root.is_dir() else []
        except OSError as error:
            raise StoreError(f"cannot read the adapters in {self.root}: {error.strerror or error}") from error
        return [each for name in names if NAME.fullmatch(name) for each in self._versions(name)]

    def _versions(self, name: str) -> list[AdapterCard | Damaged]:
        """By number. A folder without a card is a version that was removed."""
        return [
            _card(name, number, path / CARD) for number, path in self._folders(name) if os.path.lexists(path / CARD)
        ]

    def _folders(self, name: str) -> list[tuple[int, Path]]:
        """Versions, by number. Whatever else lies there, a backup copy say, is none of ours."""
        try:
            found = [path for path in (self.root / name).iterdir() if _VERSION.fullmatch(path.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"cannot read {self.root / name}: {error.strerror or error}") from error
        return sorted((int(path.name), path) for path in found)

    @contextmanager
    def _locked(self) -> Iterator[Self]:
        import filelock

        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.root / ".lock"):
                yield self
        except OSError as error:
            raise StoreError(f"cannot write the adapters in {self.root}: {error.strerror or error}") from error


def _card(name: str, number: int, path: Path) -> AdapterCard | Damaged:
    try:
        card = AdapterCard.model_validate_json(path.read_bytes())
    except OSError as error:
        return Damaged(name, number, f"{path} cannot be read: {error.strerror or error}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Damaged(name, number, f"{path} is damaged: {f'{where}: ' if where else ''}{quote(first['msg'], 120)}")
    if (card.name, card.version) != (name, number):
        return Damaged(
            name, number, f"{path} is the card of {quote(card.id, 80)}: a copy, or a folder that was renamed"
        )
    return card
