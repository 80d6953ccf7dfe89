"""A small benchmark over the scripted engine: `python -m tests.bench.small FOLDER` runs what FOLDER lacks of it.

Says "cell" for every cell that is done. Everything but the model is real.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from crucible.app import Crucible
from crucible.bench.record import Results
from crucible.bench.run import Progress
from crucible.benchmark import benchmark
from crucible.memory import MemoryStore
from crucible.models.scripted import Rule, ScriptedModel
from tests.conftest import settings_at
from tests.memory.episodes import HashEncoder

NUMBERS = range(2, 9)
ARMS = ("single", "best-of-n", "loop", "placebo")
SEEDS = (0, 1)


def problem(number: int, more: str = "") -> str:
    """times_N(n): a visible and two hidden tests. more: further lines of it."""
    return f"""
  - id: times-{number}
    title: Times {number}
    prompt: "Write times_{number}(n): n taken {number} times."
    difficulty: {1 + number % 3}
    entry_point: times_{number}
    examples: [{{input: [2], output: {2 * number}}}]
    test_cases: [[5], [0]]
    expected_outputs: [{5 * number}, 0]
    solutions: ["def times_{number}(n):\\n    return n * {number}\\n"]
{more}"""


def write_set(path: Path, numbers: range = NUMBERS, more: str = "") -> Path:
    path.write_text("problems:\n" + "".join(problem(number, more) for number in numbers))
    return path


def rules() -> list[Rule]:
    """Which reply comes depends on the sample's seed alone: a crash, a wrong answer, right for the visible test only,
    right, no program."""

    def replies(number: int) -> tuple[str, ...]:
        head = f"def times_{number}(n):\n    return "
        bodies = ("n // 0", f"n - {number}", str(2 * number), f"n * {number}", f"sum([{number}] * n)")
        made = [*(f"```python\n{head}{body}\n```" for body in bodies), "I cannot."]
        return tuple(made[number % 6 :] + made[: number % 6])

    return [
        Rule(match=f"times_{number}\\b", replies=replies(number), json={"cause": "it is wrong", "fix": "multiply"})
        for number in NUMBERS
    ]


def store(folder: Path) -> MemoryStore:
    """Cheap to start: the text encoder is not what is tested."""
    return MemoryStore(folder, encoder=HashEncoder())


def run(folder: Path, home: Path, *, tell: Callable[[Progress], None] = lambda _: None) -> Results:
    problems = write_set(folder.parent / "set.yaml")
    settings = settings_at(home, model={"slots": 3}, tools={"log_level": "off"})
    with Crucible(settings=settings, model=ScriptedModel(rules())) as app:
        return benchmark(app, [str(problems)], out=folder, arms=ARMS, seeds=SEEDS, budget=120, store=store, tell=tell)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    run(place, place.parent / "home", tell=lambda _: print("cell", flush=True))
