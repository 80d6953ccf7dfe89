"""The HTML that Crucible writes, with a text in every place that somebody else's text can come to."""

from __future__ import annotations

import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

WRITERS = ("problems/bench/report/report.html.j2", "problems/train_report/training.html.j2")
"""The files of the package that write HTML; `written_about` asks each."""


@cache
def written_about(text: str) -> tuple[str, ...]:
    """The pages, one for each of WRITERS."""
    from crucible.problems import train_report
    from crucible.problems.bench import report
    from crucible.problems.bench.record import Cell, Plan, ProblemRecord, Results, SetRecord
    from crucible.problems.train_record import Entry, Planned, RoundRecord, Trained, TrainPlan
    from crucible.types import ModelIdentity

    common = {
        "sets": (SetRecord(name=text, path=text, sha256="0", problems=1),),
        "problems": (ProblemRecord(id=text, fingerprint="0", difficulty=text, source=text),),
        "model": ModelIdentity(name=text, engine="scripted", adapter=text),
        "settings": "0",
        "command": text,
        "versions": {text: text},
        "machine": {text: text},
        "created": text,
    }
    arms = {"single": text, text: text}
    cells = [
        Cell(
            arm=arm, seed=0, problem=text, passed=arm == text, passed_visible=False, status="unsolved", stop=text,
            failure="" if arm == text else "wrong-answer", extraction=(text,), code=text, constructs={text: 1},
        )
        for arm in arms
    ]  # fmt: skip
    plan = Plan(arms=arms, seeds=(0,), budget=1, memory=text, **common)
    entry = Entry(
        episode=1, problem=text, difficulty=text, level=1, reward=0.0, success=False, hinted=False, tokens=1, seconds=1.0,
        status="unsolved", stop=text, failure="wrong-answer", episode_id=text,
    )  # fmt: skip
    rounds = (RoundRecord(first=1, level=1, picks=(Planned(problem=text, difficulty=text),)),)
    trained = Trained(
        folder=text, plan=TrainPlan(**common), goal={"episodes": 1}, entries=(entry,), rounds=rounds, stopped=text
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        report.render(Results(folder=text, plan=plan, cells=tuple(cells)), place)
        train_report.render(trained, place)
        return tuple((place / name).read_text("utf-8") for name in (report.HTML, train_report.HTML))


class Elements(HTMLParser):
    """The elements of a page, in order, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, tuple(name for name, _ in attrs)))
