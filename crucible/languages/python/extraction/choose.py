"""Which of an answer's blocks is the program, and what of the other blocks it needs.

The last complete block wins: whoever corrects or improves a program writes the better one below. A block that only uses the
program (a test, a demonstration) is not one. From the other blocks come the statements that bind what the program reads.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Sequence

from crucible.languages.python.extraction.source import (
    DEFINITIONS,
    IMPORTS,
    bound,
    dedent,
    free,
    is_stub,
    parsed,
    read,
    read_now,
    reads_input,
    statement,
    trim,
)

_TEST_NAME = re.compile(r"test|Test|main$|demo|example|check$")


def choose(blocks: Sequence[str], wanted: Collection[str], *, program: bool) -> str | None:
    """The program of `blocks`, with what it needs of them; None where there are none.

    wanted: names that the task's tests call. program: the answer is to be run as a whole.
    """
    if not blocks:
        return None
    ranked = [(_merit(block, wanted, program=program), index) for index, block in enumerate(blocks)]
    _, best = max(ranked)
    text = dedent(blocks[best])
    tree = parsed(text)
    if tree is None or len(blocks) == 1:
        return blocks[best]
    others = [(index < best, dedent(block)) for index, block in enumerate(blocks) if index != best]
    before, after = _needed(text, tree, wanted, others)
    return "\n\n".join([*before, text, *after])


def _merit(block: str, wanted: Collection[str], *, program: bool) -> tuple[int, int, int, int]:
    """How much of a program a block is: complete, of the wanted names, defining anything, parsing. The later of equals."""
    tree = parsed(dedent(block))
    whole = tree is not None
    if tree is None:  # cut off, or with prose behind it: what can be read of it counts
        shorter, trimmed = trim(dedent(block))
        tree = parsed(shorter) if trimmed else None
    if tree is None:
        names = set(re.findall(r"^\s*(?:async def|def|class) (\w+)", block, re.MULTILINE))
        return (len(names & set(wanted)) if wanted else bool(names), 0, bool(names), 0)
    definitions = [node for node in tree.body if isinstance(node, DEFINITIONS)]
    real = {node.name for node in definitions if not is_stub(node)}
    real |= {name for node in tree.body if not isinstance(node, (*DEFINITIONS, *IMPORTS)) for name in bound(node)}
    methods = {part.name for node in definitions for part in getattr(node, "body", []) if isinstance(part, DEFINITIONS)}
    tests = bool(definitions) and all(_TEST_NAME.search(node.name) for node in definitions)
    if wanted:
        found = 2 * len(real & set(wanted)) or int(bool(methods & set(wanted) and real))
        return (found, whole, bool(real) and not tests, whole)
    if program or reads_input(tree):
        shown = (ast.Constant, ast.Name, ast.UnaryOp, ast.BinOp, ast.Tuple)  # an output that reads like an expression
        runs = any(
            not isinstance(node, (*DEFINITIONS, *IMPORTS))
            and not (isinstance(node, ast.Expr) and isinstance(node.value, shown))
            for node in tree.body
        )
        return (runs, whole, bool(tree.body), whole)
    functions = {node.name for node in definitions if not is_stub(node)}
    return (2 * bool(functions) - tests if functions else 0, whole, bool(real), whole)


def _needed(
    text: str, tree: ast.Module, wanted: Collection[str], others: Sequence[tuple[bool, str]]
) -> tuple[list[str], list[str]]:
    """What the program lacks and other blocks have: (statements to stand before it, statements to stand behind it)."""
    trees = [(text, parsed(text) or parsed(trim(text)[0])) for _, text in others]
    chosen: set[tuple[int, int]] = set()
    have = {name for node in tree.body for name in bound(node)}
    asked = (free(text) | set(wanted)) - have
    while asked:
        name = asked.pop()
        have.add(name)
        for number in _nearest(len(others)):
            source, other = trees[number]
            if other is None:
                continue
            found = [at for at, node in enumerate(other.body) if name in bound(node) or _changes(node, name)]
            if any(name in bound(other.body[at]) for at in found):
                chosen |= {(number, at) for at in found}
                for at in found:
                    asked |= (free(statement(source, other.body[at])) | set(bound(other.body[at]))) - have
                break
    program = {name for node in tree.body for name in bound(node)}
    before, after = list[str](), list[str]()
    for number, at in sorted(chosen):
        source, other = trees[number]
        assert other is not None
        node = other.body[at]
        piece = statement(source, node)
        late = not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, *IMPORTS)) and read_now(node) & program
        (after if late else before).append(piece)
    return before, after


def _nearest(count: int) -> range:
    """Numbers of blocks, the last first: a later one corrects an earlier one."""
    return range(count - 1, -1, -1)


def _changes(node: ast.stmt, name: str) -> bool:
    """Return whether a statement that is no definition changes what `name` holds: a call with it, a part of it set."""
    if isinstance(node, (*DEFINITIONS, *IMPORTS, ast.Assert)):
        return False
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        if isinstance(called, ast.Attribute):
            return name in read(called.value)
        return not (isinstance(called, ast.Name) and called.id == "print") and name in read(node)
    if isinstance(node, ast.Assign):
        return any(not isinstance(target, ast.Name) and name in read(target) for target in node.targets)
    return isinstance(node, ast.For | ast.AugAssign) and name in read(node) and "print" not in read(node)
