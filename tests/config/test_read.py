"""Every setting is read by something: one that nothing reads is a promise that nobody keeps.

A read is an attribute of an expression that holds the section: `….tools.lint`, a parameter annotated `ToolsSettings`, a name
or an attribute of `self` assigned from either. Comments, strings and equal names of other objects do not count.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

import crucible
from crucible.config.settings import Section, Sections
from crucible.rewards import COMPONENTS
from crucible.types import Limits

PACKAGE = Path(crucible.__file__).parent
SECTIONS: dict[str, type[Section]] = {name: field.annotation for name, field in Sections.model_fields.items()}  # type: ignore[misc]
CLASSES = {section.__name__: name for name, section in SECTIONS.items()}
ALIASES = {"model_settings": "model", "memory_settings": "memory", "reward_settings": "rewards"}
"""Attributes of a node's Context that hold a section under another name."""
WHOLE = {("sandbox", name) for name in Limits.model_fields} | {("rewards", name) for name in COMPONENTS}
"""Read together, by `SandboxSettings.limits()` and `RewardSettings.weights`: the names of what they become."""


class Reads(ast.NodeVisitor):
    """The settings that one module reads. owners: by name, or attribute of self as `self.x`, the sections it holds somewhere
    in the module."""

    def __init__(self, tree: ast.Module) -> None:
        self.found: set[tuple[str, str]] = set()
        self.owners: defaultdict[str, set[str]] = defaultdict(set)
        for _ in range(2):  # what is assigned from what was assigned
            for node in ast.walk(tree):
                self._learn(node)
        self.visit(tree)

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.arg) and node.annotation is not None:
            for name in ast.walk(node.annotation):
                if isinstance(name, ast.Name) and name.id in CLASSES:
                    self.owners[node.arg].add(CLASSES[name.id])
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id in CLASSES:
            self.owners[f"{node.name}()"].add(CLASSES[node.returns.id])
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=True))
            for one, other in pairs:
                if found := self.sections(other):
                    self.owners[ast.unparse(one)] |= found

    def sections(self, node: ast.expr) -> set[str]:
        """The sections that an expression may hold."""
        text = ast.unparse(node)
        if isinstance(node, ast.Attribute):
            if node.attr in ALIASES:
                return {ALIASES[node.attr]}
            if node.attr in SECTIONS and ast.unparse(node.value).endswith(("settings", "context", "loaded")):
                return {node.attr}
        if isinstance(node, ast.BoolOp):
            return set().union(*map(self.sections, node.values))
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and node.func.attr == "model_copy":
                return self.sections(node.func.value)
            text = f"{ast.unparse(node.func).rsplit('.', 1)[-1]}()"
        return self.owners.get(text, set())

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        if node.name in CLASSES:
            self.owners["self"] = {CLASSES[node.name]}
        self.generic_visit(node)
        self.owners.pop("self", None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.found |= {(section, node.attr) for section in self.sections(node.value)}
        self.generic_visit(node)


def reads(source: str) -> set[tuple[str, str]]:
    return Reads(ast.parse(source)).found


@cache
def all_reads() -> frozenset[tuple[str, str]]:
    return frozenset().union(*(reads(path.read_text()) for path in PACKAGE.rglob("*.py")))


@pytest.mark.parametrize(("section", "field"), [(s, f) for s, model in SECTIONS.items() for f in model.model_fields])
def test_something_reads_it(section: str, field: str) -> None:
    assert (section, field) in all_reads() | WHOLE


def test_what_is_read_together_is_read() -> None:
    assert {("sandbox", "limits"), ("rewards", "weights")} <= all_reads()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x = settings.tools.lint", {("tools", "lint")}),
        ("def f(tools: ToolsSettings): return tools.lint", {("tools", "lint")}),
        ("def f(given: ToolsSettings | None): return given.lint", {("tools", "lint")}),
        (
            "def f(context):\n    tools, cycles = context.tools, context.cycles\n    return tools.lint",
            {("tools", "lint")},
        ),
        (
            "class A:\n    def __init__(self, s: ModelSettings): self._s = s\n    def f(self): return self._s.seed",
            {("model", "seed")},
        ),
        ("# settings.tools.lint\nx = 'settings.tools.lint'", set()),
        ("from x import validation\nvalidation.lint(code)\nself.tools_.lint", set()),
        ("settings.tools.lint = True", set()),
    ],
)
def test_what_counts_as_a_read(source: str, found: set[tuple[str, str]]) -> None:
    assert {each for each in reads(source) if each[1] in ("lint", "seed")} == found
