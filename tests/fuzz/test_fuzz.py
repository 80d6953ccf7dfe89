"""The fuzz targets hold for a moment from a fixed seed, and what they guard against would be found."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from crucible.security.sandbox.wire import WireError, decode, encode
from tests.fuzz import toy, validator, wire
from tests.fuzz.target import Target

REPOSITORY = Path(__file__).parents[2]


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("target", [wire.TARGET, validator.TARGET], ids=["wire", "validator"])
def test_the_seeds_and_cuts_of_them_hold(target: Target) -> None:
    for seed in target.seeds:
        target.test(seed)
        target.test(seed[: len(seed) // 2])


def test_what_was_found_once_is_refused() -> None:
    with pytest.raises(WireError):
        decode(wire.LONG)
    with pytest.raises(WireError, match="too large"):
        encode(Fraction(1, 10**4301))
    with pytest.raises(WireError, match="collide"):
        decode(wire.COLLIDING)


@pytest.mark.parametrize("name", ["wire", "validator"])
def test_two_seconds_find_nothing(name: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz(name, "--seconds", "2", "--seed", "7", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_planted_bug_is_found_and_can_be_replayed(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = fuzz("toy", "--seconds", "60", "--seed", "7", "--out", str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    [found] = tmp_path.iterdir()
    with pytest.raises(ZeroDivisionError, match="planted"):
        toy.TARGET.test(found.read_bytes())
    assert "ZeroDivisionError: planted" in fuzz("toy", "--replay", str(found)).stderr
