"""Crucible's own problem form: one mapping of a JSON, YAML or Markdown file, as a task file or an entry of a set.

    id, title, prompt (or description), language, entry_point, difficulty (text or number), source, tags, hints
    examples: [{input, output}], tests              visible: a node may use them
    test_cases + expected_outputs, hidden_tests     hidden: the judge alone reads them; the first `cycles.visible_cases`
                                                    of test_cases are visible where nothing else is
    hidden                                          `all`: no test case becomes visible
    checker, tolerance, preamble, constraints, time_limit (s), memory_limit (MiB), max_tokens
    solutions (or canonical_solution)               whole programs that are right
    mutants (or buggy_solution)                     whole programs that are wrong

Other names that are read: target_language, function_name, request_id, and `ast` {name, parameters, return_type}, a signature.
A list input is positional arguments, an object keyword arguments. A constraint is a sentence for the reader, or
{require: WHAT} or {forbid: WHAT} for the judge (languages/python/constraints.py). `tests` is source text, `hidden_tests` too.
No field is ever taken for a path.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, NamedTuple

from crucible.config import CyclesSettings, packaged
from crucible.errors import InputError
from crucible.languages.python import constraints
from crucible.problems.fields import Fields, ProblemError, first_problem
from crucible.problems.problem import Problem
from crucible.security.judge.naming import named
from crucible.security.judge.suite import parse_suite
from crucible.security.judge.visible import has_tests
from crucible.types import Example, HiddenTests, Limits, Rule, Task

FIELDS = [
    "id", "title", "prompt", "description", "language", "entry_point", "examples", "test_cases", "expected_outputs", "tests",
    "hidden_tests", "checker", "tolerance", "constraints", "preamble", "time_limit", "memory_limit", "max_tokens", "difficulty",
    "solutions", "canonical_solution", "mutants", "buggy_solution", "hints", "tags", "source", "hidden",
]  # fmt: skip
CARRIED = ["task_type", "meta", "tests_plus", "suffix", "code"]
"""Fields of published problem files that this form does not use."""


class Reading(NamedTuple):
    """`notes`: things worth saying that are no errors (an unknown field, say)."""

    problem: Problem
    notes: tuple[str, ...] = ()


def read(data: Any, origin: str, *, visible_cases: int | None = None) -> Reading:  # noqa: ANN401
    """One problem. origin: the file, with line or entry, as errors name it. visible_cases: the setting, by default the packaged
    one. Raises InputError."""
    if not isinstance(data, dict):
        raise InputError(f"{origin}: a task file holds one object with the fields {', '.join(FIELDS)}")
    fields = _Own(_renamed(data), origin)
    most = packaged(CyclesSettings).visible_cases if visible_cases is None else visible_cases
    try:
        return Reading(_problem(fields, most), tuple(fields.notes()))
    except ValueError as error:  # pydantic's, and those of texts and numbers that Python refuses to write out
        field, reason = first_problem(error)
        raise ProblemError(origin, field or "problem", f"cannot be read: {reason}") from error


def _renamed(data: dict[Any, Any]) -> dict[Any, Any]:
    """`data` with the other names of its fields replaced, and a request's signature in the prompt."""
    changed = dict(data)
    for other, name in (("target_language", "language"), ("function_name", "entry_point"), ("request_id", "id")):
        if isinstance(changed.get(other), str):
            changed.setdefault(name, changed[other])
            del changed[other]
    signature = changed.get("ast")
    called = changed.get("entry_point") or (signature.get("name") if isinstance(signature, dict) else None)
    said = changed.get("prompt", changed.get("description", ""))
    if isinstance(signature, dict) and isinstance(called, str) and called and isinstance(said, str):
        listed = signature.get("parameters")
        parameters = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        words = [f"{each.get('name')}: {_builtin(each.get('type') or 'object')}" for each in parameters]
        returned = _builtin(signature.get("return_type") or "object")
        wanted = f"Write a function {called}({', '.join(words)}) -> {returned}."
        changed |= {"entry_point": called, "prompt": f"{said.rstrip()}\n\n{wanted}".lstrip()}
        del changed["ast"]
    return changed


def _builtin(annotation: Any) -> str:  # noqa: ANN401
    """typing's List and Dict as list and dict, which need no import."""
    return re.sub(r"\b(?:List|Dict|Set|Tuple)\b", lambda match: match[0].lower(), str(annotation))


def _first_visible(task: Task, hidden: HiddenTests, most: int) -> tuple[Task, HiddenTests]:
    """Where nothing is visible, the first hidden cases are, `most` of them. One of several cases stays hidden in any case; a
    single one is visible, as the loop could not work without it."""
    if not hidden.examples or has_tests(task):
        return task, hidden
    count = len(hidden.examples)
    kept = 0 if hidden.tests.strip() or count == 1 else 1
    shown = max(0, min(most, count - kept))
    first, rest = hidden.examples[:shown], hidden.examples[shown:]
    return task.model_copy(update={"examples": first}), hidden.model_copy(update={"examples": rest})


def _as_stdin(task: Task, hidden: HiddenTests) -> tuple[Task, HiddenTests]:
    """Numbers of examples and cases as the text that a program reads and prints, where the task names no function."""
    given = (*task.examples, *hidden.examples)
    plain = all(type(value) in (str, int, float) for example in given for value in (example.input, example.output))
    texts = all(isinstance(example.input, str) for example in given)
    reads = texts or re.search(r"\b(?:stdin|standard input|reads?|prints?)\b", task.prompt, re.I)
    if task.entry_point or not given or not plain or not reads or named(task.prompt):
        return task, hidden

    def written(examples: tuple[Example, ...]) -> dict[str, Any]:
        return {"examples": tuple(Example(input=str(each.input), output=str(each.output)) for each in examples)}

    return task.model_copy(update=written(task.examples)), hidden.model_copy(update=written(hidden.examples))


def _problem(fields: _Own, visible_cases: int) -> Problem:
    prompt = fields.data.get("prompt", fields.data.get("description"))
    if not isinstance(prompt, str):
        raise fields.error("prompt", "(or `description`) is missing or no text")
    fields.whole("prompt", prompt)
    values = {name: fields.word(name) for name in ("id", "title", "language", "difficulty", "source")}
    values |= {name: fields.text(name) for name in ("tests", "checker", "preamble", "entry_point")}
    sentences, rules = fields.constraints()
    task = Task(
        prompt=prompt,
        examples=fields.examples(),
        max_tokens=fields.typed("max_tokens", int),
        tolerance=fields.number("tolerance"),
        limits=fields.limits(),
        constraints=sentences,
        rules=rules,
        **{name: value for name, value in values.items() if value},
    )
    hidden = HiddenTests(examples=fields.cases(), tests=fields.text("hidden_tests"))
    solutions = fields.programs("solutions", "canonical_solution")
    task, hidden = _as_stdin(task, hidden)
    if task.entry_point is None and any(not isinstance(case.input, str) for case in (*task.examples, *hidden.examples)):
        task = task.model_copy(update={"entry_point": _function(task, hidden, solutions)})
    if fields.data.get("hidden") != "all":
        task, hidden = _first_visible(task, hidden, visible_cases)
    return Problem(
        task=task,
        hidden=hidden,
        solutions=solutions,
        mutants=fields.programs("mutants", "buggy_solution"),
        hints=fields.texts("hints"),
        tags=fields.texts("tags"),
        origin=fields.origin,
    )


def _function(task: Task, hidden: HiddenTests, solutions: tuple[str, ...]) -> str | None:
    """The function that cases call whose author named none: the one that prompt, tests or a solution names, else one
    named after the problem."""
    for tests in (task.tests, hidden.tests):
        try:
            found = parse_suite(Task(prompt=task.prompt, tests=tests)).entry_point
        except InputError:
            continue
        if found:
            return found
    defined = re.findall(r"^def (\w+)\(", "\n".join(solutions[:1]), re.M)
    slugs = [re.sub(r"\W+", "_", name.strip()).strip("_").lower() for name in (task.id, task.title)]
    return next((name for name in [*defined[-1:], *slugs, "solve"] if name.isidentifier()), None)


class _Own(Fields):
    def limits(self) -> Limits:
        data = self.data
        values: dict[str, Any] = {}
        if data.get("time_limit") is not None:
            values |= {"wall_s": data["time_limit"], "cpu_s": data["time_limit"]}
        if data.get("memory_limit") is not None:
            values["memory_mib"] = data["memory_limit"]
        try:
            return Limits(**values)
        except ValueError as error:
            field, reason = first_problem(error)
            name = "memory_limit" if field == "memory_mib" else "time_limit"
            raise self.error(name, f"({'MiB' if field == 'memory_mib' else 's'}): {reason}") from error

    def constraints(self) -> tuple[tuple[str, ...], tuple[Rule, ...]]:
        value = self.data.get("constraints")
        items = [] if value is None else value if isinstance(value, list) else [value]
        sentences: list[str] = []
        rules: list[Rule] = []
        for number, item in enumerate(items, 1):
            if isinstance(item, str):
                sentences.append(self.whole("constraints", item))
            elif isinstance(item, dict) and item and all(kind in ("require", "forbid") for kind in item):
                rules += [self._rule(number, kind, what) for kind, what in item.items()]
            else:
                raise self.error(
                    "constraints", f"must be sentences, {{require: …}} or {{forbid: …}}; entry {number} is not"
                )
        return tuple(sentences), tuple(rules)

    def _rule(self, number: int, kind: Any, what: Any) -> Rule:  # noqa: ANN401
        if not isinstance(what, str) or not what.strip() or len(what) > 500:
            raise self.error("constraints", f"entry {number}: `{kind}` names what in a few words of text")
        rule = Rule(kind=kind, what=what)
        problem = constraints.problem_with(rule)
        if problem is not None:
            raise self.error("constraints", f"entry {number}: {problem}")
        return rule

    def examples(self) -> tuple[Example, ...]:
        value = self.data.get("examples")
        form = 'must be a list of {"input": …, "output": …}'
        if value is not None and not isinstance(value, list):
            raise self.error("examples", form)
        for number, item in enumerate(value or [], 1):
            if not isinstance(item, dict) or not {"input", "output"} <= set(item):
                raise self.error("examples", f"{form}; example {number} is not")
        return tuple(
            Example(input=self._plain("examples", item["input"]), output=self._plain("examples", item["output"]))
            for item in value or []
        )

    def cases(self) -> tuple[Example, ...]:
        inputs, outputs = self.data.get("test_cases") or [], self.data.get("expected_outputs") or []
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise self.error("expected_outputs", "and `test_cases` must be lists of the same length")
        return tuple(
            Example(input=self._plain("test_cases", one), output=self._plain("expected_outputs", other))
            for one, other in zip(inputs, outputs, strict=True)
        )

    def _plain(self, name: str, value: Any) -> Any:  # noqa: ANN401
        """`value`, if it is JSON's: unquoted YAML may be a date, which no program's answer equals."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, dict):
                waiting += [*each, *each.values()]
            elif isinstance(each, list):
                waiting += each
            elif isinstance(each, str):
                self.whole(name, each)
            elif not isinstance(each, int | float | None):
                raise self.error(name, f"holds {each!r:.60}, a {type(each).__name__}; quote it if it is text")
        return value

    def notes(self) -> list[str]:
        notes = []
        for name in map(str, self.data):
            if name not in FIELDS and name not in CARRIED:
                near = get_close_matches(name, FIELDS, n=1)
                hint = f"; did you mean `{near[0]}`?" if near else ""
                notes.append(f"{self.origin}: field `{name}` is not used{hint}")
        if self.data.get("hidden", "all") != "all":
            notes.append(f"{self.origin}: `hidden` is not used; `all` keeps every test case hidden")
        return notes
