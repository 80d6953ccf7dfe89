"""`crucible problems`: look into problem sets, and check that they can be trusted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crucible.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from crucible.problems.problem import Problem
    from crucible.problems.sets import ProblemSet
    from crucible.problems.validate import Complaint
    from crucible.security.base import Judge, Sandbox
    from crucible.types import Example

STARTER = "starter"

app = typer.Typer(
    help="Problem sets: the shipped `starter`, a file of your own or in a published form, a folder, or a suite of them.",
    no_args_is_help=True,
)

SetArgument = Annotated[
    str, typer.Argument(metavar="[SET]", help="starter, a .json, .jsonl, .yaml or .md file (.gz too), or a folder.")
]
DifficultyOption = Annotated[
    list[str] | None,
    typer.Option("--difficulty", "-d", help="Only this difficulty, as the set writes it; several: repeat it."),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="The first N problems only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("list")
def list_problems(
    set_: SetArgument = STARTER,
    difficulty: DifficultyOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> int:
    """List a set's problems: id, difficulty, title.

    crucible problems list starter --difficulty 1
    """
    from crucible.cli.output import print_json
    from crucible.problems.sets import load

    found = load(set_, difficulty=difficulty or (), limit=limit, visible_cases=_visible_cases())
    if as_json:
        print_json(
            {
                "set": found.name,
                "path": found.path,
                "sha256": found.sha256,
                "problems": [_summary(problem) for problem in found.problems],
                "notes": list(found.notes),
            }
        )
        return 0
    width = min(48, max(len(problem.id) for problem in found.problems))
    for problem in found.problems:
        task = problem.task
        title = task.title if task.title != task.id else ""
        _line(f"{task.id:<{width}}  {task.difficulty or '-':<8}  {title}")
    _say_notes(found)
    typer.echo(f"{len(found.problems)} problems, sha256 {found.sha256[:12]}")
    return 0


@app.command()
def show(
    names: Annotated[
        list[str], typer.Argument(metavar="[SET] ID", help="The set (starter if left out) and a problem of it.")
    ],
    hidden: Annotated[bool, typer.Option("--hidden", help="Hidden tests, hints, solutions and mutants too.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show one problem as the loop sees it.

    crucible problems show starter ferry-queue
    """
    from crucible.cli.output import print_json
    from crucible.problems.sets import load

    if len(names) > 2:
        raise InputError("show takes a set and one id")
    set_ = names[0] if len(names) == 2 else STARTER
    problem = load(set_, ids=names[-1:], visible_cases=_visible_cases()).problems[0]
    if as_json:
        shown = {"task": problem.task.model_dump(mode="json"), "tags": list(problem.tags), "origin": problem.origin}
        print_json({**_summary(problem), **(problem.model_dump(mode="json") if hidden else shown)})
        return 0
    task = problem.task
    _line(f"{task.title or task.id}  ({task.id})")
    facts = {"difficulty": task.difficulty, "language": task.language, "function": task.entry_point or ""}
    facts |= {"limits": f"{task.limits.wall_s:g} s, {task.limits.memory_mib} MiB", "tags": ", ".join(problem.tags)}
    for name, fact in facts.items():
        if fact:
            _line(f"{name:<11} {fact}")
    _block("task", task.prompt)
    _examples("examples", task.examples)
    _block("tests", task.tests)
    from crucible.languages.python.constraints import sentence

    _block("constraints", "\n".join([*task.constraints, *map(sentence, task.rules)]))
    if hidden:
        _examples("hidden cases", problem.hidden.examples)
        _block("hidden tests", problem.hidden.tests)
        _block("hints", "\n".join(problem.hints))
        for number, program in enumerate(problem.solutions, 1):
            _block(f"solution {number}", program)
        for number, program in enumerate(problem.mutants, 1):
            _block(f"mutant {number}, which is wrong", program)
    return 0


@app.command()
def validate(
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Sets as for list.")] = None,
    limit: LimitOption = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Problems judged at a time.")] = 2,
    plus: Annotated[bool, typer.Option("--plus", help="With the longer hidden tests of sets that have such.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Check that every reference solution passes, and every mutant and a program that does nothing fail.

    One line a fault: file with line or entry, field, reason. Exit 1 where something is wrong, 2 for a file that cannot be read.

      crucible problems validate my-problems.yaml
    """
    from crucible.cli.output import print_json
    from crucible.problems.fields import ProblemError
    from crucible.problems.sets import load
    from crucible.problems.validate import Complaint
    from crucible.security.judge.judge import SandboxJudge
    from crucible.security.sandbox.pool import WarmPool
    from crucible.security.sandbox.probe import select_sandbox

    results, unreadable = [], False
    with WarmPool(select_sandbox()) as sandbox:
        for spec in sets or [STARTER]:
            began = time.monotonic()
            result: dict[str, Any] = {"set": spec, "problems": 0, "notes": []}
            try:
                # As the files have it: a complaint names a test case by its place there.
                found = load(spec, limit=limit, plus=plus, sandbox=_same(sandbox), visible_cases=0)
                complaints = _validated(found, SandboxJudge(sandbox), workers)
                result |= {"problems": len(found.problems), "sha256": found.sha256, "notes": list(found.notes)}
            except ProblemError as error:
                unreadable, complaints = True, [Complaint(error.file, error.field, error.reason)]
            except InputError as error:
                unreadable, complaints = True, [Complaint(spec, "", str(error))]
            result |= {"complaints": [each._asdict() for each in complaints], "seconds": time.monotonic() - began}
            results.append(result)
            if not as_json:
                _report(spec, result, complaints)
    wrong = any(result["complaints"] for result in results)
    if as_json:
        print_json({"ok": not wrong, "sets": results})
    return 2 if unreadable else 1 if wrong else 0


def _same(sandbox: Sandbox) -> Callable[[], Sandbox]:
    return lambda: sandbox


def _validated(found: ProblemSet, judge: Judge, workers: int) -> list[Complaint]:
    from crucible.problems.validate import validate

    complaints: list[Complaint] = []
    threads = ThreadPoolExecutor(workers)
    try:
        with _bar(found) as advance:
            for each in threads.map(lambda problem: validate(problem, judge), found.problems):
                complaints += each
                advance()
    finally:
        threads.shutdown(cancel_futures=True)
    return complaints


@contextmanager
def _bar(found: ProblemSet) -> Iterator[Callable[[], None]]:
    """A bar on a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from crucible.cli.output import stderr
    from crucible.text import one_line

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr(), disable=not stderr().is_terminal, transient=True) as bar:
        task = bar.add_task(one_line(found.name, 40), total=len(found.problems))
        yield lambda: bar.advance(task)


def _report(spec: str, result: dict[str, Any], complaints: list[Complaint]) -> None:
    from crucible.cli.output import say

    for complaint in complaints:
        _line(f"{complaint.file}: {complaint.field}: {complaint.reason}" if complaint.field else complaint.reason)
    for note in result["notes"]:
        say(f"note: {note}")
    wrong = len({complaint.file for complaint in complaints})
    _line(f"{spec}: {result['problems']} problems, {wrong} with faults, {result['seconds']:.0f} s")


def _visible_cases() -> int:
    from crucible.config import load_settings

    return load_settings().cycles.visible_cases


def _summary(problem: Problem) -> dict[str, Any]:
    task = problem.task
    return {
        "id": task.id,
        "title": task.title,
        "difficulty": task.difficulty,
        "language": task.language,
        "source": task.source,
        "entry_point": task.entry_point,
        "tags": list(problem.tags),
        "examples": len(task.examples),
        "hidden": bool(problem.hidden),
        "solutions": len(problem.solutions),
        "mutants": len(problem.mutants),
    }


def _say_notes(found: ProblemSet) -> None:
    from crucible.cli.output import say

    for note in found.notes:
        say(f"note: {note}")


def _examples(name: str, examples: tuple[Example, ...]) -> None:
    _block(name, "\n".join(f"{_written(example.input)} gives {_written(example.output)}" for example in examples))


def _written(value: Any) -> str:  # noqa: ANN401
    """As JSON where it is, for texts and truth values look there as in the file."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def _block(name: str, text: str) -> None:
    from crucible.cli.output import stdout
    from crucible.text import plain

    if text.strip():
        stdout().print(f"\n{name}", style="bold", markup=False)
        stdout().print(plain(text.strip("\n")), markup=False, soft_wrap=True)


def _line(text: str) -> None:
    from crucible.cli.output import stdout
    from crucible.text import one_line

    stdout().print(one_line(text), markup=False, soft_wrap=True)
