"""Where fine-tunings lie: a folder each, under Crucible's home. What was decided about them is in the audit log alone.

<id>/proposal.json   data.jsonl   trained.json   evaluation.json   manifest.json   log.jsonl   checkpoints/
scores/              what was measured, a journal for every adapter and way of measuring
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from crucible.errors import InputError, StoreError
from crucible.finetune.data.dataset import Dataset
from crucible.finetune.records import Evaluation, Manifest, Proposal, Trained, digest
from crucible.storage.files import write_atomically
from crucible.types import Frozen

PROPOSAL, DATA, MANIFEST = "proposal.json", "data.json", "manifest.json"
TRAINED, EVALUATION = "trained.json", "evaluation.json"
ID = re.compile(r"[a-z]+-[0-9]{4}")
T = TypeVar("T", bound=Frozen)


class FinetuneStore:
    """The fine-tunings under `root`, which the first proposal makes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def scores(self) -> Path:
        """Return what was measured, of whatever fine-tuning."""
        return self.root / "scores"

    def folder(self, id_: str) -> Path:
        """Raises InputError where there is no such fine-tuning."""
        if ID.fullmatch(id_) and (self.root / id_ / PROPOSAL).is_file():
            return self.root / id_
        known = ", ".join(self.ids()) or "none; make one with: crucible finetune propose"
        raise InputError(f"there is no fine-tuning {id_!r}; there are: {known}")

    def ids(self) -> list[str]:
        """Oldest first."""
        if not self.root.is_dir():
            return []
        found = [path.name for path in self.root.iterdir() if ID.fullmatch(path.name) and (path / PROPOSAL).is_file()]
        return sorted(found, key=lambda name: name.rpartition("-")[2])

    def new(self, method: str, taken: Iterable[str] = ()) -> str:
        """An id that nobody else gets: its folder is made. taken: ids of which no folder may be left."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            names = [*taken, *(path.name for path in self.root.iterdir())]
            numbers = [int(name.rpartition("-")[2]) for name in names if ID.fullmatch(name)]
            number = max(numbers, default=0)
            while True:
                number += 1
                if any(self.root.glob(f"*-{number:04}")):
                    continue
                (self.root / f"{method}-{number:04}").mkdir()
                return f"{method}-{number:04}"
        except OSError as error:
            raise StoreError(f"cannot write to {self.root}: {error.strerror or error}") from error

    def propose(self, proposal: Proposal, dataset: Dataset) -> str:
        """Writes both and returns the proposal file's hash. The dataset's file must be the one the proposal names."""
        text = dataset.model_dump_json()
        if digest(text) != proposal.data_file_sha256:
            raise InputError("the proposal is not of this dataset")
        folder = self.root / proposal.id
        write_atomically(folder / DATA, text)
        said = proposal.model_dump_json(indent=2) + "\n"
        write_atomically(folder / PROPOSAL, said)
        return digest(said)

    def proposal(self, id_: str) -> tuple[Proposal, str]:
        """The proposal and its file's hash."""
        return self._read(self.folder(id_) / PROPOSAL, Proposal)

    def dataset(self, proposal: Proposal) -> Dataset:
        """Raises StoreError where it is not the one that was proposed."""
        path = self.folder(proposal.id) / DATA
        dataset, found = self._read(path, Dataset)
        if found != proposal.data_file_sha256 or dataset.sha256 != proposal.dataset_sha256:
            raise StoreError(f"{path} is not the data that was proposed (SHA-256 {found})")
        return dataset

    def trained(self, id_: str) -> tuple[Trained, str] | None:
        return self._maybe(self.folder(id_) / TRAINED, Trained)

    def evaluation(self, id_: str) -> tuple[Evaluation, str] | None:
        return self._maybe(self.folder(id_) / EVALUATION, Evaluation)

    def manifest(self, id_: str) -> tuple[Manifest, str] | None:
        return self._maybe(self.folder(id_) / MANIFEST, Manifest)

    def write(self, id_: str, record: Trained | Evaluation | Manifest) -> str:
        """Writes it and returns the file's hash."""
        names: dict[type, str] = {Trained: TRAINED, Evaluation: EVALUATION, Manifest: MANIFEST}
        said = record.model_dump_json(indent=2) + "\n"
        write_atomically(self.folder(id_) / names[type(record)], said)
        return digest(said)

    def _maybe(self, path: Path, kind: type[T]) -> tuple[T, str] | None:
        return self._read(path, kind) if path.is_file() else None

    def _read(self, path: Path, kind: type[T]) -> tuple[T, str]:
        try:
            raw = path.read_bytes()
            return kind.model_validate_json(raw), hashlib.sha256(raw).hexdigest()
        except (OSError, ValidationError) as error:
            raise StoreError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
