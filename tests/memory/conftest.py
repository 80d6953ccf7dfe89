from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible.memory import MemoryStore, MiniLM
from tests.memory.episodes import HashEncoder


@pytest.fixture(scope="session")
def minilm() -> MiniLM:
    return MiniLM()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    with MemoryStore(tmp_path / "episodes", HashEncoder()) as made:
        yield made
