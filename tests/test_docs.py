"""The documentation says what the code does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def test_the_cli_reference_is_the_help(tmp_path: Path) -> None:
    """Rewrite it with `make docs` after changing a command."""
    made = tmp_path / "cli.md"
    command = [Path(sys.executable).parent / "typer", "crucible.main", "utils", "docs", "--name", "crucible"]
    subprocess.run(
        [*command, "--title", "Command line", "--output", made], check=True, capture_output=True, cwd=REPOSITORY
    )
    assert made.read_text() == (REPOSITORY / "docs" / "cli.md").read_text()


PAGES = [
    "README.md",
    "AGENTS.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_and_paths_in_the_documentation_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    folder = (REPOSITORY / page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (folder / link).exists()] == []


def test_the_readme_names_the_two_commands_first() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert text.index("make demo") < text.index("make test") < text.index("## How it works")


SCRIPTS = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)


@pytest.mark.sandbox
@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_the_scripts_of_the_readme_run_as_they_stand(script: str, tmp_path: Path, own_home: Path) -> None:
    """A model that answers by a script stands in for a real one."""
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(["```python\ndef double(n):\n    return n + n\n```"]))
    (tmp_path / "script.py").write_text(script)
    model = {"CRUCIBLE_MODEL__ENGINE": "scripted", "CRUCIBLE_MODEL__SCRIPT": str(answers)}
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **model},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("solved ")
    if "BaseNode" in script:
        assert "['a program of 2 lines']" in done.stdout


def test_the_readme_shows_a_whole_node_in_fifteen_lines() -> None:
    (script,) = [script for script in SCRIPTS if "BaseNode" in script]
    assert len([line for line in script.splitlines() if line.strip()]) <= 15
    assert "fifteen lines" in (REPOSITORY / "README.md").read_text()
