# ruff: noqa: RUF001
"""The answer that words give to a call: "f(2) gives 4", "→ 4", "should be [1, 2]", "raises ValueError"."""

from __future__ import annotations

import ast
import builtins
import re
from typing import NamedTuple

from crucible.languages.python import syntax
from crucible.security.judge.expressions import balanced, concrete, ends, parse_expression, string_end

CONSTRUCTORS = frozenset(
    ("set", "frozenset", "tuple", "list", "dict", "bytes", "bytearray", "float", "complex", "range")
)
"""Builtins that write out a value; others, as len or print, compute or do something."""


MAX_BEFORE = 300
"""Characters before a call in which its answer is looked for."""


class Answer(NamedTuple):
    """`source`: the test, empty where none could be read. `length`: how much of the text was used."""

    source: str = ""
    length: int = 0
    looks_like_one: bool = False


_AUXILIARY = r"(?:(?:should|must|shall|will|would|is (?:expected|supposed) to|has to|needs to|ought to|can)\s+(?:also |then |always )?)?"  # noqa: E501
_VERB = (
    r"(?:returns?|gives?(?: back)?|yields?|produces?|outputs?|evaluates? to|results? in|equals?(?: to)?|is equal to|is|be|"
    r"becomes?|computes?|are|got|get)"
)
_CONNECTOR = re.compile(
    rf"[`*\s]*(?:,\s*(?:it\s+|which\s+)?)?(?:#\s*)?(?:{_AUXILIARY}{_VERB}\b(?:\s+(?:to|as))?\s*[:=]?|-+>|→|⇒|⟶|↦|=+>|===?|=|:)[\s`*]*",
    re.I,
)
_COMMENT = re.compile(r"[`\s]*#\s*")
_RAISES = re.compile(rf"[`*\s]*{_AUXILIARY}(?:raises?|throws?)\s+(?:an?\s+|the\s+)?[`*]*([A-Z]\w*)[`*]*", re.I)
_PRINTS = re.compile(rf"[`*\s]*{_AUXILIARY}(?:prints?|writes?)\s*:?[\s`*]*", re.I)
_KIND = re.compile(
    r"(?:the |an? )?(?:string|list|tuple|number|integer|int|float|set|dict|dictionary|boolean|value)\s+(?=[-\[({\d'\"“`TFN])",
    re.I,
)
_EMPTY = re.compile(r"(?:the |an )empty (string|list|tuple|dictionary|dict|set)\b", re.I)
_EMPTIES = {"string": "''", "list": "[]", "tuple": "()", "dictionary": "{}", "dict": "{}", "set": "set()"}
_NUMBER = re.compile(r"[-+]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][-+]?\d+)?j?)")
_WORD = re.compile(r"(True|False|None|true|false|null|nothing|inf|nan)\b")
_WORDS = {
    "true": "True",
    "false": "False",
    "null": "None",
    "nothing": "None",
    "inf": "float('inf')",
    "nan": "float('nan')",
}
_MAY_FOLLOW = re.compile(
    r"[`*'\"”’)\]]*(?:$|[.!?](?:\s|$|[`*)])|[,;:!?)—|]|\s*(?:$|\n|[#(|—–>;,&]|//|-\s|and\b|but\b|because\b|since\b|as\b|for\b"
    r"|while\b|whereas\b|not\b|then\b|so\b|e\.g|i\.e|assert\b|also\b|when\b|where\b|[A-Za-z_][\w.]*\())"
)
_TYPES = frozenset(
    [
        "int",
        "str",
        "float",
        "bool",
        "list",
        "dict",
        "set",
        "tuple",
        "bytes",
        "object",
        "complex",
        "None",
        "Any",
        "List",
        "Dict",
        "Set",
        "Tuple",
        "Optional",
        "Iterable",
        "Iterator",
    ]
)


def after_call(call: str, text: str, next_line: str, *, is_prompt: bool) -> Answer:
    """Return what follows a call with its arguments. is_prompt: `>>>` stands before it, so that the bare answer may follow, or
    stand on the next line."""
    if match := _RAISES.match(text):
        if _is_exception(match[1]) and _MAY_FOLLOW.match(text[match.end() :] or ""):
            return Answer(_raising(call, match[1]), match.end(), True)
        return Answer("", match.end(), True)
    if match := _PRINTS.match(text):
        found = _value_at(text, match.end())
        if found is not None:
            printed = _printed(found[0])
            if printed:
                return Answer(f">>> {call}\n{printed}", found[1], True)
        return Answer("", match.end(), True)
    for connector in (_CONNECTOR, _COMMENT) if is_prompt else (_CONNECTOR,):
        match = connector.match(text)
        if match is None:
            continue
        found = _value_at(text, match.end())
        if found is not None:
            return Answer(_equal(call, found[0]), found[1], True)
        if text[match.end() :].strip():
            return Answer("", match.end(), not _is_prose(match[0], text[match.end() :]))
        if next_line.strip():  # "f(2) gives:" and the answer below
            below = value(next_line.strip())
            return Answer(_equal(call, below), match.end(), True) if below is not None else Answer()
        return Answer()
    if not is_prompt:
        return Answer()
    if text.strip("`* \t."):
        found = _value_at(text, len(text) - len(text.lstrip()))
        return Answer(_equal(call, found[0]), found[1], True) if found else Answer("", 0, True)
    below = value(next_line.strip())
    return Answer(_equal(call, below), len(text), True) if below is not None else Answer("", 0, True)


_TURNED = re.compile(r"\s*[`*]*\s*(?:===?|(for|from|on|when called (?:as|with)|when given|given|with))\s[\s`*]*$", re.I)
_SAYS = re.compile(rf"\b(?:{_VERB}|expect(?:s|ed)?|answers?|results?)\b", re.I)


def before_call(call: str, text: str) -> Answer:
    """Return what stands before a call, where the answer comes first: "4 == f(2)", "returns 4 for f(2)"."""
    joint = _TURNED.search(text[-MAX_BEFORE:])
    if joint is None:
        return Answer()
    clause = re.split(r"[.;!?]\s", text[-MAX_BEFORE:][: joint.start()])[-1]
    for place in re.finditer(r"(?<![^\s(`*|])[^\s`*(]", clause):
        said = clause[: place.start()].rstrip("`* (|")
        found = _plain(clause, place.start())
        if found is None or found[1] != len(clause) or re.search(r"[-+*/%<>=]$|\bnot$", said):
            continue
        if joint[1] is None or _SAYS.search(said):
            return Answer(_equal(call, found[0]), 0, True)
    return Answer()


def in_table(call: str, text: str) -> Answer:
    """Return what stands in the next cell of a Markdown table's row: "| f(2) | 4 |"."""
    cell = re.match(r"[`*\s]*\|([^|]*)\|", text)
    found = value(cell[1].strip(" `*")) if cell is not None else None
    if cell is None or not cell[1].strip():
        return Answer()
    return Answer(_equal(call, found) if found is not None else "", cell.end() - 1, True)


def value(text: str) -> str | None:
    """The Python source of the value that is the whole of `text`, a full stop aside; None where it is none."""
    found = _value_at(text, 0)
    return found[0] if found is not None and not text[found[1] :].strip("`*. ") else None


def _equal(call: str, wanted: str) -> str:
    if wanted == "float('nan')":
        return f"_answer = {call}\nassert _answer != _answer"
    return f"assert {call} == {wanted}"


def _raising(call: str, name: str) -> str:
    body = f"try:\n    {call}\n    _raised = False\nexcept {name}:\n    _raised = True\n"
    return f"{body}assert _raised, {f'{call} is to raise {name}'!r}"


def _is_exception(name: str) -> bool:
    known = getattr(builtins, name, None)
    return name.endswith(("Error", "Exception", "Warning")) or (
        isinstance(known, type) and issubclass(known, BaseException)
    )


def _printed(source: str) -> str:
    try:
        printed = str(syntax.literal(source))
    except (ValueError, SyntaxError, TypeError):
        return ""
    return printed if printed.strip() and "\n\n" not in printed else ""


def _is_prose(connector: str, rest: str) -> bool:
    """Whether what follows is no try at an answer: a type after an arrow, a colon's sentence, "is the n-th"."""
    word = re.match(r"[\w.]*", rest.lstrip("`*"))
    first = word[0] if word else ""
    if connector.strip(" `*") in ("->", "→", ":") and (first in _TYPES or connector.strip(" `*") == ":"):
        return True
    return (
        re.match(
            r"(?:the|a|an|called|defined|used|in|on|at|to|one|done|this|that|its|part|valid|invalid|ok)\b", rest, re.I
        )
        is not None
    )


def _value_at(text: str, start: int) -> tuple[str, int] | None:
    """(Python source, place after it) of the value at `start`, if what follows can follow a value."""
    start += len(text[start:]) - len(text[start:].lstrip(" \t`*"))
    if match := _KIND.match(text, start):
        start = match.end()
    start += len(text[start:]) - len(text[start:].lstrip(" \t`*"))
    found = _plain(text, start)
    if (
        found is not None
        and _MAY_FOLLOW.match(text[found[1] :])
        and not re.match(r",\d{3}\b|\.\.\.|…", text[found[1] :])
    ):
        return found
    return _computed(text, start)


def _plain(text: str, start: int) -> tuple[str, int] | None:
    if match := _EMPTY.match(text, start):
        return _EMPTIES[match[1].lower()], match.end()
    if match := _WORD.match(text, start):
        return _WORDS.get(match[1], match[1]), match.end()
    opener = text[start : start + 1]
    if opener in ("“", "‘"):
        end = text.find("”" if opener == "“" else "’", start + 1)
        return (repr(text[start + 1 : end]), end + 1) if end > 0 else None
    prefix = re.match(r"(?:[rRbBuU]{0,2})(?=['\"])", text[start : start + 3])
    if prefix:
        end = string_end(text, start + prefix.end(), len(text))
        return _literal(text, start, end)
    if opener in ("[", "(", "{"):
        closed = balanced(text, start, 2_000)
        return _literal(text, start, closed) if closed is not None else None
    if match := re.match(r"([a-z]+)\(", text[start : start + 12]):
        closed = balanced(text, start + match.end() - 1, 2_000)
        if match[1] in CONSTRUCTORS and closed is not None:
            node = parse_expression(text[start:closed])
            if node is not None and concrete(node):
                return text[start:closed], closed
        return None
    match = _NUMBER.match(text, start)
    return _literal(text, start, match.end()) if match else None


def _literal(text: str, start: int, end: int) -> tuple[str, int] | None:
    source = text[start:end]
    try:
        syntax.literal(source)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        node = parse_expression(source) if source[:1] in "[({" else None
        return (source, end) if node is not None and _is_value(node) else None
    return source, end


def _is_value(node: ast.expr) -> bool:
    called = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
    return concrete(node) and all(isinstance(part, ast.Name) and part.id in CONSTRUCTORS for part in called)


def _computed(text: str, start: int) -> tuple[str, int] | None:
    """A value that is worked out, as 2 * 3 or [0] * 4; not a comparison, which says something else."""
    clause = re.match(r"[^\n;`]{1,200}", text[start:])
    if clause is None or not re.match(r"[-\d\[('\"{]", clause[0]):
        return None
    for end in ends(clause[0])[:12]:
        source = clause[0][:end].strip()
        node = parse_expression(source)
        if isinstance(node, ast.BinOp | ast.UnaryOp) and _is_value(node) and _MAY_FOLLOW.match(text[start + end :]):
            return source, start + end
    return None
