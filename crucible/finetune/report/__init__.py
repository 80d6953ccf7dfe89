"""The report on a fine-tuning, in the style of the benchmark's and with its canvas: finetuning.md and finetuning.html.

What the data is made of, how the training went and what it showed signs of, what the model wrote on the way, and what the
evaluation found. The same fine-tuning gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from crucible.app import Crucible
from crucible.errors import StoreError
from crucible.finetune.data.dataset import Dataset
from crucible.finetune.methods.health import Alert, Step
from crucible.finetune.methods.learning import LOG
from crucible.finetune.methods.samples import Sample, kept
from crucible.finetune.records import Evaluation, Manifest, Proposal, Trained
from crucible.finetune.steps.parts import gate_of, store_of
from crucible.reporting.words import count, percent, points
from crucible.storage.files import write_atomically
from crucible.storage.journal import read

HTML, MARKDOWN = "finetuning.html", "finetuning.md"
ROUNDS = 4
"""Of which sample completions are shown."""


class Story(NamedTuple):
    """All that there is of a fine-tuning. steps: each once, as it was made last."""

    proposal: Proposal
    dataset: Dataset
    state: str
    steps: list[Step]
    samples: list[Sample]
    trained: Trained | None
    manifest: Manifest | None
    evaluation: Evaluation | None

    @property
    def signs(self) -> list[Alert]:
        return [sign for step in self.steps for sign in step.signs]


def gather(app: Crucible, id_: str) -> Story:
    """Raises InputError for one that there is not, StoreError where it is damaged."""
    store = store_of(app)
    folder = store.folder(id_)
    proposal, _ = store.proposal(id_)
    trained, evaluation = store.trained(id_), store.evaluation(id_)
    manifest = store.manifest(id_)
    return Story(
        proposal=proposal,
        dataset=store.dataset(proposal),
        state=gate_of(app).state(id_),
        steps=list({step.step: step for step in read(folder / LOG, Step)}.values()),
        samples=kept(folder),
        trained=trained[0] if trained else None,
        manifest=manifest[0] if manifest else None,
        evaluation=evaluation[0] if evaluation else None,
    )


def render(story: Story, out: Path) -> list[Path]:
    """Writes both pages into the folder `out`, each whole or not at all, and returns them. Raises StoreError."""
    from crucible.bench.report.pages import environment
    from crucible.finetune.report.plots import draw

    values = {
        "proposal": story.proposal,
        "evaluation": story.evaluation,
        "signs": story.signs,
        "plots": draw(story),
        "samples": _spread(story.samples),
        "subject": _subject(story),
        "verdict": list(_verdict(story)),
        "made": list(_made(story)),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {out}: {error.strerror}") from error
    pages = {out / MARKDOWN: "finetuning.md.j2", out / HTML: "finetuning.html.j2"}
    for path, template in pages.items():
        made = environment(markdown=path.suffix == ".md", package=__package__ or "").get_template(template)
        write_atomically(path, made.render(**values))
    return list(pages)


def _spread(samples: list[Sample]) -> list[tuple[int, list[Sample]]]:
    """By step: of the first, the last and some between."""
    steps = sorted({each.step for each in samples})
    if len(steps) > ROUNDS:
        steps = sorted({steps[round(at * (len(steps) - 1) / (ROUNDS - 1))] for at in range(ROUNDS)})
    return [(step, [each for each in samples if each.step == step]) for step in steps]


def _subject(story: Story) -> str:
    proposal = story.proposal
    return (
        f"{proposal.method} of {proposal.parent or proposal.base} on {count(proposal.examples)} examples of "
        f"{count(proposal.episodes)} episodes, seed {proposal.training.seed}; now it is {story.state}"
    )


def _verdict(story: Story) -> Iterator[tuple[str, str]]:
    """Sentences and the figures behind them."""
    if story.evaluation is not None:
        said = "It may be promoted" if story.evaluation.passed else "It may not be promoted"
        yield said, "; ".join(story.evaluation.reasons)
        for each in story.evaluation.measured:
            yield (
                f"{each.what}: {percent(each.before)} before, {percent(each.after)} after",
                f"{points(each.after - each.before)} points on {count(each.problems)} problems, {each.gained} gained and "
                f"{each.lost} lost, p = {each.p_value:.3f}",
            )
        yield (
            f"Programs that the policy would not let run unasked: {story.evaluation.safety_before} before, "
            f"{story.evaluation.safety_after} after",
            "on the shipped safety tasks",
        )
    elif story.trained is not None:
        yield "It is not evaluated yet", "what training itself says of an adapter is no measure of it"
    elif story.steps:
        yield f"Training is at step {story.steps[-1].step} of {story.steps[-1].steps}", ""
    else:
        yield "It is not trained", ""
    for sign in story.signs:
        if sign.level == "stop":
            yield f"Training was stopped at step {sign.step}: {sign.said}", f"to change: {sign.change}"


def _made(story: Story) -> Iterator[tuple[str, str]]:
    proposal = story.proposal
    yield "base model", f"{proposal.base}, SHA-256 {proposal.base_sha256}"
    yield "data", f"SHA-256 {proposal.dataset_sha256}"
    yield "levels", ", ".join(f"{name}: {count(number)}" for name, number in proposal.levels.items())
    yield "left out", "; ".join(f"{count(number)} {why}" for why, number in proposal.left_out.items()) or "nothing"
    yield "training", ", ".join(f"{name} {value}" for name, value in proposal.training.model_dump().items())
    for each in proposal.evaluation:
        yield "measured on", f"{each.path}, {count(each.problems)} problems, SHA-256 {each.sha256}"
    for each in proposal.hidden:
        yield "watched with the hidden tests of", f"{each.path}, SHA-256 {each.sha256}"
    if (trained := story.trained) is not None:
        yield (
            "trained",
            f"{count(trained.steps)} steps in {trained.minutes:g} min, {trained.peak_memory_gib:g} GiB at most; about "
            f"{proposal.estimate.minutes:g} min and {proposal.estimate.memory_gib:g} GiB were foretold",
        )
        yield "adapter", f"{trained.adapter}, SHA-256 {trained.adapter_sha256}"
    if (manifest := story.manifest) is not None:
        yield "versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        yield "machine", ", ".join(f"{name} {value}" for name, value in manifest.machine.items())
    yield "proposed", proposal.created.isoformat(timespec="seconds")
