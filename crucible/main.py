"""The command line: `crucible`. Assembles the commands and turns errors into exit codes; work happens elsewhere.

Exit codes: 0 done · 1 not solved, or a check failed · 2 bad input · 3 a part is missing or refused · 130 interrupted.
Nothing heavy is imported here, so that `crucible --help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from crucible import __version__
from crucible.cli import (
    audit,
    bench,
    config,
    doctor,
    finetune,
    memory,
    models,
    nodes,
    problems,
    resume,
    runs,
    sandbox,
    session,
    solve,
    streams,
    train,
)
from crucible.errors import CancelledError, CrucibleError, OutputError
from crucible.libraries import quiet_libraries

# Typer keeps its own copy of click's exceptions and names only some of them: BadParameter → UsageError → ClickException.
ClickException: Any = typer.BadParameter.__mro__[2]

EPILOG = (
    "Start with: crucible doctor · crucible models pull qwen2.5-coder-1.5b · "
    'crucible solve "Write a function is_even(n). >>> is_even(4) gives True" --approve auto'
)

app = typer.Typer(
    name="crucible",
    help="Self-improving code generation on your own machine.\n\n"
    "A task goes in; a local code model writes candidates, a sandbox tests them, failures are reflected on, and every "
    "run is remembered for the next. Without a command: an interactive session.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("solve")(solve.solve)
app.command("resume")(resume.resume)
app.add_typer(runs.app, name="runs")
app.add_typer(memory.app, name="memory")
app.add_typer(problems.app, name="problems")
app.add_typer(models.app, name="models")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(nodes.app, name="nodes")
app.command("graph")(nodes.graph)
app.add_typer(bench.app, name="bench")
app.command("train")(train.train)
app.add_typer(finetune.app, name="finetune")
app.add_typer(audit.app, name="audit")
app.command("doctor")(doctor.doctor)
app.add_typer(config.app, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crucible {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        session.run(context)


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    streams.prepare()
    signal.signal(signal.SIGTERM, _interrupt)
    quiet_libraries()
    code = 0
    try:
        code = _run()
        sys.stdout.flush()
    except (BrokenPipeError, OutputError) as error:
        code = _unwritten(error, code)
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False) or 0
        if code == CancelledError.exit_code:  # Typer makes an exit of Ctrl-C, and says nothing
            code = _fail("interrupted", code)
    except (BrokenPipeError, OutputError):
        raise
    except CrucibleError as error:
        code = _fail(str(error), error.exit_code)
    except OSError as error:
        if not error.filename or not error.strerror:
            raise
        advice = "free some space, or set CRUCIBLE_HOME and CRUCIBLE_CACHE to folders that you may use"
        code = _fail(f"{error.filename}: {error.strerror}; {advice}", 3)
    except ClickException as error:
        error.show(sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", 130)
    return code


def _unwritten(error: BrokenPipeError | OutputError, code: int) -> int:
    """The exit code where standard output took no more. A reader that went away (`| head`) is no error."""
    streams.abandon()
    return _fail(str(error), error.exit_code) if isinstance(error, OutputError) else code


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> int:
    from crucible.cli.output import fail

    fail(message, code, as_json="--json" in sys.argv)
    return code
