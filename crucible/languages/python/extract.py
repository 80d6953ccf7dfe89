"""From a model's answer to a program: find the code, mend what was left out, drop its self-checks.

Small models lose more problems to sloppy extraction than to wrong code, so this is careful: fenced, unfenced, truncated and
chatty answers all give the program that was meant. Nothing is invented: every line returned is the model's or the task's
own, but for one that gives a function the name or the form that is called. The answer is hostile input; parsing is bounded.

The steps live in `crucible.languages.python.extraction`: thinking, fences, wrappings, characters, choose, mend, prune, repetition.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import NamedTuple

from crucible.languages.python.extraction import fences, mend, wrappings
from crucible.languages.python.extraction.characters import cleaned, visible
from crucible.languages.python.extraction.choose import choose
from crucible.languages.python.extraction.prune import pruned
from crucible.languages.python.extraction.repetition import repetition
from crucible.languages.python.extraction.source import dedent, error_line, parsed, read, reads_input, trim
from crucible.languages.python.extraction.thinking import outside_thinking
from crucible.types import Task

MAX_ANSWER_CHARS = 200_000
MAX_STARTS = 20

_CODE_LINE = re.compile(
    r"^(?:@|def |class |import |from |async def |if |for |while |try:|with |[A-Za-z_][\w.]* *(?::[^=]+)?=[^=])"
)
_METHOD = re.compile(r"([A-Za-z_]\w*)\(.*\)\.([A-Za-z_]\w*)$")


class Extracted(NamedTuple):
    """`code` is empty when the answer holds no program. `how` names the steps taken, for the episode."""

    code: str
    how: tuple[str, ...]


def extract_for(task: Task, answer: str, *, inside_fence: bool = False) -> Extracted:
    """The program in an answer to `task`. inside_fence: as for `extract`."""
    tests = parsed(task.tests)
    return extract(
        answer,
        prompt=task.prompt,
        entry_point=task.entry_point,
        inside_fence=inside_fence,
        program=task.entry_point is None and not task.tests.strip(),
        tested=read(tests) if tests is not None else (),
    )


def extract(
    answer: str,
    *,
    prompt: str = "",
    entry_point: str | None = None,
    inside_fence: bool = False,
    program: bool = False,
    tested: Collection[str] = (),
) -> Extracted:
    """The program in `answer`.

    prompt: the task's text; a signature and imports in it mend an answer that leaves them out.
    entry_point: the function that will be called, where it is known; `Class().method` for a method.
    inside_fence: the answer was prefilled up to an opened code fence, so it starts as code.
    program: it will be run as a whole, so that its calls and prints are what is wanted.
    tested: further names that tests read.
    """
    name, method = _called(entry_point)
    steps: list[str] = []
    text = answer[:MAX_ANSWER_CHARS].replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if not inside_fence:
        text, thought = outside_thinking(text)
        steps += ["thinking"] if thought else []
    if (end := repetition(text)) is not None:
        text = text[:end]
        steps.append("repetition")
    wanted = {*tested, *([name] if name else [])}
    blocks, found = _blocks(text, inside_fence)
    steps += found
    code = choose(blocks, wanted, program=program) or ""
    code, trimmed = trim(dedent(code))
    steps += ["trimmed"] if trimmed else []
    code, mended = _mended(code, prompt, name, method)
    steps += mended
    tree = parsed(code)
    whole = program or tree is None or (name is None and reads_input(tree))
    if tree is not None and not whole and (shorter := pruned(code, tree, wanted)) is not None:
        code = shorter
        steps.append("pruned")
    if name and (other := mend.with_name(code, name, method)) is not None:
        code, step = other
        steps.append(step)
    code = mend.future_first(code)
    return Extracted(code.strip("\n") + "\n" if code.strip() else "", tuple(dict.fromkeys(steps)))


def _called(entry_point: str | None) -> tuple[str | None, str]:
    """(the module's name that is called or made, the method of it): of `f`, `Solution().f`, `Solution.f`."""
    if entry_point is None or entry_point.isidentifier():
        return entry_point, ""
    made = _METHOD.match(entry_point)
    return (made[1], made[2]) if made else (None, "")


# ------------------------------------------------------------- finding the code


def _blocks(text: str, inside_fence: bool) -> tuple[list[str], list[str]]:
    """(the texts that may be the program, in order; the steps it took to find them)."""
    steps: list[str] = []
    if not inside_fence and (given := wrappings.in_document(text) or wrappings.in_call(text)):
        return _listings([fences.Block(part) for part in given], steps), ["document", *steps]
    found = fences.code_blocks(text, inside_fence=inside_fence)
    blocks = [
        block
        for block in found
        if block.language in (*fences.PYTHON, "diff", "patch", "json", "markdown", "md", "text")
    ]
    named = [block for block in blocks if block.language in fences.PYTHON]
    listed = _listings(named or blocks, steps) or _listings(blocks, steps)
    if not listed:
        listed = [block.text for block in found if block not in blocks and _defines(block.text)]
    if listed:
        return listed, steps
    if given := wrappings.in_tags(text):
        return _listings([fences.Block(part) for part in given], steps), ["document", *steps]
    return ([], []) if found else (_unfenced(text), ["unfenced"])


def _listings(blocks: list[fences.Block], steps: list[str]) -> list[str]:
    """The programs the blocks show, whatever they are wrapped in."""
    programs: list[str] = []
    for block in blocks:
        given = [] if block.language != "json" and _defines(block.text) else wrappings.in_document(block.text)
        if given:
            steps.append("document")
            programs += [part for text in given for part in _inner(text)]
            continue
        if block.language == "json":
            continue
        inner = _inner(block.text)
        for text in inner:
            shown, step = wrappings.unwrapped(text, block.language)
            if block.language in ("text", "markdown", "md") and not _defines(shown):
                continue
            steps += [step] if step else []
            clean = cleaned(shown)
            if clean != shown:
                steps.append("characters")
                shown, step = wrappings.unwrapped(clean, block.language)
            programs.append(shown)
    return [text for text in programs if text.strip()]


def _inner(text: str) -> list[str]:
    """The blocks inside a text that is Markdown itself, else the text."""
    if "```" in text and parsed(dedent(text)) is None:
        return [block.text for block in fences.code_blocks(text) if block.language in fences.PYTHON] or [text]
    return [text]


def _defines(text: str) -> bool:
    tree = parsed(dedent(text))
    return tree is not None and any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) for node in tree.body
    )


def _unfenced(text: str) -> list[str]:
    """The runs of lines that look like code and parse; prose between them is left out."""
    text = visible(text) if parsed(text) is None else text
    lines = text.split("\n")
    runs: list[str] = []
    end = starts = 0
    for index, line in enumerate(lines):
        if index < end or starts >= MAX_STARTS or not _CODE_LINE.match(line):
            continue
        starts += 1
        rest = cleaned("\n".join(lines[index:])) if runs == [] and "&" in text else "\n".join(lines[index:])
        candidate, _ = trim(rest)
        if parsed(candidate) is not None:
            runs.append(candidate)
            end = index + candidate.count("\n") + 1
    if runs:
        return runs
    shown, _ = wrappings.unwrapped(text)
    if shown != text and error_line(shown) is None:
        return [shown]
    if (clean := cleaned(text)) != text and _defines(clean):
        return [clean]
    others = [block.text for block in fences.other_code(text) if _defines(block.text)]
    return others or ([text] if any(line.startswith((" ", "\t")) for line in lines) else [])


# ------------------------------------------------------------- mending what was left out


def _mended(code: str, prompt: str, name: str | None, method: str) -> tuple[str, list[str]]:
    steps: list[str] = []
    if not method and (body := mend.with_signature(code, prompt, name)) is not None:
        code = body
        steps.append("signature")
    if (whole := mend.with_imports(code, prompt)) is not None:
        code = whole
        steps.append("imports")
    return code, steps
