"""The compiled engine: which one is taken, and how a build goes, on a source small enough to compile in a test."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from crucible.errors import ModelUnavailableError
from crucible.models.llama import native

CMAKE = """
cmake_minimum_required(VERSION 3.10)
project(small C)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_executable(llama-server main.c)
"""
needs_compiler = pytest.mark.skipif(
    not all(map(shutil.which, native.TOOLS)), reason="needs cmake and a C++ compiler, which nothing else does"
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for llama.cpp's source: what is fetched is a copy of it."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(CMAKE)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.setattr(native, "_fetch", lambda work, target: shutil.copytree(folder, target))
    return folder


def test_the_locked_version_has_a_source() -> None:
    assert version(native.PACKAGE) in native.SOURCE_SHA256


def test_a_build_is_of_one_version_and_one_processor(tmp_path: Path) -> None:
    name = native.folder(tmp_path).name
    assert version(native.PACKAGE) in name and os.uname().machine in name
    assert native.program(tmp_path) is None


@needs_compiler
def test_a_build_is_made_once_and_taken_from_then_on(tmp_path: Path, source: Path) -> None:
    heard: list[tuple[int, int, str]] = []
    made = native.build(tmp_path / "cache", lambda *step: heard.append(step))
    assert native.program(tmp_path / "cache") == made and os.access(made, os.X_OK)
    assert any(doing == "compiling" and 0 < done <= total for done, total, doing in heard)
    assert {path.suffix for path in (tmp_path / "cache" / "engines").iterdir()} <= {"", ".lock"} | {made.parent.suffix}
    shutil.rmtree(source)
    assert native.build(tmp_path / "cache", lambda *_: None) == made
    assert made.parent in native.remove(tmp_path / "cache")
    assert native.program(tmp_path / "cache") is None


@needs_compiler
def test_a_build_that_fails_says_why_and_goes_on_when_mended(tmp_path: Path, source: Path) -> None:
    (source / "main.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(ModelUnavailableError, match=r"cmake failed with exit code \d+: .*nothing"):
        native.build(tmp_path / "cache", lambda *_: None)
    assert native.program(tmp_path / "cache") is None
    (kept,) = (tmp_path / "cache" / "engines").glob("*.build/source/main.c")
    kept.write_text("int main(void) { return 0; }\n")
    assert native.build(tmp_path / "cache", lambda *_: None).is_file()


@needs_compiler
def test_a_program_that_does_not_run_here_is_not_taken(tmp_path: Path, source: Path) -> None:
    (source / "main.c").write_text("int main(void) { __builtin_trap(); }\n")
    with pytest.raises(ModelUnavailableError, match="llama-server failed"):
        native.build(tmp_path / "cache", lambda *_: None)
    assert native.program(tmp_path / "cache") is None


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ModelUnavailableError, match=r"apt-get install cmake g\+\+"):
        native.build(tmp_path, lambda *_: None)
