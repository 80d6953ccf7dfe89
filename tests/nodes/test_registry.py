"""Plugins: a package with an entry point is found and runs; a broken one is named, never ignored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crucible.nodes.registry import BUILT_IN, load_nodes

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "crucible-complexity"


@pytest.fixture(scope="module")
def plugin_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plugin, installed by pip as the package of its own that it is."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "plugin"
    source.mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        target,
        source,
    ]
    subprocess.run(command, check=True)
    return target


def run(path: Path, *arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    search = os.pathsep.join([str(path), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-m", "crucible", *arguments],
        env={**os.environ, "PYTHONPATH": search, "CRUCIBLE_HOME": str(home), **environment},
        cwd=home.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_built_in_nodes_register_like_any_other() -> None:
    specs = load_nodes()
    assert tuple(specs)[:4] == BUILT_IN
    assert {spec.package for name, spec in specs.items() if name in BUILT_IN} == {"crucible-codegen"}


def test_the_example_is_at_most_forty_lines() -> None:
    assert len((EXAMPLE / "crucible_complexity.py").read_text().splitlines()) <= 40


def test_an_installed_plugin_is_listed_and_drawn(plugin_path: Path, own_home: Path) -> None:
    rows = json.loads(run(plugin_path, "nodes", "list", "--json", home=own_home).stdout)
    assert {"name": "complexity", "after": "test", "package": "crucible-complexity", "version": "0.1.0"} in rows
    drawn = run(plugin_path, "graph", "--format", "mermaid", home=own_home).stdout
    assert "test --> complexity" in drawn


@pytest.mark.sandbox
def test_an_installed_plugin_runs_in_the_graph(plugin_path: Path, own_home: Path, tmp_path: Path) -> None:
    branches = "".join(f"    if n == {n}:\n        return {n}\n" for n in range(12))
    script = tmp_path / "script.json"
    script.write_text(json.dumps([f"```python\ndef same(n):\n{branches}    return n\n```"]))
    done = run(
        plugin_path,
        "solve",
        "Write same(n). assert same(3) == 3",
        "--engine",
        "scripted",
        "--approve",
        "auto",
        "--json",
        home=own_home,
        CRUCIBLE_MODEL__SCRIPT=str(script),
    )
    assert done.returncode == 0, done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    shown = json.loads(run(plugin_path, "runs", "show", run_id, "--json", home=own_home).stdout)
    assert any("cyclomatic complexity of 13" in finding["message"] for finding in shown["feedback"])


def test_a_plugin_can_be_switched_off(plugin_path: Path, own_home: Path) -> None:
    rows = run(plugin_path, "nodes", "list", "--json", home=own_home, CRUCIBLE_TOOLS__DISABLED_NODES='["complexity"]')
    assert "complexity" not in rows.stdout


def broken(folder: Path, body: str, name: str = "bad") -> Path:
    """A distribution as pip leaves it: a module, and metadata with an entry point."""
    (folder / "bad_plugin.py").write_text(body)
    info = folder / "bad_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[crucible.nodes]\n{name} = bad_plugin:Bad\n")
    return folder


BASE = "from crucible.nodes import BaseNode\nclass Bad(BaseNode):\n    "


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import nowhere_to_be_found", "node 'bad' of bad-plugin cannot be imported (ModuleNotFoundError"),
        ("class Bad: pass", "is not a crucible.nodes.BaseNode class"),
        (BASE + "name = 'other'; after = 'test'\n    def run(self, s, c): return {}", "must set name = 'bad'"),
        (BASE + "name = 'bad'\n    def run(self, s, c): return {}", "must say which node it follows"),
        (BASE + "name = 'bad'; after = 'lunch'\n    def run(self, s, c): return {}", "wants to follow 'lunch'"),
    ],
)
def test_a_broken_plugin_is_named_with_what_to_do(tmp_path: Path, own_home: Path, body: str, said: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    done = run(broken(folder, body), "nodes", "list", home=own_home)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1
