"""Files are written whole; links are followed, pipes and devices written into, and nothing of that kind is replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crucible.errors import InputError, StoreError
from crucible.storage.files import check_place, write_atomically


@pytest.mark.parametrize("links", [1, 3])
def test_a_link_stays_and_the_file_it_names_is_written(tmp_path: Path, links: int) -> None:
    real = tmp_path / "folder" / "real.py"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    last = real
    for number in range(links):
        link = tmp_path / f"link{number}"
        link.symlink_to(os.path.relpath(last, tmp_path))
        last = link
    write_atomically(last, "new")
    assert real.read_text() == "new" and last.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["real.py"]


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later.txt")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "later.txt").read_text() == "new" and (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_atomically(pipe, "text")
    reader.join(10)
    assert read == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_device_is_written_into(tmp_path: Path, through_a_link: bool) -> None:
    null = Path(os.devnull)
    if through_a_link:
        null = tmp_path / "link"
        null.symlink_to(os.devnull)
    write_atomically(null, "text")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_full_device_is_a_store_error_and_stays_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="/dev/full: No space left"):
        write_atomically(Path("/dev/full"), "text")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("to", ["pipe", "file"])
def test_an_open_file_is_written_where_it_stands(tmp_path: Path, name: str, to: str) -> None:
    code = (
        "import sys; from pathlib import Path; from crucible.storage.files import write_atomically\n"
        f"print('before'); write_atomically(Path({name!r}), 'middle\\n'); print('after')"
    )
    shown = tmp_path / "shown"
    with shown.open("wb") as file:
        target = subprocess.PIPE if to == "pipe" else file
        done = subprocess.run([sys.executable, "-c", code], stdout=target, check=True)
    assert (done.stdout if to == "pipe" else shown.read_bytes()) == b"before\nmiddle\nafter\n"


def test_places_that_hold_no_file_are_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("not/there")
    for bad in (tmp_path, tmp_path / "no" / "file", tmp_path / "round", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=bad.name):
            check_place(bad)


def test_half_a_surrogate_pair_is_escaped(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", 'x = "\ud83d"')
    assert (tmp_path / "a").read_text() == 'x = "\\ud83d"'


def test_what_cannot_be_finished_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    code = (
        "import resource, signal; from pathlib import Path; from crucible.storage.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"write_atomically(Path({str(path)!r}), 'x' * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr and path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
