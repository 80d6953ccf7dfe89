"""What a model's name means, and telling a whole GGUF file from a broken one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.errors import InputError, ModelUnavailableError
from crucible.models.weights.catalogue import catalogue, resolve, shards_of
from crucible.models.weights.files import locate, read_stamp
from crucible.models.weights.gguf import check_gguf


def tiny_gguf(tensors: int = 2, data: int = 96) -> bytes:
    """A well-formed GGUF file of `tensors` tensors, 32 bytes apart, with `data` bytes of tensor data."""
    pairs = b"".join(
        struct.pack("<Q", len(key)) + key + value
        for key, value in {
            b"general.alignment": struct.pack("<II", 4, 32),
            b"general.name": struct.pack("<IQ", 8, 4) + b"tiny",
            b"tokens": struct.pack("<IIQ", 9, 8, 2) + 2 * (struct.pack("<Q", 1) + b"x"),
            b"scores": struct.pack("<IIQ", 9, 6, 3) + bytes(12),
        }.items()
    )
    infos = b"".join(
        struct.pack("<Q", 2) + f"t{index}".encode() + struct.pack("<IQIQ", 1, 8, 0, 32 * index)
        for index in range(tensors)
    )
    header = b"GGUF" + struct.pack("<IQQ", 3, tensors, 4) + pairs + infos
    return header.ljust(-(-len(header) // 32) * 32, b"\0") + bytes(data)


def test_every_entry_can_be_fetched_and_verified() -> None:
    for entry in catalogue():
        assert entry.bytes and entry.sha256 and len(entry.sha256) == 64
        assert entry.hub or entry.index
        assert entry.license and entry.description and entry.context_length
        assert "/" not in entry.file


def test_the_parts_of_every_entry_add_up() -> None:
    for entry in catalogue():
        if entry.index is not None:
            full = entry.index.part_bytes * entry.index.parts
            assert full - entry.index.part_bytes < (entry.bytes or 0) <= full
            assert entry.index.requirement(3).endswith(f"=={entry.index.version}")


def test_the_makers_prefill_opens_a_fence() -> None:
    assert (resolve("qwen2.5-coder-0.5b").recipe.prefill or "").endswith("tests:\n```python\n")
    assert resolve("smollm2-135m").recipe.prefill is None


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean qwen2\.5-coder-1\.5b"):
        resolve("qwen2.5-coder-1.5")
    with pytest.raises(InputError, match="known: "):
        resolve("zzz")


def test_names_ignore_case() -> None:
    assert resolve("SmolLM2-135M").name == "smollm2-135m"


def test_a_hub_file_is_named_by_repository_revision_and_file() -> None:
    model = resolve("owner/repo@v2:sub/model.gguf")
    assert model.hub is not None
    assert (model.hub.repository, model.hub.revision, model.hub.file) == (
        "owner/repo",
        "v2",
        "sub/model.gguf",
    )
    assert model.file == "owner--repo--v2--sub--model.gguf"
    assert resolve("owner/repo:model.gguf").file == "owner--repo--model.gguf"


def test_a_hub_file_that_the_catalogue_knows_is_the_catalogues() -> None:
    spec = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF:qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
    assert resolve(spec).name == "qwen2.5-coder-0.5b"


@given(st.text(max_size=60))
def test_any_text_is_a_model_or_an_input_error(spec: str) -> None:
    try:
        model = resolve(spec)
    except InputError:
        return
    assert model.local or "/" not in model.file


@pytest.mark.parametrize("spec", ["owner/repo:../../x.gguf", "owner/repo:a/../../x.gguf"])
def test_a_hub_file_cannot_leave_its_folder(spec: str) -> None:
    with pytest.raises(InputError):
        resolve(spec)


def test_a_local_file_is_checked_hashed_and_remembered(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(tiny_gguf())
    model = resolve(str(path))
    found = locate(model, tmp_path / "cache")
    assert (model.name, found.path) == ("mine", path)
    assert read_stamp(path, tmp_path / "cache") == found.sha256
    path.write_bytes(tiny_gguf(data=128))
    assert read_stamp(path, tmp_path / "cache") is None


def test_a_cache_that_cannot_be_written_costs_a_hash_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(tiny_gguf())
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert locate(resolve(str(path)), tmp_path / "cache").sha256


def test_a_missing_local_file_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        resolve(str(tmp_path / "none.gguf"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with 'GGUF'"),
        (b"PK\x03\x04 not a model", "does not begin with 'GGUF'"),
        (tiny_gguf()[:30], "inside its header"),
        (tiny_gguf()[:150], "inside its header"),
        (tiny_gguf(data=20), "cut off"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(64), "GGUF version 99"),
    ],
)
def test_a_broken_file_is_found_out(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=said):
        check_gguf(path)


@settings(deadline=None)  # the first one imports the table of types
@given(cut=st.integers(0, len(tiny_gguf()) - 1))
def test_no_cut_of_a_file_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    path.write_bytes(tiny_gguf()[:cut])
    try:
        check_gguf(path)
    except ModelUnavailableError as error:
        assert "cut.gguf" in str(error)


def test_a_model_not_pulled_says_how_to_pull_it(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="crucible models pull smollm2-135m"):
        locate(resolve("smollm2-135m"), tmp_path)


def test_a_truncated_model_is_found_by_its_size(tmp_path: Path) -> None:
    model = resolve("smollm2-135m")
    model.path(tmp_path).write_bytes(tiny_gguf())
    with pytest.raises(ModelUnavailableError, match=r"cut off or changed; fetch it again.*pull smollm2-135m"):
        locate(model, tmp_path)


def test_a_local_name_may_hold_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my:model.gguf").write_bytes(tiny_gguf())
    monkeypatch.chdir(tmp_path)
    assert resolve("models/my:model.gguf").local
    assert not resolve("models/other:model.gguf").local
    with pytest.raises(InputError, match="there is no file"):
        resolve("./other:model.gguf")


def test_shards_are_found_together(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    pairs = struct.pack("<Q", 11) + b"split.count" + struct.pack("<IH", 2, 2)
    first.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pairs)
    with pytest.raises(ModelUnavailableError, match=r"m-00002-of-00002\.gguf is missing, one of the model's shards"):
        locate(resolve(str(first)), tmp_path / "cache")
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(tiny_gguf())
    found = locate(resolve(str(first)), tmp_path / "cache")
    assert found.path == first and len(found.sha256) == 64
    with pytest.raises(InputError, match=r"name the first of its 2 shards, .*-00001-of-00002"):
        resolve(str(tmp_path / "m-00002-of-00002.gguf"))
    names = [each.hub.file for each in shards_of(resolve("a/b:q/m-00001-of-00003.gguf")) if each.hub]
    assert names == [f"q/m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


def nested(depth: int) -> bytes:
    value = struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * depth + struct.pack("<IQ", 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(64), "holds no tensors"),
        (nested(5000), "nested too deeply"),
        (tiny_gguf(data=63), "its last tensor ends at"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=said):
        check_gguf(path)
