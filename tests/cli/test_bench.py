"""`crucible bench` as a user runs it, with scripted answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.small import NUMBERS, rules, write_set

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.sandbox

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_set(tmp_path / "set.yaml")
    script = [{"match": rule.match, "replies": rule.replies, "json": rule.json_reply} for rule in rules()]
    (tmp_path / "script.json").write_text(json.dumps(script))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "CRUCIBLE_MODEL__SCRIPT": str(tmp_path / "script.json"),
            "CRUCIBLE_MODEL__ENGINE": "scripted",
        }
        return subprocess.run(
            [sys.executable, str(ROOT / "main.py"), "bench", *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip

    return run


def test_a_benchmark_its_json_its_report_and_a_comparison(bench: Bench, tmp_path: Path) -> None:
    done = bench(
        "set.yaml", "--arm", "single", "--arm", "best-of-n", "--seeds", "2", "--budget", "120", "--out", "a",
        "--approve", "auto", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {"set", "model", "arms", "comparisons", "seeds"} <= set(said)
    assert (said["complete"], said["seeds"], said["budget"]) == (True, [0, 1], 120)
    assert [arm["arm"] for arm in said["arms"]] == ["single", "best-of-n"]
    for arm in said["arms"]:
        assert arm["problems"] == len(NUMBERS) and 0 <= arm["pass_at_1"] <= 1
        assert {"pass_at_k", "ci95", "tokens", "wall_s", "tokens_per_s"} <= set(arm)
    assert (tmp_path / "a" / "report.html").read_text().startswith("<!")

    report = bench("report", "a")
    assert report.returncode == 0 and "best-of-n" in report.stdout
    compared = bench("compare", "a", "a", "--json")
    assert [each["only_a"] for each in json.loads(compared.stdout)["comparisons"]] == [0, 0]

    other = bench("set.yaml", "--arm", "single", "--budget", "99", "--out", "a", "--approve", "auto")
    assert other.returncode == 2 and "another benchmark" in other.stderr


def test_without_a_word_of_approval_nothing_runs(bench: Bench, tmp_path: Path) -> None:
    done = bench("set.yaml", "--arm", "single", "--out", "a")
    assert done.returncode == 3 and "--approve auto" in done.stderr
    assert not (tmp_path / "a" / "cells.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set.yaml", "--arm", "best", "--out", "a", "--approve", "auto"], "unknown arm 'best'"),
        (["nothing.yaml", "--out", "a", "--approve", "auto"], "no problem set"),
        (["set.yaml", "--out", "set.yaml", "--approve", "auto"], "is a file; name a folder"),
        (["report", "nowhere"], "holds no benchmark"),
        (["set.yaml", "set.yaml", "--out", "a", "--approve", "auto"], "is there twice"),
    ],
)
def test_bad_input_is_named(bench: Bench, arguments: list[str], says: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2 and says in done.stderr
