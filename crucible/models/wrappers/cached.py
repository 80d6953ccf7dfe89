"""Completions remembered on disk, for asking a paid or slow server the same thing once. Off unless `model.cache` says so.

Exact: the key is everything that decides an answer, which are the model's identity, all messages and the whole sampling. A
completion is stored as it came, its tokens and seconds included; it is drawn anew for nobody.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from crucible.errors import StoreError
from crucible.models.base import Model, OnDelta
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, Sampling


class CachedModel(WrappedModel):
    """`path`: an SQLite file, shared by processes. A cancelled completion is not kept."""

    def __init__(self, inner: Model, path: Path) -> None:
        super().__init__(inner)
        self._path = path
        self._lock = threading.Lock()
        self._adapters: dict[str | None, str] = {}
        """SHA-256 of the adapters loaded while running, by name."""
        self.hits = self.misses = 0
        self._notices: list[str] = []
        with self._opened() as table:
            table.execute("CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, completion TEXT NOT NULL)")

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        keys = [self._key(messages, sampling) for sampling in samplings]
        try:
            found = self._read(keys)
        except StoreError as error:
            self._note(f"no remembered answers: {error}")
            found = {}
        missing = [index for index, key in enumerate(keys) if key not in found]
        with self._lock:
            self.hits += len(keys) - len(missing)
            self.misses += len(missing)
        for index, key in enumerate(keys):
            if key in found and on_delta is not None:
                on_delta(index, found[key].text)
        hear: OnDelta | None = None
        if on_delta is not None:

            def hear(index: int, text: str) -> None:
                on_delta(missing[index], text)

        drawn = (
            self.inner.generate(
                messages,
                [samplings[index] for index in missing],
                on_delta=hear,
                cancel=cancel,
                deadline_s=deadline_s,
            )
            if missing
            else []
        )
        new = {keys[index]: completion for index, completion in zip(missing, drawn, strict=True)}
        try:
            self._write({key: each for key, each in new.items() if each.finish_reason != "cancelled"})
        except StoreError as error:  # the answers are there, whether or not they can be remembered
            self._note(f"answers are not remembered: {error}")
        answers = found | new
        return [answers[key] for key in keys]

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        super().load_adapters(adapters)
        self._adapters |= {name: _digest(path) for name, path in adapters.items()}

    def _key(self, messages: Sequence[Message], sampling: Sampling) -> str:
        asked = {
            "model": self.identity.model_dump(mode="json"),
            "messages": [message.model_dump(mode="json") for message in messages],
            "sampling": sampling.model_dump(mode="json"),
        }
        if sampling.adapter in self._adapters:  # a name may stand for other weights by now
            asked["adapter"] = self._adapters[sampling.adapter]
        text = json.dumps(asked, sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _read(self, keys: Sequence[str]) -> dict[str, Completion]:
        found = {}
        with self._opened() as table:
            for key in set(keys):
                row = table.execute("SELECT completion FROM completions WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    try:
                        found[key] = Completion.model_validate_json(row[0])
                    except ValidationError:  # drawn again, and the row with it written anew
                        self._note(f"a damaged answer in the cache {self._path} was drawn again")
        return found

    def notices(self) -> list[str]:
        with self._lock:
            said, self._notices = self._notices, []
        return [*said, *super().notices()]

    def _note(self, text: str) -> None:
        with self._lock:
            if text not in self._notices:
                self._notices.append(text)

    def _write(self, new: dict[str, Completion]) -> None:
        with self._opened() as table:
            rows = [(key, json.dumps(each.model_dump(mode="json"))) for key, each in new.items()]
            table.executemany("INSERT OR REPLACE INTO completions VALUES (?, ?)", rows)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30.0)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the cache of completions {self._path} cannot be used: {error}; delete it, or set model.cache to false"
            ) from error


def _digest(adapter: Path) -> str:
    """SHA-256 of an adapter: a file, or the files of a folder."""
    files = sorted(file for file in adapter.rglob("*") if file.is_file()) if adapter.is_dir() else [adapter]
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
