"""The store of adapters: versions, what is refused, and that nothing half-written is ever seen."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crucible.errors import InputError, StoreError
from crucible.models.weights.adapters import AdapterCard, AdapterStore
from crucible.models.weights.files import ModelFile, hash_file
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


def test_one_damaged_card_is_named_and_the_others_are_served(
    store: AdapterStore, folder: Path, base: ModelFile
) -> None:
    good, bad = add(store, folder, base, name="good"), add(store, folder, base, name="bad")
    (store.folder(bad) / "card.json").write_text("{")
    assert store.cards() == [good] and store.get("good") == good
    assert [each.id for each in store.damaged()] == ["bad@1"]
    with pytest.raises(StoreError, match=r"bad@1 .*card\.json is damaged.*adapters remove bad@1"):
        store.get("bad")
    assert store.remove(store.which("bad")) == "bad@1" and store.damaged() == []
    assert add(store, folder, base, name="bad").id == "bad@2"


def test_what_is_no_version_is_left_alone(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    first = add(store, folder, base)
    for copy in ("0001.bak", "old", "1 (copy)"):
        shutil.copytree(store.folder(first), store.root / "calm" / copy)
    (store.root / "notes.txt").write_text("a file of somebody's")
    assert add(store, folder, base).id == "calm@2"
    assert [card.id for card in store.cards()] == ["calm@1", "calm@2"]


def test_a_copy_under_another_number_is_not_listed_twice(store: AdapterStore, folder: Path, base: ModelFile) -> None:
    first = add(store, folder, base)
    shutil.copytree(store.folder(first), store.root / "calm" / "0007")
    assert store.cards() == [first]
    assert [str(each) for each in store.damaged() if "the card of calm@1" in each.why]
    assert add(store, folder, base).id == "calm@8"


@pytest.mark.parametrize(
    "said", ["HuggingFaceTB/SmolLM2-135M-Instruct", "unsloth/smollm2-135m-instruct-bnb-4bit", "/models/x"]
)
def test_an_adapter_of_this_model_is_taken(store: AdapterStore, tmp_path: Path, base: ModelFile, said: str) -> None:
    assert add(store, random_adapter(tmp_path / "mine", base_model_name_or_path=said), base).id == "calm@1"


@pytest.mark.parametrize(
    "said", ["meta-llama/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-360M-Instruct"]
)
def test_an_adapter_of_another_model_is_refused(
    store: AdapterStore, tmp_path: Path, base: ModelFile, said: str
) -> None:
    foreign = random_adapter(tmp_path / "foreign", base_model_name_or_path=said)
    with pytest.raises(InputError, match=f"trained on {said}, not on {NAME}"):
        add(store, foreign, base)
    assert store.cards() == []


def test_what_does_not_fit_leaves_nothing(store: AdapterStore, tmp_path: Path, base: ModelFile) -> None:
    broken = random_adapter(tmp_path / "broken", use_dora=True)
    with pytest.raises(InputError, match="use_dora"):
        add(store, broken, base)
    assert store.cards() == []
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".new")] == []


ADDING = """
import sys
from pathlib import Path
from crucible.models.weights.adapters import AdapterStore
from crucible.models.weights.files import ModelFile
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
