"""From a model's answer to a program: find the code, mend its signature, drop its self-checks.

Small models lose more problems to sloppy extraction than to wrong code, so this is careful: fenced, unfenced,
truncated and chatty answers all give the program that was meant. Nothing is invented: every line returned is
the model's or the task's own (its imports and its signature). The answer is hostile input; parsing is bounded.
"""

from __future__ import annotations

import ast
import re
import symtable
import textwrap
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

from crucible.security.validation.source import parse

MAX_ANSWER_CHARS = 200_000
MAX_TRIM_LINES = 400

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n`]*$")
_CODE_LINE = re.compile(
    r"^(?:@|def |class |import |from |async def |if |for |while |try:|with |[A-Za-z_][\w.]* *(?::[^=]+)?=[^=])"
)
_LANGUAGES = {"", "python", "py", "python3", "pycon"}


class Extracted(NamedTuple):
    """`code` is empty when the answer holds no program. `how` names the steps taken, for the episode."""

    code: str
    how: tuple[str, ...]


def extract(answer: str, *, prompt: str = "", entry_point: str | None = None, inside_fence: bool = False) -> Extracted:
    """The program in `answer`.

    prompt: the task's text; a signature and imports in it mend an answer that leaves them out.
    entry_point: the function that will be called, where it is known.
    inside_fence: the answer was prefilled up to an opened code fence, so it starts as code.
    """
    if entry_point is not None and not entry_point.isidentifier():
        entry_point = None  # `Solution().method`: nothing at the top level has that name, and nothing is to be given it
    answer = answer[:MAX_ANSWER_CHARS].replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    steps: list[str] = []
    code = _choose(_blocks(answer, inside_fence), entry_point)
    if code is None:
        code = _unfenced(answer)
        steps.append("unfenced")
    code = _dedent(code)
    if code.lstrip().startswith(">>> "):
        code = _from_session(code)
        steps.append("session")
    code, trimmed = _trim_to_parse(code)
    if trimmed:
        steps.append("trimmed")
    code, mended = _mend(code, prompt, entry_point)
    steps += mended
    if (tree := _parse(code)) is not None:
        code, pruned = _prune_checks(code, tree, entry_point)
        steps += ["pruned"] if pruned else []
    if entry_point and (tree := _parse(code)) is not None and (other := _namesake(tree, entry_point)):
        code = f"{code.rstrip()}\n\n\n{entry_point} = {other}\n"
        steps.append("renamed")
    return Extracted(code.strip("\n") + "\n" if code.strip() else "", tuple(steps))


# ------------------------------------------------------------- finding the code


def _blocks(answer: str, inside_fence: bool) -> list[str]:
    """The contents of all code fences, the last one also where it was never closed.

    A fence with a language always opens: where one stands inside a block, the block before it was never closed, or
    was the prose of an answer that repeats its prefill.
    """
    blocks: list[str] = []
    current: list[str] | None = [] if inside_fence else None
    marker = "`"
    for line in answer.split("\n"):
        fence = _FENCE.match(line)
        if fence is None:
            if current is not None:
                current.append(line)
        elif current is None or fence[2]:
            _keep(blocks, current)
            current, marker = ([] if fence[2].lower() in _LANGUAGES else _Skipped()), fence[1][0]
        elif fence[1][0] == marker:
            _keep(blocks, current)
            current = None
        else:
            current.append(line)
    _keep(blocks, current)
    return blocks


class _Skipped(list[str]):
    """Lines of a fenced block in another language."""


def _keep(blocks: list[str], lines: list[str] | None) -> None:
    if lines is not None and not isinstance(lines, _Skipped) and any(line.strip() for line in lines):
        blocks.append("\n".join(lines))


def _choose(blocks: list[str], entry_point: str | None) -> str | None:
    """The block that is the answer: the first that parses and defines what is called, else the best part."""
    if not blocks:
        return None

    def merit(block: str) -> tuple[bool, bool, bool, int]:
        tree = _parse(_dedent(block))
        names = set(_defined(tree)) if tree is not None else set(re.findall(r"^\s*(?:def|class) (\w+)", block, re.M))
        return (entry_point in names if entry_point else bool(names), tree is not None, bool(names), len(block))

    best = max(blocks, key=merit)
    tree = _parse(_dedent(best))
    if tree is None or len(blocks) == 1:
        return best
    helpers = _helpers(best, tree, [block for block in blocks if block is not best])
    return "\n\n".join([*helpers, best])


def _helpers(best: str, tree: ast.Module, others: Iterable[str]) -> Iterator[str]:
    """Blocks that define a function or class the best block uses and does not define itself."""
    defined = set(_defined(tree))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for block in others:
        other = _parse(_dedent(block))
        if other is not None and (set(_defined(other)) & used) - defined:
            defined |= set(_defined(other))
            yield _dedent(block)


def _unfenced(answer: str) -> str:
    """The longest run of lines that looks like code and parses; prose around it is left out."""
    lines = answer.split("\n")
    best = ""
    starts = [index for index, line in enumerate(lines) if _CODE_LINE.match(line)]
    for start in starts[:20]:
        if len("\n".join(lines[start:])) <= len(best):
            break
        candidate, _ = _trim_to_parse("\n".join(lines[start:]))
        if len(candidate) > len(best) and _parse(candidate) is not None:
            best = candidate
    if best:
        return best
    return answer if any(line.startswith((" ", "\t")) for line in lines) else ""


def _from_session(code: str) -> str:
    """A pasted `>>>` session without its prompts and outputs."""
    return "\n".join(line[4:] for line in code.split("\n") if line.startswith((">>> ", "... ")))


def _dedent(code: str) -> str:
    return textwrap.dedent(code.expandtabs(4) if "\t" in code and "    " in code and _parse(code) is None else code)


def _parse(code: str) -> ast.Module | None:
    try:
        return parse(code)
    except SyntaxError:
        return None


def _trim_to_parse(code: str) -> tuple[str, bool]:
    """Drop trailing lines, at most MAX_TRIM_LINES, until the rest parses; unchanged if it never does."""
    if _parse(code) is not None:
        return code, False
    lines = code.split("\n")
    for end in range(len(lines) - 1, max(0, len(lines) - MAX_TRIM_LINES), -1):
        candidate = "\n".join(lines[:end])
        if candidate.strip() and _parse(candidate) is not None:
            return candidate, True
    return code, False


# ------------------------------------------------------------- mending what was left out


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _mend(code: str, prompt: str, entry_point: str | None) -> tuple[str, list[str]]:
    """Give back the imports, the signature or the name that the task fixed and the answer left out."""
    steps: list[str] = []
    signature, imports = _task_frame(prompt, entry_point)
    tree = _parse(code)
    names = list(_defined(tree)) if tree is not None else []
    if entry_point and entry_point not in names and signature is not None and code.strip():
        body = _as_body(code, signature)
        if body is not None:
            code, steps = body, ["signature"]
            tree = _parse(code)
    missing = [line for line in imports if line not in code]
    if missing and tree is not None and _uses_any(tree, missing):
        code = "\n".join([*missing, "", code])
        steps.append("imports")
    return code, steps


def _namesake(tree: ast.Module, entry_point: str) -> str | None:
    """The function that was meant to be called `entry_point`: the only one, or the one of the likest name."""
    if entry_point in _defined(tree):
        return None
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    if len(functions) == 1:
        return functions[0]
    return next(iter(get_close_matches(entry_point, functions, n=1)), None)


def _task_frame(prompt: str, entry_point: str | None) -> tuple[str | None, list[str]]:
    """The `def` line(s) of the entry point and the import lines in the task's text."""
    imports = [line for line in prompt.split("\n") if re.match(r"(from \w[\w.]* import |import \w)", line)]
    imports = [line for line in imports if _parse(line) is not None]
    if not entry_point:
        return None, imports
    found = re.search(rf"^def {re.escape(entry_point)}\([^\0]*?\)[^\n:]*:", prompt, re.M)
    if found is None or _parse(found[0] + "\n    pass") is None:
        return None, imports
    return found[0], imports


def _as_body(code: str, signature: str) -> str | None:
    """`code` as the body of `signature`, where it is one: it parses there and returns or yields something."""
    body = f"{signature}\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    tree = _parse(body)
    if tree is None or not isinstance(tree.body[0], ast.FunctionDef):
        return None
    function = tree.body[0]
    if any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in function.body):
        return None  # a whole program under another name: renaming fits better
    returns = any(isinstance(node, ast.Return | ast.Yield) for node in ast.walk(function))
    return body if returns else None


def _uses_any(tree: ast.Module, imports: list[str]) -> bool:
    wanted = {
        (alias.asname or alias.name).split(".")[0]
        for line in imports
        for node in ast.walk(ast.parse(line))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return "*" in wanted or any(isinstance(node, ast.Name) and node.id in wanted for node in ast.walk(tree))


def _prune_checks(code: str, tree: ast.Module, entry_point: str | None) -> tuple[str, bool]:
    """Without the top-level checks and demonstrations a model likes to append.

    They would run at import: a wrong self-written assert must not fail a right function. Dropped, once something
    is defined: asserts, calls of the program's own functions, print(), *.main(), testmod(), `if __name__` blocks,
    and below the last definition what only feeds those. Other calls (sys.setrecursionlimit, say) are part of the
    program and stay.
    """
    definitions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    if not definitions:
        return code, False
    end = definitions[-1].end_lineno or definitions[-1].lineno
    keep = _globals_used(symtable.symtable(code, "answer", "exec")) | {entry_point or ""}
    defined = set(_defined(tree))
    drop = [node for node in tree.body if _is_check(node, defined) or (node.lineno > end and _is_feed(node, keep))]
    if not drop:
        return code, False
    lines = code.split("\n")
    for node in drop:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    if all(not line.strip() or line.startswith("#") for line in lines[end:]):
        del lines[end:]  # only "# Example usage:" is left
    pruned = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines))
    return (pruned, True) if _parse(pruned) is not None else (code, False)


def _globals_used(table: symtable.SymbolTable) -> set[str]:
    """Names that functions and classes anywhere in the program read from the module."""
    used: set[str] = set()
    for child in table.get_children():
        used |= {symbol.get_name() for symbol in child.get_symbols() if symbol.is_global()}
        used |= _globals_used(child)
    return used


def _is_feed(node: ast.stmt, keep: set[str]) -> bool:
    """A plain assignment nothing in the program reads, or a bare expression."""
    if isinstance(node, ast.Assign):
        names = {part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        return not names & keep
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call)


def _is_check(node: ast.stmt, defined: set[str]) -> bool:
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.If):
        return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    called = node.value.func
    if isinstance(called, ast.Attribute):
        return called.attr in ("main", "testmod")
    return isinstance(called, ast.Name) and (called.id in defined or called.id in ("print", "main"))
