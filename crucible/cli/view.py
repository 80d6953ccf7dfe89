"""What `solve` shows while it works, on stderr: a live line and the model's text on a terminal, nothing elsewhere.

Everything a model wrote passes `printable` first, so that no answer can drive the terminal.
"""

from __future__ import annotations

import difflib
import queue
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.text import Text

from crucible.text import one_line, printable
from crucible.types import Approval, Episode, Event, Feedback

if TYPE_CHECKING:
    from rich.console import RenderableType

TAIL_LINES = 10
MAX_FINDINGS = 4
MAX_TESTS = 8
NO_TESTS = (
    "written, not verified: the task has no test to check the program against; "
    'add one to its words, as "f(2) gives 4", or name a file with --tests'
)


class SolveView:
    """Call with every Event, in the main thread. Use as a context manager: the live region ends with it."""

    def __init__(self, console: Console, *, max_cycles: int, asks: bool = False, chosen: str = "") -> None:
        """asks: whether the approver is a TerminalApprover, which waits for an answer from here."""
        self._console = console
        self._max_cycles, self._asks = max_cycles, asks
        self._live: Live | None = None
        self._began = time.monotonic()
        self._doing = "starting"
        self._streams: dict[int, list[str]] = {}
        self._chunks = 0
        self._drawing_since = 0.0
        self._last_code = ""
        self._codes: dict[str, str] = {}
        self._checked: list[tuple[str, Feedback]] = []
        """What was found in the latest attempt, with its id."""
        self._chosen = chosen
        """Why this engine answers, where nobody named one."""
        self._asked: set[str] = set()
        """Attempts whose findings stood in a question."""
        self.answers: queue.SimpleQueue[Approval] = queue.SimpleQueue()

    def __enter__(self) -> SolveView:
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def doing(self, what: str) -> None:
        """Name what is going on now, before the first event (loading the model, say)."""
        self._doing = what
        self._refresh()

    def __call__(self, event: Event) -> None:
        handler = getattr(self, "_on_" + event.kind.replace("-", "_"), None)
        if handler is not None:
            handler(event.data)
        self._refresh()

    # ------------------------------------------------------------- events

    def _on_run_started(self, data: dict[str, Any]) -> None:
        model = data["model"]
        verb = "resumed" if data["resumed"] else "solving"
        why = f" ({self._chosen})" if self._chosen else ""
        self._line(f"{verb} with {model['name']} on the {model['engine']} engine{why}", "bold")
        tests, unread = data.get("visible_tests", ()), data.get("unread", ())
        for test in tests[:MAX_TESTS]:
            self._line(f"  test: {test}", "cyan")
        if len(tests) > MAX_TESTS:
            self._line(f"  and {len(tests) - MAX_TESTS} more tests", "cyan")
        for text in unread:
            self._line(f"  not read, so not tested: {text}", "bold yellow", warns=True)

    def _on_redacted(self, data: dict[str, Any]) -> None:
        kinds = ", ".join(dict.fromkeys(data["kinds"]))
        self._line(
            f"  the task holds secrets ({kinds}): they are kept out of memory and logs", "bold yellow", warns=True
        )

    def _on_retrieved(self, data: dict[str, Any]) -> None:
        titles = ", ".join(f"{hit['title'] or hit['episode_id'][:8]} ({hit['score']:.2f})" for hit in data["episodes"])
        self._line(f"  remembered: {titles}", "cyan")

    def _on_sampling(self, data: dict[str, Any]) -> None:
        count = data["samples"]
        self._streams, self._chunks, self._drawing_since = {}, 0, time.monotonic()
        self._doing = (
            f"cycle {data['cycle']}/{self._max_cycles} · {data['strategy']} · {count} sample{'s' * (count > 1)}"
        )

    def _on_token(self, data: dict[str, Any]) -> None:
        self._streams.setdefault(data["index"], []).append(data["text"])
        self._chunks += 1

    def _on_sampled(self, data: dict[str, Any]) -> None:
        attempt = data["attempt"]
        seconds = max(time.monotonic() - self._drawing_since, 1e-3)
        rate = f"{attempt['completion_tokens']} tokens, {self._chunks / seconds:.0f} tokens/s in the batch"
        self._codes[attempt["id"]] = attempt["code"]
        if attempt["duplicate_of"]:
            self._line(f"  {attempt['id']}  same program as {attempt['duplicate_of']}, not run again ({rate})", "dim")
            return
        self._line(f"  {attempt['id']}  {attempt['strategy']} at temperature {attempt['temperature']:g} ({rate})")
        if attempt.get("finish_reason") == "repetition":
            self._line("        it only repeated itself in the end: cut there", "yellow")
        self._show_code(attempt["code"])
        self._streams = {}
        self._doing = "testing in the sandbox"

    def _on_checked(self, data: dict[str, Any]) -> None:
        findings = [Feedback.model_validate(item) for item in data["findings"]]
        new = [found for found in findings if found.action != "ask" or data["attempt_id"] not in self._asked]
        self._checked = [(data["attempt_id"], finding) for finding in new[:MAX_FINDINGS]]
        for attempt_id, finding in self._checked:
            self._finding(attempt_id, finding)

    def _on_verdict(self, data: dict[str, Any]) -> None:
        verdict = data["verdict"]
        if not verdict["total"]:
            return  # nothing was tested; the last line says so
        style = "bold green" if verdict["verdict"] == "pass" else "red"
        mark = "PASS" if verdict["verdict"] == "pass" else "FAIL"
        low = " (low trust: judged in the program's own process)" if verdict.get("trust") == "low" else ""
        said = f"{mark} {verdict['passed']}/{verdict['total']} {verdict['reason']}{low}"
        self._line(f"  {data['attempt_id']}  {said}", style)
        failing = [case for case in verdict["cases"] if case["status"] not in ("pass", "skipped")]
        for case in failing[:2]:
            got = f", got {case['actual']}" if case["actual"] is not None else ""
            self._line(f"        {case['call']}: expected {case['expected']}{got} {case['message']}", "red")

    def _on_decision(self, data: dict[str, Any]) -> None:
        if data["decision"] == "repair":
            self._doing = f"reflecting on {data['attempt_id']}"

    def _on_diagnosis(self, data: dict[str, Any]) -> None:
        self._line(f"  diagnosis of {data['attempt_id']}: {data['cause']} {data['fix']}", "yellow")

    def _on_engine_restarted(self, data: dict[str, Any]) -> None:
        self._line(f"  {data['message']}", "bold yellow", warns=True)

    def _on_refused(self, data: dict[str, Any]) -> None:
        if not self._console.is_terminal:  # there the findings have been said
            for attempt_id, finding in self._checked:
                self._finding(attempt_id, finding, warns=True)
            if not self._checked:
                self._line("  the static checks found nothing", warns=True)
        self._line(f"  not run: {data['reason']}", "bold yellow", warns=True)

    def _on_approval_needed(self, data: dict[str, Any]) -> None:
        """Ask in this thread; the run waits in its own for the answer in `answers`."""
        if not self._asks or data["mode"] != "ask":
            return
        if self._live is not None:
            self._live.stop()
        approval = Approval(granted=False, mode="ask", reason="interrupted at the question")
        try:
            for item in data["findings"]:
                self._finding(data["attempt_id"], Feedback.model_validate(item))
            self._asked.add(data["attempt_id"])
            which = ", with findings like these," if data["findings"] else ""
            question = f"May this run's candidates{which} be executed in the sandbox? [bold]y[/]es / [bold]n[/]o: "
            self._console.print(question, end="")
            answer = input().strip().lower()
            granted = answer in ("y", "yes")
            approval = Approval(
                granted=granted, mode="ask", reason="approved by the user" if granted else "the user said no"
            )
        except EOFError:
            approval = Approval(granted=False, mode="ask", reason="no answer to the question")
        finally:
            self.answers.put(approval)
        if self._live is not None:
            self._live.start()

    # ------------------------------------------------------------- drawing

    def totals(self, episode: Episode) -> None:
        """The last lines: what came of it and what it cost."""
        tokens, seconds = episode.tokens, episode.wall_s
        style = "bold green" if episode.status == "solved" else "bold yellow"
        reason = "" if episode.stop == episode.status else f" ({episode.stop})"
        low = ", low trust" if episode.status == "solved" and episode.trust == "low" else ""
        if episode.status == "unverified":
            self._line(NO_TESTS, style, warns=True)
        else:
            said = f"{episode.status}{low}{reason}{_failing(episode)}"
            self._line(said, style, warns=episode.status != "solved")
        self._line(
            f"{episode.cycles} cycle{'s' * (episode.cycles != 1)}, {len(episode.attempts)} samples, "
            f"{tokens.completion} tokens written and {tokens.prompt} read, {seconds:.1f} s; "
            f"run {episode.run_id}, episode {episode.episode_id[:8]}",
            "dim",
        )
        self.doing("ending the engine and the memory")

    def _show_code(self, code: str) -> None:
        """The first program whole, later ones as a difference from the one before."""
        if not self._console.is_terminal or not code.strip():
            return
        if not self._last_code:
            self._console.print(Syntax(printable(code), "python", background_color="default", padding=(0, 4)))
        else:
            changed = difflib.unified_diff(
                self._last_code.splitlines(), code.splitlines(), "before", "now", lineterm="", n=1
            )
            text = printable("\n".join(changed))
            self._console.print(Syntax(text, "diff", background_color="default", padding=(0, 4)))
        self._last_code = code

    def _finding(self, attempt_id: str, finding: Feedback, *, warns: bool = False) -> None:
        place = f" line {finding.line}" if finding.line else ""
        style = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
        said = [part for part in (finding.rule, finding.action if finding.action != "allow" else "") if part]
        rule = f" [{', '.join(said)}]" if said else ""
        self._line(f"  {attempt_id}  {finding.kind}{place}: {finding.message}{rule}", style, warns=warns)

    def _line(self, text: str, style: str = "", *, warns: bool = False) -> None:
        """warns: said without a terminal, too."""
        if self._console.is_terminal or warns:
            line = Text(printable(" ".join(text.split("\n")).rstrip()), style=style)
            self._console.print(line, soft_wrap=not self._console.is_terminal)

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._render())

    def _render(self) -> RenderableType:
        elapsed = time.monotonic() - self._began
        rate = ""
        if self._streams:
            rate = f" · {self._chunks / max(time.monotonic() - self._drawing_since, 1e-3):.0f} tokens/s"
        status = Spinner("dots", Text(one_line(f"{self._doing}{rate} · {elapsed:.0f} s"), style="bold"))
        if not self._streams:
            return status
        first = "".join(self._streams[min(self._streams)])
        tail = printable("\n".join(first.splitlines()[-TAIL_LINES:]))
        return Group(status, Syntax(tail, "python", background_color="default", padding=(0, 4)))


def _failing(episode: Episode) -> str:
    """How many tests the best program passes, where it does not pass all."""
    verdict = episode.hidden_verdict or episode.verdict
    if verdict is None or not verdict.total or episode.status == "solved":
        return ""
    which = "hidden tests" if episode.hidden_verdict else "tests"
    return f": the best program passes {verdict.passed} of {verdict.total} {which}"


class TerminalApprover:
    """Waits for the answer that SolveView asked for. The wait is in the run's thread, the question in the main one."""

    def __init__(self, view: SolveView) -> None:
        self._view = view

    def approve(self, code: str, findings: tuple[Feedback, ...]) -> Approval:
        return self._view.answers.get()
