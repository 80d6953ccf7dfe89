"""The grammar of a corpus: programs and what is expected of them. An unknown key is an error, never ignored.

Crucible's own files put what their programs have in common at the top (`kind`, `expect`, `prelude`) and may say `attempt`
in place of `code`: the body of a function that returns something true where it got through. `not_for` names the
combinations a program does not apply to, each with the reason.
"""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, SkipValidation

PROGRAMS = Path(__file__).with_name("programs")
CHECKOUT = Path(__file__).parents[3]

ATTEMPT = """\
def attempt():
{body}
try:
    found = attempt()
except BaseException as error:
    print("BLOCKED", type(error).__name__, ascii(str(error))[:120])
else:
    print("PWNED" if found else "BLOCKED", ascii(found)[:120])
"""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
Numbers = Annotated[tuple[int, ...], BeforeValidator(_several)]
Marks = bool | Texts
"""True, or the very texts that must not come out as they are."""


class Expect(Strict):
    """What must hold of a program. Texts are sought in stdout and stderr, and in what a verdict says."""

    must_not_print: Texts = ()
    must_print: Texts = ()
    must_print_stderr: Texts = ()
    status_in: Annotated[
        tuple[Literal["ok", "error", "killed", "timeout", "output_limit"], ...], BeforeValidator(_several)
    ] = ()
    exit_code: int | None = None
    finish_within_s: float | None = None
    captured_at_most: int | None = None
    host_absent: Texts = ()
    no_survivors: bool = False
    host_ok: bool = False
    task: str | None = None
    verdict: Literal["pass", "fail"] | None = None
    trust: Literal["full", "claimed"] | None = None  # ours: how much a pass is worth
    run_twice: bool = False
    collected_must_not_contain: Texts = ()
    udp_listener_silent: bool = False
    host_cannot_connect: Numbers = ()
    host_sysv_shm_key: int | None = None
    launcher_leaks_inheritable_fd_to: Texts = ()
    rendered_has_no_control: bool = False
    rendered_has_no_bidi: bool = False
    html_escaped: Marks = False
    quoted_as_data: Marks = False
    jsonl_records_added: int | None = None
    static: Literal["flag"] | None = None
    advisory: bool = False
    skip_unsandboxed: bool = False  # nothing is ever run bare here
    why: str = ""
    note: str = ""

    @property
    def needs_execution(self) -> bool:
        """Whether something is expected that only a run of the whole program shows."""
        of_runs = {"must_print", "must_print_stderr", "status_in", "exit_code", "captured_at_most", "no_survivors"}
        of_output = {"rendered_has_no_control", "rendered_has_no_bidi", "html_escaped", "quoted_as_data"}
        of_output |= {"jsonl_records_added", "collected_must_not_contain"}
        return self.task is None or bool((of_runs | of_output) & set(self.told))

    @property
    def told(self) -> list[str]:
        """The expectations that say something."""
        values = {name: getattr(self, name) for name in self.model_fields_set}
        return [name for name, value in values.items() if value is not None and value is not False and value != ()]


class Entry(Strict):
    name: str
    kind: Literal["read", "write", "net", "kernel", "resource", "survivor", "output", "verdict", "static", "control"]
    code: SkipValidation[str]  # lone surrogates too
    expect: Expect
    language: str = "python"
    stdin: str = ""
    not_for: dict[str, str] = {}
    """Words that a combination must all have, such as "project" or "B ordinary": why the program says nothing there."""

    beside: bool = False
    """Of a kind that runs alone, but harmless to what runs at the same time."""

    def excluded_from(self, *words: str) -> str | None:
        """Why this program is not for a combination, or None."""
        return next((why for named, why in self.not_for.items() if set(named.split()) <= set(words)), None)


class TaskText(Strict):
    """A task that verdicts are about: cases as [arguments, expected], or tests as source."""

    prompt: str
    entry: str | None = None
    public: list[Any] = []
    hidden: list[Any] = []
    tests: str = ""
    checker: str = ""
    tolerance: float | None = None


class Corpus(Strict):
    entries: tuple[Entry, ...]
    tasks: dict[str, TaskText]


def own() -> Corpus:
    """Crucible's own programs."""
    files = sorted(path for path in PROGRAMS.glob("*.yaml") if path.stem not in ("tasks", "shared"))
    entries = [entry for path in files for entry in _programs(_read(path))]
    return Corpus(entries=tuple(entries), tasks=_read(PROGRAMS / "tasks.yaml"))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


def _programs(file: dict[str, Any]) -> list[Entry]:
    common = file.get("expect", {})
    entries = []
    for program in file["programs"]:
        given = dict(program)
        expect = {**common, **given.pop("expect", {}), "why": given.pop("why")}
        if "task" in given:
            expect["task"] = given.pop("task")
        code = given.pop("code", None) or ATTEMPT.format(body=textwrap.indent(given.pop("attempt"), "    "))
        prelude = given.pop("prelude", file.get("prelude", ""))
        expect = {key: value for key, value in expect.items() if value is not None}
        entries.append(Entry(kind=file["kind"], code=prelude + code, expect=Expect(**expect), **given))
    return entries


def shared_folder() -> Path:
    """Where the shared corpus is, if it is there."""
    return Path(os.environ.get("CRUCIBLE_SHARED", CHECKOUT.parent / "shared")) / "security"


def shared(folder: Path | None = None) -> Corpus | None:
    """The shared corpus; None where it is not present. `not_for` and `beside` of its programs are ours to say."""
    folder = folder or shared_folder()
    file = folder / "attacks.json"
    if not file.is_file():
        return None
    ours = _read(PROGRAMS / "shared.yaml")
    entries = [Entry(**program, **ours.get(program["name"], {})) for program in json.loads(file.read_text("utf-8"))]
    return Corpus(entries=tuple(entries), tasks=json.loads((folder / "tasks.json").read_text("utf-8")))
