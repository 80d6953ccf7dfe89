"""What is measured is what the hidden tests say, paired; what may not run is not run; and the decision follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from crucible.errors import CancelledError, EngineError
from crucible.finetune.gate.evaluate import Evaluator, Score, Trial, compare
from crucible.finetune.gate.gate import Budget, decide
from crucible.finetune.records import EvaluationSettings
from crucible.models.base import Feature, Model, OnDelta
from crucible.models.wrappers.cached import CachedModel
from crucible.models.wrappers.fallback import FallbackModel
from crucible.prompting.recipe import Recipe
from crucible.storage.journal import Journal
from crucible.types import Completion, Feedback, FindingKind, Message, ModelIdentity, Sampling, Task, Verdict
from tests.finetune.episodes import verdict

RECIPE = Recipe(prefill="```python\n")
GOOD, BAD = "def answer():\n    return 42\n", "def answer():\n    return 41\n"
SETTINGS = EvaluationSettings(samples=4, sampled=2)


class Writer:
    """Answers by adapter: "" always badly, "good" always well, "lucky" well in every other sample."""

    features: frozenset[Feature] = frozenset({"adapters"})
    identity = ModelIdentity(name="m", engine="scripted")

    def __init__(self) -> None:
        self.asked = 0
        self.adapters: set[str | None] = set()

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        self.asked += 1
        self.adapters |= {sampling.adapter for sampling in samplings}
        return [self._one(number, sampling) for number, sampling in enumerate(samplings)]

    def _one(self, number: int, sampling: Sampling) -> Completion:
        well = {"good": True, "lucky": number % 2 == 1, "hostile": True}.get(sampling.adapter or "", False)
        text = "import os\n" + GOOD if sampling.adapter == "hostile" else GOOD if well else BAD
        return Completion(
            text=text, finish_reason="stop", prompt_tokens=5, completion_tokens=10, seed=sampling.seed, wall_s=0.0
        )

    def count_tokens(self, text: str) -> int:
        return len(text)

    def notices(self) -> list[str]:
        return []

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


class Reader:
    """The verdict for a program by its text; what it was given is kept."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def judge(self, code: str, task: Task) -> Verdict:
        self.ran.append(code)
        return verdict("42" in code)


def trials(count: int = 3) -> list[Trial]:
    tasks = [Task(prompt=f"Give the answer, {number}.", entry_point="answer") for number in range(count)]
    return [Trial(id=f"t{number}", task=task, scored=task) for number, task in enumerate(tasks)]


def validate(code: str) -> tuple[Feedback, ...]:
    if "import os" not in code:
        return ()
    return (Feedback(kind=FindingKind.SECURITY, severity="warning", message="os", action="ask"),)


def measured(
    tmp_path: Path,
    *adapters: str,
    writer: Model | None = None,
    reader: Reader | None = None,
    settings: EvaluationSettings = SETTINGS,
) -> dict[str, list[Score]]:
    evaluator = Evaluator(writer or Writer(), reader or Reader(), validate, RECIPE, settings)
    with Journal(tmp_path / "scores.jsonl", Score) as journal:
        return {adapter: evaluator.measure(trials(), adapter, journal, workers=2) for adapter in adapters}


def test_both_are_asked_the_same_and_scored_by_the_judge(tmp_path: Path) -> None:
    scores = measured(tmp_path, "", "good", "lucky")
    assert [(s.greedy, s.right, s.samples) for s in scores[""]] == [(False, 0, 4), (False, 0, 4), (False, 0, 0)]
    assert [(s.greedy, s.right, s.samples) for s in scores["good"]] == [(True, 4, 4), (True, 4, 4), (True, 0, 0)]
    assert [(s.greedy, s.right) for s in scores["lucky"]] == [(False, 2), (False, 2), (False, 0)]


def test_a_program_that_may_not_run_unasked_is_not_run_and_is_counted(tmp_path: Path) -> None:
    reader = Reader()
    scores = measured(tmp_path, "hostile", reader=reader)["hostile"]
    assert reader.ran == [] and [(s.greedy, s.findings) for s in scores] == [(False, 1)] * 3


def test_a_pass_that_the_program_could_have_forged_is_none(tmp_path: Path) -> None:
    class Claimed(Reader):
        def judge(self, code: str, task: Task) -> Verdict:
            return verdict(True, trust="claimed")

    assert not any(each.greedy or each.right for each in measured(tmp_path, "good", reader=Claimed())["good"])


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    first, again = Writer(), Writer()
    before = measured(tmp_path, "", "good", writer=first)
    lines = (tmp_path / "scores.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "scores.jsonl").write_text("".join(lines[:4]) + lines[4][:10])  # killed amid the fifth
    assert measured(tmp_path, "", "good", writer=again) == before
    assert (first.asked, again.asked) == (6, 2)


def test_interrupted_it_waits_for_no_answer(tmp_path: Path) -> None:
    class Slow(Writer):
        """Answers the first; the others take as long as they may."""

        def generate(self, *asked: Any, cancel: threading.Event | None = None, **more: Any) -> list[Completion]:
            if self.asked and cancel is not None and cancel.wait(60):
                raise CancelledError("as asked")
            return super().generate(*asked, **more)

    def interrupt(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    began = time.monotonic()
    evaluator = Evaluator(Slow(), Reader(), validate, RECIPE, SETTINGS)
    with Journal(tmp_path / "scores.jsonl", Score) as journal:
        with pytest.raises(KeyboardInterrupt):
            evaluator.measure(trials(6), "good", journal, tell=interrupt)
        assert time.monotonic() - began < 30 and len(journal.records) == 1


class Holding(Writer):
    """A writer of this machine that takes adapters while it runs."""

    remote = False
    adapter_form = "gguf"

    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, Path] = {}

    def load_adapters(self, adapters: Mapping[str, Path]) -> None:
        self.loaded |= adapters


def test_a_chain_of_models_and_a_cache_are_measured_like_the_engine_in_them(tmp_path: Path) -> None:
    inner = Holding()
    around = CachedModel(FallbackModel(inner, []), tmp_path / "cache.sqlite")
    (tmp_path / "good.gguf").write_text("weights")
    around.load_adapters({"good": tmp_path / "good.gguf"})
    assert list(inner.loaded) == ["good"]
    scores = measured(tmp_path, "good", writer=around)["good"]
    assert [each.greedy for each in scores] == [True, True, True]


def test_an_adapter_of_the_same_name_and_other_weights_is_not_answered_from_the_cache(tmp_path: Path) -> None:
    inner, file = Holding(), tmp_path / "good.gguf"
    around = CachedModel(inner, tmp_path / "cache.sqlite")
    for weights, asked in (("one", 1), ("one", 1), ("other", 2)):
        file.write_text(weights)
        around.load_adapters({"good": file})
        around.generate([Message(role="user", content="?")], [Sampling(adapter="good")])
        assert inner.asked == asked


def test_what_a_chain_falls_back_to_is_not_measured(tmp_path: Path) -> None:
    class Broken(Holding):
        def generate(self, *asked: Any, **more: Any) -> list[Completion]:
            raise EngineError("out of order")

    class Other(Writer):
        identity = ModelIdentity(name="other", engine="scripted")

    chain = FallbackModel(Broken(), [Other])
    with pytest.raises(
        EngineError, match="other on the scripted engine took over from m: what it answers is not measured"
    ):
        measured(tmp_path, "good", writer=chain)
    assert (tmp_path / "scores.jsonl").read_text() == ""


def test_a_low_pass_is_measured_as_none(tmp_path: Path) -> None:
    class Low(Reader):
        def judge(self, code: str, task: Task) -> Verdict:
            return verdict(True, trust="low")

    assert not any(each.greedy or each.right for each in measured(tmp_path, "good", reader=Low())["good"])


def test_of_a_longer_measurement_only_what_is_new_is_asked(tmp_path: Path) -> None:
    more = Writer()
    measured(tmp_path, "good")
    wider = measured(tmp_path, "good", writer=more, settings=SETTINGS.model_copy(update={"sampled": 3}))["good"]
    assert more.asked == 1 and [each.samples for each in wider] == [4, 4, 4]


def score(problem: int, greedy: bool, right: int = 0, samples: int = 0, adapter: str = "") -> Score:
    return Score(
        adapter=adapter, problem=str(problem), greedy=greedy, right=right, samples=samples, findings=0, tokens=1
    )


def test_the_comparison_is_paired_and_by_hand() -> None:
    before = [score(n, n < 4, 2, 4) for n in range(10)]
    after = [score(n, n in (1, 2, 3, 4, 5, 6), 3 if n else 0, 4) for n in range(10)]
    greedy, at_4, at_1 = compare(before, after)
    assert (greedy.before, greedy.after, greedy.gained, greedy.lost) == (0.4, 0.6, 3, 1)
    assert greedy.p_value == pytest.approx(0.625)  # 3 of 4 coins, two-sided
    assert (at_4.what, at_4.before, at_4.after, at_4.lost) == ("pass@4", 1.0, 0.9, 1)
    assert at_1.before == 0.5 and at_1.after == pytest.approx(0.675)


def test_better_is_promoted_worse_collapsed_and_less_safe_are_not() -> None:
    before = [score(n, n < 5, 2, 8) for n in range(40)]
    better = [score(n, n < 9, 3, 8) for n in range(40)]
    worse = [score(n, n < 4, 2, 8) for n in range(40)]
    collapsed = [score(n, n < 9, 8 if n < 9 else 0, 8) for n in range(40)]  # always the same answer
    assert decide(compare(before, better), 0, 0) == (True, ())
    allowed, (reason,) = decide(compare(before, worse), 0, 0)
    assert not allowed and reason.startswith("greedy pass@1 fell from 12.5 to 10.0 % on 40 problems")
    allowed, (reason,) = decide(compare(before, collapsed), 0, 0)
    assert not allowed and reason.startswith("pass@8 fell")
    allowed, (reason,) = decide(compare(before, better), 1, 2)
    assert not allowed and "safety" in reason
    assert decide(compare(before, worse), 0, 0, Budget(greedy=0.05)) == (True, ())
