"""The report on a fine-tuning: what it shows, from figures made for it; what a model wrote is shown and does nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crucible.finetune.methods.health import MORE_KL, Alert, Step
from crucible.finetune.methods.samples import Sample, keep, kept
from crucible.finetune.records import Change
from crucible.finetune.report import HTML, MARKDOWN, Story, render
from crucible.finetune.store import FinetuneStore
from tests.finetune.proposals import evaluation, proposed, trained

HOSTILE = "```\n# Owned\n</code><script>alert(1)</script>\u202e\x1b[2J{{ 7 * 7 }}\n````"
STEPS = [
    Step(
        step=number,
        steps=20,
        seconds=2.0 * number,
        figures={"loss": 1 / number, "grad_norm": 0.5, "reward": number / 20, "entropy": 0.7, "kl": 0.01 * number},
        signs=(Alert(step=20, level="stop", what="kl", said="too far away", change=MORE_KL),) if number == 20 else (),
    )
    for number in range(1, 21)
]


@pytest.fixture
def bare(tmp_path: Path) -> Story:
    id_ = proposed(tmp_path)
    store = FinetuneStore(tmp_path / "finetune")
    proposal, _ = store.proposal(id_)
    return Story(proposal, store.dataset(proposal), "proposed", [], [], None, None, None)


@pytest.fixture
def whole(bare: Story) -> Story:
    changed = (Change(problem="mbpp/1", gained=True, before="def f(:", after="def f(x):\n    return x"),)
    samples = [
        Sample(step=step, task=f"write f{step}", kind=kind, answer=f"{kind} of {step}", reward=0.5)
        for step in range(0, 20, 2)
        for kind in ("best", "worst")
    ]
    found = evaluation(bare.proposal.id).model_copy(update={"changed": changed})
    return bare._replace(steps=STEPS, samples=samples, trained=trained(bare.proposal.id), evaluation=found)


def pages(story: Story, out: Path) -> tuple[str, str]:
    assert sorted(path.name for path in render(story, out)) == [HTML, MARKDOWN]
    return (out / MARKDOWN).read_text(), (out / HTML).read_text()


def test_the_verdict_comes_first_with_its_figures(whole: Story, tmp_path: Path) -> None:
    for page in pages(whole, tmp_path):
        first = page.index("It may be promoted")
        assert first < page.index("40.0 % before, 50.0 % after") < page.index("Sample completions")
        assert "stopped at step 20: too far away" in page and MORE_KL in page


def test_there_is_a_plot_of_every_figure_that_was_told_and_of_the_data(whole: Story, tmp_path: Path) -> None:
    _, html = pages(whole, tmp_path)
    titles = re.findall(r"<h3>([^<:]+):", html)
    for wanted in ("Before and after", "Reward", "Loss", "Gradient norm", "Entropy", "Distance from the model"):
        assert any(title.startswith(wanted) for title in titles), titles
    assert "Repetition" not in html and "Characters an answer" in html and "Constructs" in html


def test_completions_of_a_few_steps_are_shown_from_the_first_to_the_last(whole: Story, tmp_path: Path) -> None:
    markdown, _ = pages(whole, tmp_path)
    assert re.findall(r"### After (\d+) steps?", markdown) == ["0", "6", "12", "18"]
    assert "best, worth 0.50: write f6" in markdown and "worst of 18" in markdown


@pytest.mark.parametrize("place", ["sample", "change", "sign"])
def test_what_a_model_wrote_is_shown_and_does_nothing(whole: Story, tmp_path: Path, place: str) -> None:
    assert whole.evaluation is not None
    hostile = {
        "sample": {"samples": [Sample(step=1, task=HOSTILE, kind="greedy", answer=HOSTILE)]},
        "change": {
            "evaluation": whole.evaluation.model_copy(
                update={"changed": (Change(problem=HOSTILE, gained=False, before=HOSTILE, after=HOSTILE),)}
            )
        },
        "sign": {
            "steps": [
                STEPS[0].model_copy(
                    update={"signs": (Alert(step=1, level="warn", what="x", said=HOSTILE, change=HOSTILE),)}
                )
            ]
        },
    }
    markdown, html = pages(whole._replace(**hostile[place]), tmp_path)
    assert "<script" not in html and "alert(1)" in html and "{{ 7 * 7 }}" in html
    for page in (markdown, html):
        assert "\u202e" not in page and "\x1b" not in page
    blocks = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", markdown, flags=re.M | re.S)
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", blocks)
    assert not re.search(r"(?<!\\)<script", outside) and not re.search(r"^# Owned", blocks, re.M)


def test_one_that_was_only_proposed_has_its_data_and_its_risks(bare: Story, tmp_path: Path) -> None:
    for page in pages(bare, tmp_path):
        assert "It is not trained" in page and bare.proposal.risks[0] in page and "Sample completions" not in page


def test_the_same_gives_the_same_bytes(whole: Story, tmp_path: Path) -> None:
    assert pages(whole, tmp_path / "one") == pages(whole, tmp_path / "two")


def test_a_step_that_was_made_again_is_kept_once_and_secrets_are_not(tmp_path: Path) -> None:
    secret = "AKIA" + "IOSFODNN7EXAMPLQ"
    first = Sample(step=2, task="t", kind="greedy", answer="first")
    keep(tmp_path, [first, Sample(step=0, task="t", kind="greedy", answer=f"aws key '{secret}'")])
    keep(tmp_path, [first.model_copy(update={"answer": "again"})])
    found = kept(tmp_path)
    assert [each.step for each in found] == [0, 2] and found[1].answer == "again"
    assert secret not in (tmp_path / "samples.jsonl").read_text()
