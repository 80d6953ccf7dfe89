"""The function or class that a task's words ask for."""

from __future__ import annotations

import keyword
import re

MAX_CHARS = 1_000_000

_VERBS = r"(?:write|implement|create|define|code|make|build|complete|provide|finish|add|develop|design|need|want|fix)"
_NOT_NAMES = frozenset(
    re.findall(
        r"\S+",
        """
        that which to and or for of in the a an it is as with from this called named returning taking using python
        python3 O Theta e.g i.e e g you your must should can will has have does do definition def class
        """,
    )
)
_DEFINED = re.compile(r"^(?:async )?def (\w+)\(", re.M)
_CLASS = re.compile(r"^class (\w+)\b[^\n]{0,200}:", re.M)
_NAMED = (
    re.compile(
        r"\b(?:function|class|method|coroutine|generator)\s+(?:is\s+|be\s+)?(?:called|named)\s+[`'\"*]{0,2}(\w+)", re.I
    ),
    re.compile(r"\b(?:called|named|name it|call it)\s+[`'\"*]{0,2}(\w+)[`'\"*]{0,2}\s*\(", re.I),
    re.compile(r"\b(?:function|coroutine|generator|class|def)\s+[`'\"*]{0,2}(\w+)[`'\"*]{0,2}\s*\(", re.I),
    re.compile(rf"\b{_VERBS}\b[^.\n(]{{0,60}}?[`'\"*]{{0,2}}\b(\w+)\(", re.I),
    re.compile(r"\b(?:function|coroutine|class)\s+(?:`(\w+)`|'(\w+)'|\"(\w+)\"|\*\*(\w+)\*\*)", re.I),
    re.compile(r"\b(?:called|named|name it|call it)\s+(?:`(\w+)`|'(\w+)'|\"(\w+)\"|\*\*(\w+)\*\*)", re.I),
    re.compile(r"\bclass\s+([A-Z]\w*)\b"),
    re.compile(rf"\b{_VERBS}\s+(?:a |an |the )?(?:python )?(?:function|class)\s+(\w*_\w+)\b", re.I),
    re.compile(r"\b(?:function|class)\s+(?:called|named)\s+(\w+)", re.I),
)
_SIGNATURE = re.compile(r"(?<!\w)([a-z_]\w{1,60})\(([^()\n]{1,200})\)")
_PARAMETER = re.compile(r"\*{0,2}[A-Za-z_]\w*\s*(?:[:=].*)?$")


def named(prompt: str) -> str | None:
    """The function or class that `prompt` defines or names: of several definitions the last, as helpers come before it."""
    text = prompt[:MAX_CHARS]
    for pattern in (_DEFINED, _CLASS):
        if names := pattern.findall(text):
            return str(names[-1])
    head = text[:20_000]
    for pattern in _NAMED:
        for match in pattern.finditer(head):
            name = next((group for group in match.groups() if group), "")
            if _is_name(name):
                return name
    for match in _SIGNATURE.finditer(head):
        if _is_name(match[1]) and all(_PARAMETER.match(each.strip()) for each in match[2].split(",")):
            return match[1]
    return None


def _is_name(name: str) -> bool:
    return (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and name not in _NOT_NAMES
        and name.lower() not in _NOT_NAMES
        and name not in ("print", "input", "assert", "main")
    )
