"""llama.cpp compiled for this very processor, from the source the prebuilt engine was made of.

The prebuilt engine runs on any x86-64 with AVX2; what a processor has beyond that (AVX-512, VNNI, bfloat16) it leaves
unused. `build` compiles `llama-server` once, in some minutes, into the cache; the embedded engine then takes it. The
folder's name holds the version and the processor's features: another version, or a cache moved to another machine, goes
back to the prebuilt engine by itself.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from crucible.errors import ModelUnavailableError, StoreError

PACKAGE = "xllamacpp"
SOURCE_SHA256 = {"2026.10.11549": "c17ee1163006f70726abb9f72137830818f3d8cb60bfc34cb232d08428eaa22b"}
"""The package's source distribution, by version. A version that is not here has no native build."""
SOURCE = "thirdparty/llama.cpp/"
PROGRAM = "llama-server"
OPTIONS = (
    "CMAKE_BUILD_TYPE=Release",
    "GGML_NATIVE=ON",
    "BUILD_SHARED_LIBS=OFF",
    "LLAMA_BUILD_TESTS=OFF",
    "LLAMA_BUILD_EXAMPLES=OFF",
    "LLAMA_BUILD_UI=OFF",
    "LLAMA_CURL=OFF",
    "LLAMA_OPENSSL=OFF",
    "CMAKE_C_FLAGS=-U__AMX_INT8__",
    "CMAKE_CXX_FLAGS=-U__AMX_INT8__",
)
"""No network and no user interface is compiled in: the server is asked over the loopback address alone. Matrix tiles (AMX) are
left out: GCC 12's header says that the instruction which sets them up reads 8 of its 64 bytes, and a server compiled with it dies
there. The models' Q5_0 would not gain by them."""
TOOLS = {"cmake": "cmake", "c++": "g++"}
"""Program: the Debian package that has it."""
_STEP = re.compile(r"^\[\s*(\d+)(?:/(\d+)|%)\]")

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done)."""


def folder(cache: Path) -> Path:
    """Return where the build for this version and this processor lies, whether it is there or not."""
    return cache / "engines" / f"llama.cpp-{version(PACKAGE)}-{_processor()}"


def program(cache: Path) -> Path | None:
    """The compiled server, None where it was not built for this machine."""
    found = folder(cache) / PROGRAM
    return found if os.access(found, os.X_OK) else None


def build(cache: Path, progress: Progress) -> Path:
    """Compiles the server into `cache` and returns its path. A build that was broken off goes on.

    Raises ModelUnavailableError (no compiler, no source for this version, it does not compile) and StoreError (disk).
    """
    import filelock

    place = folder(cache)
    work = place.with_name(f"{place.name}.build")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{work}.lock"):
            done = program(cache)
            if done is not None:
                return done
            _need_tools()
            source = work / "source"
            if not source.is_dir():
                progress(0, 0, "fetching the source")
                _fetch(work, source)
            built = _compile(source, work / "objects", progress)
            run_to_end([str(built), "--version"])  # it runs on this machine
            place.mkdir(exist_ok=True)
            built.replace(place / PROGRAM)
            shutil.rmtree(work)
            return place / PROGRAM
    except OSError as error:
        raise StoreError(f"cannot build the engine in {work}: {error.strerror or error}") from error


def remove(cache: Path) -> list[Path]:
    """Deletes every build, of whatever version or processor, finished or not. Returns what was there."""
    there = sorted((cache / "engines").glob("llama.cpp-*"))
    for path in there:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path for path in there if path.suffix != ".lock"]


def multiplies_bfloat16() -> bool:
    """Return whether a compiled engine does on this processor."""
    return "avx512_bf16" in _features().split()


def _processor() -> str:
    """A name for what this processor can do; compiled code may need all of it."""
    said = platform.machine() + _features()
    return f"{platform.machine()}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _features() -> str:
    """As Linux says them; empty elsewhere."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return ""


def _need_tools() -> None:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise ModelUnavailableError(
            f"the engine cannot be compiled without {' and '.join(missing)}; install it (apt-get install "
            f"{' '.join(missing)}) and build again. The prebuilt engine works without"
        )


def _fetch(work: Path, target: Path) -> None:
    """llama.cpp's part of the package's source distribution, from the index pip is set up for, verified."""
    wanted = version(PACKAGE)
    if wanted not in SOURCE_SHA256:
        raise ModelUnavailableError(f"no source of {PACKAGE} {wanted} is known; the prebuilt engine works without")
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        asked = Path(scratch, "asked.txt")
        asked.write_text(f"{PACKAGE}=={wanted} --hash=sha256:{SOURCE_SHA256[wanted]}\n", encoding="utf-8")
        run_to_end([*pip, "--no-binary", PACKAGE, "--require-hashes", "--dest", scratch, "--requirement", str(asked)])
        (archive,) = Path(scratch).glob("*.tar.gz")
        unpacked = Path(scratch, "unpacked")
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if f"/{SOURCE}" in member.name]
            tar.extractall(unpacked, members, filter="data")
        (top,) = unpacked.iterdir()
        (top / SOURCE).rename(target)


def _compile(source: Path, objects: Path, progress: Progress) -> Path:
    options = [f"-D{option}" for option in OPTIONS]
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    progress(0, 0, "configuring")
    run_to_end(["cmake", *generator, "-S", str(source), "-B", str(objects), *options])
    jobs = str(len(os.sched_getaffinity(0)))

    def step(line: str) -> None:
        found = _STEP.match(line)
        if found:
            progress(int(found[1]), int(found[2] or 100), "compiling")

    run_to_end(["cmake", "--build", str(objects), "--target", PROGRAM, "--parallel", jobs], step)
    return objects / "bin" / PROGRAM


def run_to_end(command: list[str], hear: Callable[[str], None] | None = None) -> None:
    """Runs a command to its end; `hear` gets every line. Raises ModelUnavailableError with its last words."""
    last: deque[str] = deque(maxlen=8)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                if hear is not None:
                    hear(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        words = " | ".join(line for line in last if line)
        raise ModelUnavailableError(f"{Path(command[0]).name} failed with exit code {process.returncode}: {words}")
