"""One check for each expectation: what was observed, against what was expected, as sentences about what is wrong."""

from __future__ import annotations

import json
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from crucible.security.base import Execution
from crucible.text import one_line, printable
from crucible.types import Event, Feedback, FindingKind, Verdict
from tests.security.corpus import pages
from tests.security.corpus.entries import Expect

CLIPPED = 400
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
TURNS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<<SYS>>")
_WRITES_HTML = re.compile(r"text/html|<html|<!doctype html|HTMLResponse|^(?:import html|from html)\b", re.M | re.I)


class Outcome(NamedTuple):
    """All that was observed of one run of one program."""

    execution: Execution | None = None
    verdict: Verdict | None = None
    findings: tuple[Feedback, ...] = ()
    elapsed_s: float = 0.0
    present: tuple[str, ...] = ()
    """Files that should not be there afterwards."""
    survivors: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    """Listeners of the host's that were reached."""
    answered: tuple[int, ...] = ()
    """Ports that the host could connect to."""
    missing: tuple[str, ...] = ()
    """Parts of Crucible's that died."""
    next_program: str | None = None
    """What is wrong with the program that ran next; None where nothing is."""

    @property
    def printed(self) -> str:
        return "" if self.execution is None else f"{self.execution.stdout}\n{self.execution.stderr}"

    @property
    def said(self) -> str:
        """What was printed, and all that a verdict passes on of its program."""
        return self.printed + ("" if self.verdict is None else "\n".join(_texts(self.verdict.model_dump())))


def failures(expect: Expect, outcome: Outcome) -> list[str]:
    """What is not as expected. An expectation without a check is a mistake of ours and raises."""
    return [wrong for name in expect.told if (check := CHECKS[name]) is not None for wrong in check(expect, outcome)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _execution(outcome: Outcome) -> Execution:
    assert outcome.execution is not None, "this expectation is about a run, and the program was not run"
    return outcome.execution


# ------------------------------------------------------------- what was printed


def _must_not_print(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in expect.must_not_print:
        if text in outcome.said:
            yield f"{text!r} must not be printed"


def _must_print(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in expect.must_print:
        if text not in outcome.printed:
            yield f"{text!r} must be printed"


def _must_print_stderr(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in expect.must_print_stderr:
        if text not in _execution(outcome).stderr:
            yield f"{text!r} must be printed to stderr"


def _captured_at_most(expect: Expect, outcome: Outcome) -> Iterator[str]:
    done = _execution(outcome)
    captured = len((done.stdout + done.stderr).encode("utf-8", "surrogatepass"))
    if captured > (expect.captured_at_most or 0):
        yield f"{captured} bytes were captured, at most {expect.captured_at_most} may be"


def _collected(expect: Expect, outcome: Outcome) -> Iterator[str]:
    """Everything that comes out of a sandbox is in its Execution."""
    collected = "\n".join(_texts(_execution(outcome).model_dump()))
    for text in expect.collected_must_not_contain:
        if text in collected:
            yield f"{text!r} must not be in what is collected from the sandbox"


# ------------------------------------------------------------- how it ended


def _status(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if _execution(outcome).status not in expect.status_in:
        yield f"status {_execution(outcome).status}, expected {' or '.join(expect.status_in)}"


def _exit_code(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if _execution(outcome).exit_code != expect.exit_code:
        yield f"exit code {_execution(outcome).exit_code}, expected {expect.exit_code}"


def _finish(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if outcome.elapsed_s > (expect.finish_within_s or 0):
        yield f"took {outcome.elapsed_s:.1f} s, {expect.finish_within_s:g} s are allowed"


def _verdict(expect: Expect, outcome: Outcome) -> Iterator[str]:
    assert outcome.verdict is not None, "a verdict is expected, and no task is named"
    verdict = outcome.verdict
    if expect.verdict == "fail" and verdict.trust == "low":
        return  # Python itself is told that it passes; the verdict says who told it, and nothing is learned from it
    if verdict.verdict != expect.verdict:
        trust = getattr(verdict, "trust", "full")
        yield f"verdict {verdict.verdict} ({verdict.passed}/{verdict.total}, trust {trust}), expected {expect.verdict}"


def _trust(expect: Expect, outcome: Outcome) -> Iterator[str]:
    assert outcome.verdict is not None, "a verdict is expected, and no task is named"
    if outcome.verdict.trust != expect.trust:
        yield f"a verdict of {outcome.verdict.trust} trust, expected {expect.trust}"


def _static(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if not any(_flags(finding) for finding in outcome.findings):
        yield "the validator must flag it, and says " + (_listed(outcome.findings) or "nothing")


def _flags(finding: Feedback) -> bool:
    if finding.kind in (FindingKind.SECURITY, FindingKind.SYNTAX):
        return finding.severity in ("warning", "error")
    return finding.kind == FindingKind.LINT and finding.severity == "error"


def _listed(findings: tuple[Feedback, ...]) -> str:
    return "; ".join(f"{finding.severity} {finding.kind}: {finding.message}" for finding in findings)


# ------------------------------------------------------------- the host afterwards


def _host_absent(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for path in outcome.present:
        yield f"{path} is there"


def _no_survivors(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if outcome.survivors:
        yield f"outlived the program: {'; '.join(outcome.survivors)}"


def _host_ok(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if outcome.missing:
        yield f"no longer alive: {', '.join(outcome.missing)}"
    if outcome.next_program is not None:
        yield f"the next program does not run: {outcome.next_program}"


def _udp(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if any("DGRAM" in name for name in outcome.heard):
        yield f"the host heard from it: {', '.join(outcome.heard)}"


def _cannot_connect(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for port in outcome.answered:
        yield f"the host could connect to port {port}"


# ------------------------------------------------------------- how it is shown


def shown(outcome: Outcome) -> Iterator[str]:
    """The program's texts in every form that a terminal gets."""
    for text in _texts(_execution(outcome).model_dump()):
        yield printable(text)
        yield one_line(text)


def _no_control(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in shown(outcome):
        left = {hex(ord(each)) for each in text if unicodedata.category(each) == "Cc" and each not in "\n\t"}
        if left:
            yield f"control characters are shown as they are: {sorted(left)}"


def _no_bidi(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in shown(outcome):
        left = {hex(ord(each)) for each in text if each in BIDI or unicodedata.category(each) == "Cf"}
        if left:
            yield f"characters that reorder or hide text are shown as they are: {sorted(left)}"


def _html(expect: Expect, outcome: Outcome) -> Iterator[str]:
    """No text makes an element of a page, and every file that writes HTML is asked."""
    package = files("crucible")
    assert isinstance(package, Path)
    for path in package.rglob("*"):
        name = path.relative_to(package).as_posix()
        if (
            path.suffix in (".py", ".j2", ".yaml")
            and name not in (*pages.WRITERS, *pages.READERS)
            and _WRITES_HTML.search(path.read_text("utf-8"))
        ):
            yield f"{name} writes HTML: have this check look at what it makes of the output"
    for name, page, plain in zip(
        pages.WRITERS, pages.written_about(outcome.printed), pages.written_about("x"), strict=True
    ):
        if more := pages.Elements(page).found - pages.Elements(plain).found:
            yield f"the output makes {sorted(more)} in what {name} writes"


def prompt_about(text: str) -> str:
    """A prompt as a model gets it, with `text` in every place that a program's output can come to."""
    from crucible.models.transport.chat import as_text
    from crucible.prompting.templates import render

    said = Feedback(kind=FindingKind.RUNTIME, severity="error", message=text, call=text, expected=text, actual=text)
    return as_text(render("diagnose", prompt=text, code=text, findings=[said]))


def _quoted(expect: Expect, outcome: Outcome) -> Iterator[str]:
    text = outcome.printed
    prompt, plain = prompt_about(text), prompt_about("x")
    if len(_outside(prompt)) != len(_outside(plain)):
        yield f"the output leaves its place in a prompt:\n{prompt[:CLIPPED]}"
    marks = TURNS if isinstance(expect.quoted_as_data, bool) else expect.quoted_as_data
    outside = "\n".join(line for line in _outside(prompt) if not line.lstrip().startswith(("-", "`")))
    for mark in marks:
        if mark in (prompt if mark in TURNS else outside):
            yield f"{mark!r} is in a prompt as if it were not data"


def _outside(prompt: str) -> list[str]:
    """The lines of a prompt that are in no code block."""
    lines, fence = [], None
    for line in prompt.splitlines():
        opening = re.match(r"`{3,}", line)
        if fence is None and opening:
            fence = opening[0]
        elif fence is None:
            lines.append(line)
        elif line.strip() == fence:
            fence = None
    return lines


def _jsonl(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for name, text in records_of(outcome.printed[: 1 << 13]).items():
        lines = text.splitlines()
        if len(lines) != expect.jsonl_records_added:
            yield f"{name}: {len(lines)} lines, expected {expect.jsonl_records_added}"
        try:
            parsed = [json.loads(line) for line in lines]
        except ValueError as error:
            yield f"{name}: a line is no JSON ({error})"
            continue
        if not all(isinstance(record, dict) for record in parsed):
            yield f"{name}: a line is no record"


def records_of(text: str) -> dict[str, str]:
    """What Crucible's logs hold after one event each that quotes `text`."""
    from crucible.logs import RunLog
    from crucible.security.trust.audit import AuditLog

    with tempfile.TemporaryDirectory() as folder:
        log, audit = RunLog(Path(folder), "debug"), AuditLog(Path(folder) / "audit.jsonl")
        said = {"verdict": "fail", "passed": 0, "total": 1, "reason": text}
        log.event(Event(kind="verdict", run_id="r", data={"attempt_id": text, "verdict": said}))
        log.close()
        audit.append("ran", {"program": text}, {"output": text})
        return {path.name: path.read_text("utf-8") for path in (log.path, audit.path)}


CHECKS: dict[str, Callable[[Expect, Outcome], Iterator[str]] | None] = {
    "must_not_print": _must_not_print,
    "must_print": _must_print,
    "must_print_stderr": _must_print_stderr,
    "status_in": _status,
    "exit_code": _exit_code,
    "finish_within_s": _finish,
    "captured_at_most": _captured_at_most,
    "host_absent": _host_absent,
    "no_survivors": _no_survivors,
    "host_ok": _host_ok,
    "verdict": _verdict,
    "trust": _trust,
    "collected_must_not_contain": _collected,
    "udp_listener_silent": _udp,
    "host_cannot_connect": _cannot_connect,
    "rendered_has_no_control": _no_control,
    "rendered_has_no_bidi": _no_bidi,
    "html_escaped": _html,
    "quoted_as_data": _quoted,
    "jsonl_records_added": _jsonl,
    "static": _static,
    # what the runner does, and what it is told
    "task": None,
    "run_twice": None,
    "host_sysv_shm_key": None,
    "launcher_leaks_inheritable_fd_to": None,
    "advisory": None,
    "skip_unsandboxed": None,
    "why": None,
    "note": None,
}
