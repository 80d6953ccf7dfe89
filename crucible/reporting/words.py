"""What the report says in words: figures as text, and what the record's short names mean."""

from __future__ import annotations

NO_DIFFICULTY = "not graded"
UNCLASSIFIED = "unclassified"
NOTHING = "—"

FAILURES = {
    "no-code": "The answer held no program.",
    "syntax": "The program does not parse.",
    "refused": "The validator or the approval policy did not let it run.",
    "missing-entry": "What the tests call is not defined.",
    "runtime": "It raised an exception.",
    "wrong-answer": "It ran and returned something else than was expected.",
    "timeout": "It took longer than its time limit.",
    "memory": "It took more memory than its limit.",
    "constraint": "It breaks a rule of the task on how it is to be written.",
    "security": "It did what the sandbox does not allow.",
    "hidden-only": "Every visible test passed, a hidden one did not: nothing in the loop could have seen it.",
    "low-trust": "It passed tests that had to share its process, which it could have told anything: no proof.",
    "overflow": "The task does not fit the model's context: nothing was drawn.",
}
"""By what the benchmark writes down; a cell has the worst thing that its tests met."""

STEPS = {
    "unfenced": "no code fence: the lines that parse were taken",
    "session": "a pasted interpreter session: its prompts and outputs were dropped",
    "trimmed": "trailing lines that do not parse were dropped",
    "signature": "a bare function body was put under the task's signature",
    "imports": "imports that the task gives and the answer uses were added",
    "pruned": "self-checks and demonstrations at the top level were dropped",
    "renamed": "the function was given the name that the tests call",
    "thinking": "what the model wrote while thinking was left out",
    "document": "the program was taken out of JSON, a tool call or tags",
    "patch": "the new side of a diff was taken",
    "numbers": "line numbers were dropped",
    "characters": "invisible or typographic characters and HTML escapes were made plain",
    "method": "a method was given for the function: the name that the tests call stands for it",
    "class": "functions were given for the methods: they were put into the class that the tests make",
    "repetition": "the answer repeated itself without end: the repetition was cut",
}
"""What languages/python/extract.py does to an answer, by the name it gives the step."""


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def fraction(value: float | None) -> str:
    """A figure from 0 to 1 that is no share of anything."""
    return NOTHING if value is None else f"{value:.3f}"


def points(difference: float) -> str:
    """A difference of shares, in percentage points and always with its sign."""
    return f"{100 * difference:+.1f}"


def count(number: float | None) -> str:
    """A whole number with its thousands apart; a dash for none."""
    return NOTHING if number is None else f"{number:,.0f}"


def decimal(number: float | None) -> str:
    return NOTHING if number is None else f"{number:,.1f}"


def brief(number: float) -> str:
    """Two or three digits, as a label in a plot has room for."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number >= 10 else f"{number:.2g}"


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def together(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
