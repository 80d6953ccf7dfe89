"""When two texts are the same program: equal syntax trees, docstrings left out."""

from __future__ import annotations

import ast
import hashlib

from crucible.languages.python.checks.source import parse

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def fingerprint(code: str) -> str:
    """SHA-256 (hex) of the program without comments, formatting and docstrings; names count.

    Code that does not parse is compared by its text, white space aside."""
    try:
        tree = parse(code)
        for node in ast.walk(tree):
            if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        normal = ast.dump(tree)
    except (SyntaxError, RecursionError):
        normal = "text " + " ".join(code.split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_id(prompt: str) -> str:
    """The id of a task that was given none."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()[:12]
