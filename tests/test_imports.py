"""`import crucible` and `crucible --help` stay light: nothing heavy is imported on their path."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import crucible

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


SOLVES = """
import sys
from collections.abc import Mapping
from pathlib import Path
from crucible import Task
from crucible.app import Crucible
from crucible.models.scripted import ScriptedModel
from tests.conftest import settings_at

def below(cls):
    return {cls}.union(*(below(each) for each in type.__subclasses__(cls)))

def mixed():
    return {cls for cls in below(Mapping) for base in cls.__mro__ if "_abc_impl" in vars(base)
            and base is not cls and not issubclass(base, Mapping) and base not in Mapping.__mro__}

replies = ["```python\\ndef f(x):\\n    return x\\n```"]
with Crucible(settings=settings_at(Path(sys.argv[1])), model=ScriptedModel(replies)) as app:
    app.context
    before = mixed()
    app.solve(Task(prompt="Write f(x): x itself.", entry_point="f", tests="assert f(1) == 1"))
print(*(f"{cls.__module__}.{cls.__qualname__}" for cls in mixed() - before))
"""


@pytest.mark.sandbox
def test_no_thread_of_a_run_defines_a_mapping_that_is_something_else_first(tmp_path: Path) -> None:
    """While such a class comes to be, isinstance(a string, Mapping) is True for the other threads, and LangGraph asks."""
    done = subprocess.run([sys.executable, "-c", SOLVES, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["crucible", "crucible.config", "crucible.memory"])
def test_dir_shows_the_public_names_without_importing_them(name: str) -> None:
    code = f"import sys, {name} as it; print(set(it.__all__) - set(dir(it)), 'lancedb' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() False\n"


def imported(path: Path, names: set[str]) -> set[str]:
    """The package's modules that a file imports, in its functions too, but for those that only a type checker reads."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    apart = {id(part) for node in checked for part in ast.walk(node)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in apart:
            found |= {
                each if each in names else node.module for a in node.names for each in [f"{node.module}.{a.name}"]
            }
    return found & names


def test_no_module_imports_itself_by_way_of_others() -> None:
    root = Path(crucible.__file__).parent
    paths = {
        ".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
        if path.parent.name != "plugin"
    }
    left = {name: imported(path, set(paths)) - {name} for name, path in paths.items()}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left, f"a circle among: {sorted(left)}"
