"""`import crucible` and `crucible --help` stay light: nothing heavy is imported on their path."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "lancedb",
    "pyarrow",
    "langgraph",
    "langchain_core",
    "detect_secrets",
    "xllamacpp",
    "httpx",
    "numpy",
)


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted(name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "statement",
    [
        "import crucible",
        "from crucible import Task; Task(prompt='p')",
        "import crucible.main",
        "from crucible.nodes import BaseNode",
        "from crucible.memory import MemoryStore",
        "from crucible.models import load_model",
    ],
)
def test_nothing_heavy_is_imported(statement: str) -> None:
    assert not loaded_after(statement) & set(HEAVY)


def test_every_public_name_is_there() -> None:
    import crucible

    for name in crucible.__all__:
        assert getattr(crucible, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    import crucible

    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = crucible.Nonsense  # type: ignore[attr-defined]
