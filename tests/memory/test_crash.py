"""Killed and concurrent writers, full and read-only disks: nothing stored is lost, nothing is half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crucible.errors import StoreError
from crucible.memory import MemoryStore
from tests.memory.episodes import HashEncoder, episode

ROOT = Path(__file__).parents[2]


def writer(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.memory.writer", str(folder), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_what_was_added_survives_a_kill_at_any_moment(store: MemoryStore):
    stored: set[str] = set()
    for trial, adds in enumerate((1, 48, 70)):  # the later ones die around a compaction
        process = writer(store.path, 1000 * trial, 10_000)
        assert process.stdout is not None
        for _ in range(adds):
            stored.add(process.stdout.readline().strip())
        os.kill(process.pid, signal.SIGKILL)
        stored.update(line.strip() for line in process.stdout if line.endswith("\n"))
        process.wait()
        process.stdout.close()
        present = {hit.episode_id for hit in store.fetch_semantic("x", 100_000)}
        assert stored <= present
        assert len(present) <= len(stored) + trial + 1  # the one under way when the kill came may be in
        assert store.stats().episodes == len(present)
    store.add(episode("after"))
    for name in [*sorted(stored), "after"]:
        assert store.get(name) is not None


def test_several_processes_add_at_once(store: MemoryStore):
    processes = [writer(store.path, first, 20) for first in (0, 10, 10)]  # ids 10 to 19 are added by all three
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert len(output.split()) == 20
    present = [hit.episode_id for hit in store.fetch_semantic("x", 1000)]
    assert sorted(present, key=lambda name: int(name[1:])) == [f"e{number}" for number in range(30)]
    assert store.stats().episodes == 30


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "crucible-test", str(place)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(small_disk: Path):
    store = MemoryStore(small_disk / "episodes", HashEncoder())
    stored = 0
    with pytest.raises(StoreError, match="the disk is full") as caught:
        for stored in range(1000):
            store.add(episode(f"e{stored}", f"task {stored}", code="x" * 50_000))
    assert "\n" not in str(caught.value)
    assert 3 < stored < 100
    for number in range(stored):
        assert store.get(f"e{number}") is not None
    assert store.stats().episodes == stored
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    store.add(episode("after"))
    assert store.stats().episodes == stored + 1
    store.close()


def test_a_disk_full_from_the_start(small_disk: Path):
    (small_disk / "filler").write_bytes(b"")
    with (
        pytest.raises(OSError, match="No space left"),
        (small_disk / "filler").open("wb", buffering=0) as filler,
    ):
        while True:
            filler.write(b"x" * 4096)
    store = MemoryStore(small_disk / "episodes", HashEncoder())
    with pytest.raises(StoreError, match="the disk is full"):
        store.add(episode())
    (small_disk / "filler").unlink()
    store.add(episode())
    assert store.get("e1") is not None
    store.close()


def test_a_read_only_disk_can_be_searched_and_not_written(small_disk: Path):
    MemoryStore(small_disk / "episodes", HashEncoder()).add(episode())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = MemoryStore(small_disk / "episodes", HashEncoder())
    assert [hit.episode_id for hit in store.fetch_semantic("x")] == ["e1"]
    assert store.stats().episodes == 1
    with pytest.raises(StoreError, match="not writable"):
        store.add(episode("e2"))
    fresh = MemoryStore(small_disk / "other", HashEncoder())
    with pytest.raises(StoreError, match="not writable"):
        fresh.add(episode("e2"))
    assert fresh.fetch_semantic("x") == []
    store.close()
