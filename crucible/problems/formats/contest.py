"""Contest problems, whose programs read stdin and print: APPS and TACO ({input_output: {inputs, outputs}}, where `fn_name`
names a function to call instead) and CodeContests ({public_tests, private_tests}).

Visible are CodeContests' public tests; of the others the cases that the statement shows, else the first."""

from __future__ import annotations

from typing import Any

from crucible.problems.fields import Fields
from crucible.problems.problem import Problem
from crucible.reading import parse_json
from crucible.types import Example, HiddenTests, Limits, Task

PYTHON3 = 3
"""CodeContests' number for the language."""
MAX_MUTANTS = 3
SINGLE = """def check(args, kwargs, expected, actual):
    actual = list(actual) if isinstance(actual, tuple) else actual
    return actual == expected or actual == [expected]
"""
"""APPS wraps some results in a list of one and others are such lists: its own checker takes either."""


def matches(row: dict[str, Any]) -> bool:
    return "input_output" in row or row.keys() >= {"public_tests", "private_tests"}


def read(row: dict[str, Any], origin: str) -> Problem:
    fields = Fields(row, origin)
    prompt = next((fields.text(name) for name in ("question", "description", "prompt") if fields.text(name)), "")
    if not prompt.strip():
        raise fields.error("question", "(or `description`) is missing or empty")
    if "input_output" in row:
        visible, hidden, entry = _cases(fields, prompt)
        solutions = _list(fields, "solutions")
    else:
        visible = _pairs(fields, "public_tests")
        hidden, entry = _pairs(fields, "private_tests") + _pairs(fields, "generated_tests"), None
        solutions = _programs(fields, "solutions")
    if not visible + hidden:
        raise fields.error("input_output" if "input_output" in row else "public_tests", "has no case")
    starter = fields.text("starter_code")
    title = fields.word("name") or fields.word("title")
    return Problem(
        task=Task(
            id=next((fields.word(name) for name in ("id", "problem_id", "task_id") if fields.word(name)), title),
            title=title,
            prompt=f"{prompt.rstrip()}\n\n{starter}\n" if starter.strip() else prompt,
            entry_point=entry,
            checker=SINGLE if entry and _all_single(fields) else "",
            examples=visible,
            limits=_limits(fields),
            difficulty=fields.word("difficulty"),
            source=fields.word("source") or fields.word("url"),
        ),
        hidden=HiddenTests(examples=hidden or visible),
        solutions=solutions,
        mutants=_programs(fields, "incorrect_solutions")[:MAX_MUTANTS],
        origin=origin,
    )


def _cases(fields: Fields, prompt: str) -> tuple[tuple[Example, ...], tuple[Example, ...], str | None]:
    """(visible, all, the function they call if any)."""
    data = fields.data["input_output"]
    if isinstance(data, str):
        data = parse_json(data or "{}", f"{fields.origin}: `input_output`")
    if not isinstance(data, dict):
        raise fields.error("input_output", "must be an object with `inputs` and `outputs`")
    inner = Fields(data, fields.origin)
    entry = inner.text("fn_name") or None
    found = _pairs(Fields({"input_output": data}, fields.origin), "input_output", called=entry is not None)
    shown = tuple(
        case for case in found if entry is None and case.input.strip() in prompt and case.output.strip() in prompt
    )
    return shown or found[:1], found, f"Solution().{entry}" if entry and "class Solution" in prompt else entry


def _pairs(fields: Fields, name: str, *, called: bool = False) -> tuple[Example, ...]:
    data = fields.typed(name, dict) or {}
    inputs, outputs = (
        data.get(one, data.get(other)) or [] for one, other in (("inputs", "input"), ("outputs", "output"))
    )
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise fields.error(name, "must hold inputs and outputs, lists of the same length")
    if called:
        return tuple(Example(input=one, output=_single(other)) for one, other in zip(inputs, outputs, strict=True))
    return tuple(Example(input=_text(one), output=_text(other)) for one, other in zip(inputs, outputs, strict=True))


def _all_single(fields: Fields) -> bool:
    """Whether every result is a list of one, so that the file does not say if the list belongs to it."""
    data = fields.data["input_output"]
    data = parse_json(data or "{}", fields.origin) if isinstance(data, str) else data
    outputs = data.get("outputs", data.get("output")) or []
    return all(isinstance(each, list) and len(each) == 1 for each in outputs)


def _single(output: Any) -> Any:  # noqa: ANN401
    """APPS wraps a call's result in a list of one."""
    return output[0] if isinstance(output, list) and len(output) == 1 else output


def _text(value: Any) -> str:  # noqa: ANN401
    """TACO gives some inputs as their lines."""
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)


def _list(fields: Fields, name: str) -> tuple[str, ...]:
    value = fields.data.get(name)
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = parse_json(value, f"{fields.origin}: `{name}`")
    return Fields({name: value}, fields.origin).texts(name)


def _programs(fields: Fields, name: str) -> tuple[str, ...]:
    """CodeContests' {language: [number], solution: [text]}, the Python 3 ones."""
    data = Fields(fields.typed(name, dict) or {}, fields.origin)
    languages, texts = data.typed("language", list) or [], data.texts("solution")
    return tuple(text for language, text in zip(languages, texts, strict=False) if language in (PYTHON3, "PYTHON3"))


def _limits(fields: Fields) -> Limits:
    values: dict[str, Any] = {}
    seconds, memory = fields.data.get("time_limit"), fields.data.get("memory_limit_bytes")
    if isinstance(seconds, dict):
        seconds = (seconds.get("seconds") or 0) + (seconds.get("nanos") or 0) / 1e9
    if isinstance(seconds, int | float) and seconds:
        values |= {"wall_s": seconds, "cpu_s": seconds}
    if isinstance(memory, int) and memory:
        values["memory_mib"] = max(64, memory >> 20)
    return Limits(**values)
