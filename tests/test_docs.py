"""The documentation says what the code does."""

from __future__ import annotations

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
