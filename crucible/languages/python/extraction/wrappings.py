"""Programs that come in something else than a code block: JSON, tool calls, tags, diffs, listings, sessions."""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from crucible.languages.python import syntax
from crucible.languages.python.extraction.source import dedent, parsed

_KEYS = re.compile(
    r"code|source|program|solution|script|python|answer|content|implementation|completion|function|text", re.I
)
_CALL = re.compile(
    r"<(tool_call|function_call|tool_use|function_calls)>(.*?)(?:</\1>|\Z)|\[TOOL_CALLS\](.*)|<\|python_tag\|>(.*)",
    re.DOTALL,
)
_PARAMETER = re.compile(r"<parameter(?:=|\s+name=)\"?\w+\"?>\n?(.*?)(?:</parameter>|\Z)", re.DOTALL)
_TAGS = re.compile(
    r"[<\[](pre|code|python|answer|solution|execute|program|script|output|response|final|begin)\b[^<>\]\n]{0,80}[>\]]\n?"
    r"(.*?)(?:[<\[](?:/\1|done)[>\]]|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_NUMBERED = re.compile(r"[ \t]*[Ll]?(\d{1,4})(?:[ \t]*[|:.)│┃→](?!=)|(?=[ \t]|$))(.*)$")
_PATCH_HEAD = re.compile(
    r"^(?:diff --git |index [0-9a-f]+\.\.|--- |\+\+\+ |@@ .*@@|\\ No newline|new file mode|old mode|new mode)"
)
MAX_DEPTH = 8


# ------------------------------------------------------------- documents with a program in them


def in_document(text: str) -> list[str]:
    """The programs in `text` where it is JSON (or a Python literal like it), whole or cut off; else none."""
    text = text.strip()
    if text[:1] not in ("{", "["):
        return []
    document = _decoded(text)
    return [found for found in _strings(document, 0) if _is_program(found)] if document is not None else []


def in_call(answer: str) -> list[str]:
    """The programs that tool calls in the answer carry."""
    found = []
    for match in _CALL.finditer(answer):
        body = next(group for group in match.groups()[1:] if group is not None).strip()
        found += in_document(body) or [part for part in _PARAMETER.findall(body) if _is_program(part)]
        if match[0].startswith("<|python_tag|>") and not found and _is_program(body):
            found.append(body)
    if not found and "<parameter" in answer:
        found = [part for part in _PARAMETER.findall(answer) if _is_program(part)]
    return found


def in_tags(answer: str) -> list[str]:
    """Programs between <code>, [PYTHON] and other tags, and JSON in the middle of prose."""
    found = []
    for match in _TAGS.finditer(answer):
        body = html.unescape(re.sub(r"</?(?:pre|code)\b[^<>]*>", "", match[2]))
        found += [body] if _is_program(body) else []
    if not found:
        for start in [match.start() for match in re.finditer(r"[{\[]\s*[\"'{]", answer)][:20]:
            if programs := in_document(answer[start:]):
                return programs
    return found


def _decoded(text: str) -> Any:  # noqa: ANN401
    decoder = json.JSONDecoder(strict=False)
    for closing in ("", '"}', '"}}', "}", "}}", '"]}', '"]'):
        try:
            return decoder.raw_decode(text + closing)[0]
        except (ValueError, RecursionError):
            continue
    if parsed(text) is None:
        return None
    try:
        return syntax.literal(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _strings(value: Any, depth: int) -> Iterator[str]:  # noqa: ANN401
    """Texts in a document, those under a key that names code last: the last one counts."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        named = sorted(value.items(), key=lambda item: bool(_KEYS.search(str(item[0]))))
        for _, part in named:
            yield from _strings(part, depth + 1)
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield "\n".join(part.rstrip("\n") for part in value)
        for part in value:
            yield from _strings(part, depth + 1)
    elif isinstance(value, str):
        inner = value.strip()
        decoded = _decoded(inner) if inner[:1] == "{" else None
        if isinstance(decoded, dict):
            yield from _strings(decoded, depth + 1)
        else:
            yield value


def _is_program(text: str) -> bool:
    if "```" in text:
        return True
    lines = [line for line in text.split("\n") if line.strip()]
    tree = parsed(dedent(text))
    if tree is None:
        return bool(re.search(r"^[ \t]*(?:def|class|import|from|async def) \w", text, re.MULTILINE))
    return any(not isinstance(node, ast.Expr) for node in tree.body) or (
        len(lines) > 0 and any(isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) for node in tree.body)
    )


# ------------------------------------------------------------- listings


def unwrapped(code: str, language: str = "") -> tuple[str, str]:
    """(the program a listing shows, the step's name): of a session, a diff or numbered lines. Anything else stays."""
    if code.lstrip().startswith(">>> "):
        return _from_session(code), "session"
    if parsed(dedent(code)) is not None:
        first, _, rest = code.lstrip().partition("\n")
        return (rest, "") if first.strip().lower() in ("python", "python3", "py") else (code, "")
    if (patched := _from_patch(code, tagged=language in ("diff", "patch"))) is not None:
        return patched, "patch"
    if (plain := _without_numbers(code)) is not None:
        return plain, "numbers"
    first, _, rest = code.lstrip().partition("\n")
    return (rest, "") if re.fullmatch(r"(?:python3?|py)\s*:?", first.strip(), re.IGNORECASE) else (code, "")


def _from_session(code: str) -> str:
    """A pasted `>>>` session without its prompts and outputs."""
    lines = dedent(code.strip("\n")).split("\n")
    return "\n".join(line[4:] for line in lines if line.startswith((">>> ", "... ")) or line.rstrip() == "...")


def _from_patch(code: str, *, tagged: bool) -> str | None:
    """The new side of a diff, as far as it is shown."""
    lines = code.split("\n")
    body = [line for line in lines if not _PATCH_HEAD.match(line)]
    added = sum(line.startswith("+") for line in body)
    if not added or not (tagged or len(body) < len(lines) or all(line[:1] in ("+", "-", " ", "") for line in body)):
        return None
    marked = all(line[:1] in ("+", "-", " ", "") for line in body)
    new = [line[1:] if marked or line[:1] in ("+", " ") else line for line in body if not line.startswith("-")]
    return "\n".join(new)


def _without_numbers(code: str) -> str | None:
    """A listing without its line numbers, which follow one another; None where there are none."""
    lines = [line for line in code.split("\n") if line.strip()]
    found = [_NUMBERED.match(line) for line in lines]
    whole = [match for match in found if match is not None]
    if len(whole) < 2 or len(whole) < len(lines):
        return None
    numbers = [int(match[1]) for match in whole]
    rising = all(before < after for before, after in pairwise(numbers))
    if not rising or numbers[-1] - numbers[0] > 2 * len(numbers):
        return None
    return dedent("\n".join(match[2] for match in whole))
