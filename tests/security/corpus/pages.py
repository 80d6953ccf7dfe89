"""The HTML that Crucible writes, with a text in every place that somebody else's text can come to."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crucible.finetune.report import Story

WRITERS = (
    "bench/report/report.html.j2",
    "experience/report/training.html.j2",
    "finetune/report/finetuning.html.j2",
)
"""The files of the package that write HTML; `written_about` asks each."""
READERS = (
    "models/weights/gguf.py",
    "models/transport/quoting.py",
    "models/weights/sources.py",
    "languages/python/extraction/characters.py",
    "languages/python/extraction/wrappings.py",
)
"""The files that know HTML in order to recognise it in what others sent, and write none."""


@cache
def written_about(text: str) -> tuple[str, ...]:
    """The pages, one for each of WRITERS."""
    from crucible.bench import report
    from crucible.bench.record import Cell, Plan, ProblemRecord, Results, SetRecord
    from crucible.experience import report as train_report
    from crucible.experience.record import Entry, Planned, RoundRecord, Trained, TrainPlan
    from crucible.finetune import report as finetuned
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
        finetuned.render(_story(text), place)
        names = (report.HTML, train_report.HTML, finetuned.HTML)
        return tuple((place / name).read_text("utf-8") for name in names)


def _story(text: str) -> Story:
    from crucible.finetune.data.dataset import Dataset, Example
    from crucible.finetune.methods.health import Alert, Step
    from crucible.finetune.methods.samples import Sample
    from crucible.finetune.records import (
        Change,
        Estimate,
        Evaluation,
        EvaluationSet,
        Manifest,
        Measured,
        Proposal,
        Trained,
        TrainingConfig,
    )
    from crucible.finetune.report import Story
    from crucible.types import Task

    now = datetime(2026, 11, 1, tzinfo=UTC)
    used = EvaluationSet(path=text, sha256=text, problems=1)
    proposal = Proposal(
        id=text, method="sft", name=text, base=text, base_sha256=text, parent=text, dataset_sha256=text, data_file_sha256=text,
        examples=1, levels={text: 1}, left_out={text: 1}, episodes=1, training=TrainingConfig(), evaluation=(used,), hidden=(used,),
        estimate=Estimate(tokens=1, steps=1, minutes=1.0, memory_gib=1.0, basis=text), risks=(text,), created=now,
    )  # fmt: skip
    learned = Example(task=Task(prompt="t"), prompt=(), chosen="def f():\n    return 1\n```", episodes=(text,))
    signs = (Alert(step=1, level="stop", what="loss", said=text, change=text),)
    return Story(
        proposal=proposal,
        dataset=Dataset(kind="sft", examples=(learned,), episodes={text: text}, left_out={}),
        state=text,
        steps=[Step(step=step, steps=2, seconds=1.0, figures={"loss": 1.0 / step}, signs=signs) for step in (1, 2)],
        samples=[Sample(step=1, task=text, kind="greedy", answer=text, reward=0.5)],
        trained=Trained(
            proposal=text, adapter=text, adapter_sha256=text, manifest_sha256=text, steps=2, minutes=1.0, peak_memory_gib=1.0,
            final_loss=0.5,
        ),
        manifest=Manifest(
            proposal_sha256=text, dataset_sha256=text, episodes={text: text}, base_sha256=text, parent_sha256=text,
            training=TrainingConfig(), versions={text: text}, machine={text: text}, steps=2, adapter_sha256=text,
        ),
        evaluation=Evaluation(
            proposal=text, adapter=text, against=text, safety_before=0, safety_after=0, passed=False, reasons=(text,),
            measured=(Measured(what=text, before=0.4, after=0.5, problems=2, gained=1, lost=0, p_value=1.0),),
            changed=(Change(problem=text, gained=True, before=text, after=text),), created=now,
        ),
    )  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, in order, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, tuple(name for name, _ in attrs)))
