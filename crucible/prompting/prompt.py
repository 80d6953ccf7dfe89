"""What the model is asked: the task with its visible tests, solved examples, and for a repair what was found."""

from __future__ import annotations

from collections.abc import Sequence

from crucible.languages.python.constraints import sentence
from crucible.prompting.recipe import INSIDE_FENCE, Recipe
from crucible.prompting.templates import fence, render
from crucible.text import plain
from crucible.types import Attempt, Diagnosis, Hit, Message, Task

MAX_VISIBLE_CHARS = 1500
"""Tests shown to the model are cut here, whole lines only: a small model reads no more, and prefill costs time."""

MAX_FINDINGS = 3


def direct_prompt(task: Task, recipe: Recipe) -> tuple[Message, ...]:
    """Return what a model is asked that sees the task alone; the recipe's opening of the answer comes last."""
    return tuple(solve_prompt(task, recipe))


def solve_prompt(
    task: Task,
    recipe: Recipe,
    shots: Sequence[Hit] = (),
    repair_of: Attempt | None = None,
    diagnosis: Diagnosis | None = None,
) -> list[Message]:
    """Write a prompt: system, solved examples, the task, and for a repair the failing answer and what was found."""
    messages = [Message(role="system", content=recipe.system)] if recipe.system else []
    prefill = recipe.prefill or ""
    for shot in reversed(shots):  # the likest last, next to the task
        messages.append(Message(role="user", content=_ask(Task(prompt=shot.text))))
        messages.append(Message(role="assistant", content=_answer(prefill, shot.code)))
    messages.append(Message(role="user", content=_ask(task)))
    if repair_of is not None:
        errors = [finding for finding in repair_of.findings if finding.severity == "error"][:MAX_FINDINGS]
        messages.append(Message(role="assistant", content=_answer(prefill, repair_of.code)))
        messages.append(Message(role="user", content=render("repair", findings=errors, diagnosis=diagnosis)))
    if recipe.prefill:
        messages.append(Message(role="assistant", content=INSIDE_FENCE if repair_of else recipe.prefill))
    return messages


def _ask(task: Task) -> str:
    return render(
        "solve",
        prompt=task.prompt.strip(),
        tests=visible_tests(task),
        runs=visible_runs(task),
        constraints=(*task.constraints, *map(sentence, task.rules)),
        entry_point=task.entry_point,
        hint=task.hint,
        language=task.language.capitalize(),
    )


def _answer(prefill: str, code: str) -> str:
    """An answer as the model is to believe it gave it: its own opening, then the program, which cannot end the block."""
    ticks = fence(code)
    opening = prefill.removesuffix(INSIDE_FENCE) if prefill.endswith(INSIDE_FENCE) else ""
    return f"{opening}{ticks}python\n{plain(code.rstrip())}\n{ticks}"


def reads_stdin(task: Task) -> bool:
    """Return whether the task wants a whole program: its examples are texts on standard input and output."""
    texts = all(isinstance(part, str) for example in task.examples for part in (example.input, example.output))
    return bool(task.examples) and task.entry_point is None and texts


def visible_tests(task: Task) -> str:
    """The statements the model sees as tests, cut to whole lines; empty where the prompt already shows them."""
    shown: list[str] = []
    if task.tests.strip() and task.tests.strip() not in task.prompt:
        shown += task.tests.strip().split("\n")
    name = task.entry_point or "solution"
    for example in () if reads_stdin(task) else task.examples:
        if isinstance(example.input, list):
            arguments = ", ".join(repr(value) for value in example.input)
        elif isinstance(example.input, dict):
            arguments = ", ".join(f"{key}={value!r}" for key, value in example.input.items())
        else:
            arguments = repr(example.input)
        shown.append(f"assert {name}({arguments}) == {example.output!r}")
    return "\n".join(_within(shown, MAX_VISIBLE_CHARS))


def visible_runs(task: Task) -> str:
    """The pairs of standard input and output the model sees, whole pairs only; empty for any other task."""
    if not reads_stdin(task):
        return ""
    shown = [f"Input:\n{_ended(example.input)}Output:\n{_ended(example.output)}" for example in task.examples]
    return "\n".join(_within(shown, MAX_VISIBLE_CHARS)).strip("\n")


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _within(texts: Sequence[str], chars: int) -> list[str]:
    """The first texts that together have at most `chars` characters."""
    kept: list[str] = []
    for text in texts:
        if sum(map(len, kept)) + len(text) > chars:
            break
        kept.append(text)
    return kept


AFTER_THE_PROGRAM = ("\nassert ", "\nprint(", "\nif __name__", "\n# Test", "\n# Example")
"""What small models write once a function is done: checks and demonstrations. Nobody needs those tokens."""


def stops(task: Task, recipe: Recipe) -> tuple[str, ...]:
    """Stop at the fence the recipe opened; where a function or class is wanted, at the first line after it too."""
    if not recipe.opens_fence:
        return ()
    return ("\n```", *(AFTER_THE_PROGRAM if task.entry_point else ()))
