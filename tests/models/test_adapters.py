"""The store of adapters: versions, what is refused, and that nothing half-written is ever seen."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crucible.errors import InputError, StoreError
from crucible.models.adapters import AdapterCard, AdapterStore
from crucible.models.files import ModelFile, hash_file
from tests.models.adapting import random_adapter
from tests.models.serving import NAME, small_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def base() -> ModelFile:
    path = small_model()
    return ModelFile(path, hash_file(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_adapter(tmp_path_factory.mktemp("peft"))


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def add(
    store: AdapterStore, folder: Path, base: ModelFile, name: str = "calm", parent: str | None = None
) -> AdapterCard:
    return store.add(folder, name=name, base=NAME, base_file=base, parent=parent)


def test_versions_are_counted_and_the_newest_is_meant(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    first, second = add(store, folder, base), add(store, folder, base, parent="calm@1")
    assert (first.id, second.id, second.parent) == ("calm@1", "calm@2", "calm@1")
    assert store.get("calm") == second and store.get("calm@1") == first
    assert store.cards() == [first, second]
    assert (first.rank, first.alpha, first.base, first.base_sha256) == (4, 8.0, NAME, base.sha256)
    assert hash_file(store.gguf(first)) == first.gguf_sha256 and hash_file(store.weights(first)) == first.sha256


def test_an_empty_store_has_nothing(store: AdapterStore) -> None:
    assert store.cards() == []
    with pytest.raises(InputError, match="no adapter 'calm'; there are: none"):
        store.get("calm")


def test_an_unknown_name_is_met_with_the_nearest(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    add(store, folder, base)
    for asked in ("clam", "calm@7"):
        with pytest.raises(InputError, match="did you mean calm"):
            store.get(asked)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a@1", "x" * 65, "a b", "naïve"])
def test_a_name_is_no_path(store: AdapterStore, folder: Path, base: ModelFile, name: str) -> None:
    with pytest.raises(InputError):
        add(store, folder, base, name=name)
    with pytest.raises(InputError):
        store.get(name + "/..")
    assert not (store.root.parent / "up").exists()


def test_a_parent_stays_while_it_has_children(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    add(store, folder, base)
    add(store, folder, base, name="child", parent="calm")
    with pytest.raises(InputError, match=r"calm@1 is the parent of child@1"):
        store.remove("calm")
    store.remove("child")
    store.remove("calm@1")
    assert store.cards() == []


def test_a_parent_must_be_there(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    with pytest.raises(InputError, match="no adapter 'nobody'"):
        add(store, folder, base, parent="nobody")


def test_damage_is_seen_before_it_is_served(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    card = add(store, folder, base)
    served = store.folder(card) / "adapter.gguf"
    data = bytearray(served.read_bytes())
    data[-1] ^= 1
    served.write_bytes(data)
    with pytest.raises(StoreError, match=r"calm@1.*not what was stored"):
        store.gguf(card)
    served.unlink()
    with pytest.raises(StoreError, match=r"calm@1: cannot read"):
        store.gguf(card)
    (store.folder(card) / "card.json").write_text("{")
    with pytest.raises(StoreError, match=r"card\.json is damaged"):
        store.cards()


def test_what_does_not_fit_leaves_nothing(store: AdapterStore, tmp_path: Path, base: ModelFile) -> None:
    broken = random_adapter(tmp_path / "broken", use_dora=True)
    with pytest.raises(InputError, match="use_dora"):
        add(store, broken, base)
    assert store.cards() == []
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".new")] == []


ADDING = """
import sys
from pathlib import Path
from crucible.models.adapters import AdapterStore
from crucible.models.files import ModelFile
root, folder, base, sha256 = sys.argv[1:]
store = AdapterStore(Path(root))
print("now", flush=True)
while True:
    store.add(Path(folder), name="calm", base="m", base_file=ModelFile(Path(base), sha256))
"""


def test_kill_9_leaves_whole_versions_only(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    for wait_s in (0.3, 0.7, 1.3, 2.1):
        words = [sys.executable, "-c", ADDING, str(store.root), str(folder), str(base.path), base.sha256]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as adding:
            assert adding.stdout is not None and adding.stdout.readline()
            time.sleep(wait_s)
            adding.send_signal(signal.SIGKILL)
    cards = store.cards()
    assert [card.version for card in cards] == list(range(1, len(cards) + 1))
    for card in cards:
        assert store.gguf(card) and store.weights(card)
    assert add(store, folder, base).version == len(cards) + 1
