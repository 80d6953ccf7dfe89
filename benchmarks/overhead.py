"""What the loop itself costs: a 10-cycle run with checkpoints over the scripted engine, in real parts otherwise.

    make bench        or        python -m benchmarks.overhead [RUNS]

Every cycle generates one wrong program, lints it, judges it in the sandbox and writes its checkpoints. The time spent
inside the judge is measured in the same run and taken off; what is left, per cycle, is Crucible's overhead.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from crucible.app import Crucible
from crucible.config import Paths, load_settings
from crucible.models.scripted import ScriptedModel
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.probe import select_sandbox
from crucible.types import Task, Verdict

CYCLES = 10
BOUND_MS = 30.0


class TimedJudge:
    """The real judge with a stopwatch."""

    def __init__(self, judge: SandboxJudge) -> None:
        self._judge = judge
        self.seconds = 0.0

    def judge(self, code: str, task: Task) -> Verdict:
        began = time.perf_counter()
        verdict = self._judge.judge(code, task)
        self.seconds += time.perf_counter() - began
        return verdict


def measure(app: Crucible, judge: TimedJudge, number: int) -> tuple[float, float, float]:
    """(total, sandbox, overhead) in ms a cycle of one run that never solves its task."""
    judge.seconds = 0.0
    task = Task(prompt=f"Write double(n), run {number}.", entry_point="double", tests="assert double(2) == 4")
    began = time.perf_counter()
    episode = app.solve(task)
    total = time.perf_counter() - began
    assert episode.cycles == CYCLES and episode.status == "unsolved", episode.stop
    per = 1000 / CYCLES
    return total * per, judge.seconds * per, (total - judge.seconds) * per


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    answers = [
        f"```python\ndef double(n):\n    return n * {factor}\n```" for factor in range(3, 3 + CYCLES * (runs + 1))
    ]
    with tempfile.TemporaryDirectory() as home:
        overrides: dict[str, dict[str, Any]] = {
            "cycles": {"max_cycles": CYCLES, "samples": 1, "strategy": "resample", "approve": "auto"},
            "model": {"name": "scripted"},
        }
        settings = load_settings(overrides=overrides)
        settings = settings.model_copy(update={"paths": Paths(home=Path(home), cache=settings.paths.cache)})
        judge = TimedJudge(SandboxJudge(select_sandbox()))
        with Crucible(settings=settings, model=ScriptedModel(answers), judge=judge) as app:
            began = time.perf_counter()
            measure(app, judge, 0)  # loads the encoder, LangGraph and the sandbox once
            first = time.perf_counter() - began
            rows = [measure(app, judge, number) for number in range(1, runs + 1)]
    total, sandbox, overhead = (statistics.median(column) for column in zip(*rows, strict=True))
    spread = [row[2] for row in rows]
    print(f"{CYCLES}-cycle run, {runs} runs, median ms a cycle (the first run, with all loading, took {first:.1f} s)")
    print(f"  whole cycle       {total:7.1f}")
    print(f"  inside the judge  {sandbox:7.1f}   baseline")
    print(
        f"  overhead          {overhead:7.1f}   {min(spread):.1f} to {max(spread):.1f}; {overhead / sandbox:.2f} x the baseline"
    )
    print(f"  bound             {BOUND_MS:7.1f}   {'kept' if overhead <= BOUND_MS else 'BROKEN'}")
    return 0 if overhead <= BOUND_MS else 1


if __name__ == "__main__":
    sys.exit(main())
