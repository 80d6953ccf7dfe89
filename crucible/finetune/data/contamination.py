"""Whether a training example gives an evaluation problem away, by its text or by its program.

Text: word n-grams, of which a copy with a changed sentence still shares most (as in Brown et al. 2020, arXiv 2005.14165,
appendix C, with shorter n-grams, as these tasks are short). Program: the syntax tree with its own names numbered, so that
a renamed copy is the same.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from crucible.languages.python.checks.source import parse
from crucible.types import Frozen

NGRAM = 8
SHARED = 0.5
"""Share of the shorter text's n-grams that another may hold before the two count as one."""
STOCK = 5
"""An n-gram in this many evaluation problems is a phrase of their author's and says nothing."""
MIN_NODES = 15
"""Smaller programs are alike by chance: `return a + b`."""


class Evaluated(Frozen):
    """A problem that scores are measured on. text: all that its author wrote of the task. solutions: whole programs."""

    id: str
    text: str
    solutions: tuple[str, ...] = ()


class Contamination:
    """The problems to measure on, as far as they are known; asked for every example."""

    def __init__(self, problems: Iterable[Evaluated]) -> None:
        known = list(problems)
        grams = {problem.id: ngrams(problem.text) for problem in known}
        counts = Counter(gram for each in grams.values() for gram in each)
        stock = {gram for gram, count in counts.items() if count >= STOCK}
        self._grams = {name: kept for name, each in grams.items() if (kept := each - stock)}
        self._holders: dict[str, list[str]] = {}
        for name, each in self._grams.items():
            for gram in each:
                self._holders.setdefault(gram, []).append(name)
        self._stock = stock
        self._texts = {_joined(problem.text): problem.id for problem in known}
        self._programs = {
            mark: problem.id for problem in known for code in problem.solutions if (mark := skeleton(code)) is not None
        }

    def reason(self, text: str, code: str = "") -> str | None:
        """Return which evaluation problem the example is too like, in words; None where it is like none."""
        if (same := self._texts.get(_joined(text))) is not None:
            return f"the text of {same}"
        mine = ngrams(text) - self._stock
        shared = Counter(name for gram in mine for name in self._holders.get(gram, ()))
        for name, count in shared.most_common():  # each by its own length: the one that shares most may be a long one
            if count >= SHARED * min(len(mine), len(self._grams[name])):
                return f"most of the text of {name}"
        mark = skeleton(code)
        if mark is not None and mark in self._programs:
            return f"a solution of {self._programs[mark]}"
        return None


def ngrams(text: str) -> frozenset[str]:
    """The text's runs of NGRAM words, case and punctuation aside; all of it where it has no more words."""
    words = _words(text)
    if not words:
        return frozenset()
    return frozenset(" ".join(words[start : start + NGRAM]) for start in range(max(1, len(words) - NGRAM + 1)))


def skeleton(code: str) -> str | None:
    """SHA-256 of the program's syntax tree, its own names numbered by first use and docstrings left out.

    None for a program that does not parse, or is so small that many are alike."""
    try:
        tree = parse(code)
        if sum(1 for _ in ast.walk(tree)) < MIN_NODES:
            return None
        names = _bound(tree)
        renamed = _Renamed(names).visit(tree)
        return hashlib.sha256(ast.dump(renamed).encode("utf-8", "surrogatepass")).hexdigest()
    except (SyntaxError, RecursionError):
        return None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.casefold())


def _joined(text: str) -> str:
    return " ".join(_words(text))


def _bound(tree: ast.Module) -> set[str]:
    """Names that the program gives to things of its own: not those it imports or takes from Python."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


class _Renamed(ast.NodeTransformer):
    """Numbers the names in `own` in the order in which they are met."""

    def __init__(self, own: set[str]) -> None:
        self._own = own
        self._numbers: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self._numbers.setdefault(name, f"n{len(self._numbers)}") if name in self._own else name

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = self._name(node.id)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg is not None:
            node.arg = self._name(node.arg)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self._defined(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self._defined(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._defined(node)

    def _defined(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        node.name = self._name(node.name)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)
