"""Our rules, and findings made from them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from crucible.text import one_line
from crucible.types import Feedback, FindingKind

Severity = Literal["info", "warning", "error"]

MAX_MESSAGE = 300
"""Characters of one message; what it quotes from the program can be of any length."""


class Rule(NamedTuple):
    severity: Severity
    meaning: str


RULES: dict[str, Rule] = {
    "CR101": Rule("error", "larger than a program may be"),
    "CR102": Rule("error", "holds a null byte"),
    "CR103": Rule("error", "nested too deeply, or a name too long, for Python's parser to be trusted with"),
    "CR104": Rule("error", "holds half a surrogate pair, which no file can hold"),
    "CR105": Rule("error", "declares an encoding other than UTF-8 (PEP 263): as a file it would be another program"),
    "CR106": Rule("error", "bidirectional controls or tag characters: it reads other than it runs"),
    "CR107": Rule("warning", "invisible or control characters"),
    "CR201": Rule("error", "a name that looks like another name of the program, or like a builtin"),
    "CR202": Rule("error", "a name that Python reads as another, plain one (NFKC)"),
    "CR203": Rule("warning", "a name that mixes scripts, or reads like Latin letters and is none"),
    "CR301": Rule("warning", "imports a module that the policy does not allow freely"),
    "CR302": Rule("warning", "imports by a call, a computed name or a file"),
    "CR303": Rule("warning", "starts or ends processes"),
    "CR401": Rule("error", "executes text or bytes that it decodes first"),
    "CR402": Rule("warning", "executes text, or hands on what does (exec, eval, compile)"),
    "CR403": Rule("warning", "looks up an attribute by a name put together at run time"),
    "CR501": Rule("warning", "reaches into the interpreter by special attributes (__globals__, __subclasses__, …)"),
    "CR502": Rule("warning", "walks or traces frames"),
    "CR503": Rule("warning", "searches the heap (gc)"),
    "CR504": Rule("warning", "changes builtins, or how modules are found"),
    "CR601": Rule("warning", "makes a value of enormous size from constants"),
}
UNREADABLE = ("CR101", "CR102", "CR103", "CR104")


def finding(rule: str, message: str, line: int | None = None, column: int | None = None) -> Feedback:
    kind = FindingKind.SYNTAX if rule in UNREADABLE else FindingKind.SECURITY
    return Feedback(
        kind=kind,
        severity=RULES[rule].severity,
        message=short(message),
        line=line,
        column=column,
        rule=rule,
    )


def short(message: str) -> str:
    """On one line, whatever it quotes, and cut."""
    return one_line(message, MAX_MESSAGE)
