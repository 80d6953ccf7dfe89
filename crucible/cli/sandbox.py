"""`crucible sandbox`: prove the isolation, run a program in it, judge a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from crucible.errors import InputError, SandboxUnavailableError

if TYPE_CHECKING:
    from crucible.security.base import Profile, Tier

app = typer.Typer(
    help="The isolation that generated code runs in. Nothing runs outside it; where no tier works, execution is refused.",
    no_args_is_help=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
TierOption = Annotated[
    str,
    typer.Option(help="A: bubblewrap. B: Landlock, where user namespaces are missing. auto: the strongest that holds."),
]
ProfileOption = Annotated[
    str,
    typer.Option(help="function: no new processes. project: processes, within limits for all of them together."),
]


@app.command()
def check(tier: TierOption = "auto", profile: ProfileOption = "function", as_json: JsonOption = False) -> int:
    """Run canary programs in the sandbox and report what they could and could not do. Exit 1 if a promise is broken."""
    from crucible.cli.output import print_json
    from crucible.security.sandbox.probe import observe, sandboxes
    from crucible.text import one_line

    report, failure = None, None
    for sandbox in sandboxes(_tier(tier), _profile(profile)):
        try:
            report = observe(sandbox)
        except SandboxUnavailableError as error:
            failure = error
            continue
        if report.ok:
            break
    if report is None:
        raise failure or SandboxUnavailableError("no sandbox is known for this machine")
    if as_json:
        print_json({**report.model_dump(mode="json"), "ok": report.ok})
        return 0 if report.ok else 1
    typer.echo(f"tier {report.tier}, {report.profile} profile")
    for item in report.properties:
        typer.echo(one_line(f"{'pass' if item.held else 'FAIL'}  {item.name:<22} {item.observed}"))
    return 0 if report.ok else 1


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A Python program.", exists=False)],
    profile: ProfileOption = "function",
    tier: TierOption = "auto",
    wall: Annotated[float, typer.Option(min=0.1, max=600, help="Wall-clock limit in seconds.")] = 10.0,
    memory: Annotated[int, typer.Option(min=64, help="Memory limit in MiB.")] = 512,
    as_json: JsonOption = False,
) -> int:
    """Run one Python program in the sandbox, as __main__. Exit 1 unless it ends with exit code 0 inside its limits."""
    import sys

    from crucible.cli.output import print_json, say
    from crucible.security.sandbox.probe import select_sandbox
    from crucible.text import printable
    from crucible.types import Limits

    sandbox = select_sandbox(_tier(tier), _profile(profile))
    result = sandbox.run(_source(file), limits=Limits(wall_s=wall, cpu_s=wall, memory_mib=memory))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        sys.stdout.write(printable(result.stdout))
        sys.stderr.write(printable(result.stderr))
        say(
            f"{result.status}, exit code {result.exit_code}, {result.wall_s:.2f} s, {result.memory_mib:.0f} MiB, tier {result.tier}"
        )
    return 0 if result.status == "ok" else 1


@app.command()
def judge(
    task: Annotated[str, typer.Argument(help="Task file, or text with asserts or doctests.")],
    code: Annotated[Path, typer.Argument(help="The program to judge.")],
    as_json: JsonOption = False,
) -> int:
    """Judge a program against a task's tests and hidden cases, outside the program's process. Exit 1 if it fails."""
    from crucible.app import prepare
    from crucible.cli.output import print_json, say
    from crucible.cli.taskfile import read_task
    from crucible.security.judge.judge import SandboxJudge
    from crucible.security.sandbox.probe import select_sandbox
    from crucible.text import one_line

    found = read_task(task)
    source = _source(code)
    for note in found.notes:
        say(f"note: {note}")
    ready = prepare(found.task)
    if found.hidden:
        tests = "\n".join(text for text in (ready.tests, found.hidden.tests) if text.strip())
        ready = ready.model_copy(update={"examples": ready.examples + found.hidden.examples, "tests": tests})
    verdict = SandboxJudge(select_sandbox()).judge(source, ready)
    if as_json:
        print_json(verdict.model_dump(mode="json"))
    else:
        typer.echo(one_line(f"{verdict.verdict}  {verdict.passed}/{verdict.total}  {verdict.reason}"))
        for case in verdict.cases:
            got = f", got {case.actual}" if case.actual is not None and case.status != "pass" else ""
            typer.echo(one_line(f"  {case.status:<8} {case.call}: expected {case.expected}{got} {case.message}"))
    return 0 if verdict.verdict == "pass" else 1


def _tier(name: str) -> Tier | Literal["auto"]:
    if name not in ("auto", "A", "B"):
        raise InputError(f"unknown tier {name!r}; there are: auto, A, B")
    return cast("Tier", name)


def _profile(name: str) -> Profile:
    if name not in ("function", "project"):
        raise InputError(f"unknown profile {name!r}; there are: function, project")
    return cast("Profile", name)


def _source(path: Path) -> str:
    from crucible.reading import decode

    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
