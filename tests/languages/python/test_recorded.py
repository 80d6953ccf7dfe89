"""Recorded answers of real models: the extracted program never lacks what the answer had and the program needs.

`recorded/answers.jsonl.gz` is drawn by `scripts/draw_answers.py`: functions, classes, methods and programs.
"""

from __future__ import annotations

import ast
import builtins
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crucible.languages.python.extract import extract_for
from crucible.languages.python.extraction.fences import PYTHON, code_blocks
from crucible.languages.python.extraction.source import bound, dedent, free, parsed, reads_input
from crucible.problems.sets import load
from crucible.types import Task

FOLDER = Path(__file__).parent / "recorded"
WRITTEN = [Task(**row) for row in yaml.safe_load((FOLDER / "tasks.yaml").read_text(encoding="utf-8"))]
TASKS = {task.id: task for task in (*WRITTEN, *(problem.task for problem in load("starter").problems))}
with gzip.open(FOLDER / "answers.jsonl.gz", "rt", encoding="utf-8") as lines:
    ROWS: list[dict[str, Any]] = [json.loads(line) for line in lines]


def blocks(row: dict[str, Any]) -> list[ast.Module]:
    """The answer's code blocks that parse as they stand."""
    found = code_blocks(row["text"], inside_fence=row["inside_fence"])
    trees = [parsed(dedent(block.text)) for block in found if block.language in PYTHON]
    return [tree for tree in trees if tree is not None and tree.body]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['model']}, {row['form']}, {row['task']}" for row in ROWS])
def test_nothing_that_was_there_and_is_needed_is_missing(row: dict[str, Any]) -> None:
    task = TASKS[row["task"]]
    found = extract_for(task, row["text"], inside_fence=row["inside_fence"])
    trees = blocks(row)
    tree = parsed(found.code)
    if not trees and tree is None:
        return
    assert tree is not None, "a block parses and the program does not"
    there = {name for node in tree.body for name in bound(node)}
    had = {name for other in trees for node in other.body for name in bound(node)}
    assert not (free(found.code) - there - set(dir(builtins))) & had, "it reads what only the answer defines"
    wanted = (task.entry_point or "").partition("(")[0]
    assert not wanted or wanted not in had or wanted in there, "what the tests call is gone"
    if task.entry_point is None and not task.tests:
        runs = [ast.unparse(node) for other in trees[-1:] for node in other.body if reads_input(other)]
        runs = [statement for statement in runs if statement != "python"]  # the fence's language on a line of its own
        assert all(statement in ast.unparse(tree) for statement in runs), "a program lost a statement"
