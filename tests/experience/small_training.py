"""A small training over the scripted engine: `python -m tests.experience.small_training FOLDER` goes on with it.

Says "episode" for every episode that is done. Everything but the model is real.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crucible.app import Crucible
from crucible.experience.record import Trained
from crucible.experience.train import Progress
from crucible.memory import MemoryStore
from crucible.models.scripted import Rule, ScriptedModel
from crucible.training import train
from tests.bench.small import write_set
from tests.conftest import settings_at
from tests.memory.episodes import HashEncoder

NUMBERS = range(2, 11)
HARD = 10
"""The problem that only a hint helps with."""
EVALUATION = range(20, 23)
EPISODES = 18
HINTS = '    hints: ["Think of multiplication.", "The operator is a star."]\n'


def rules() -> list[Rule]:
    """Which reply comes depends on the sample's seed alone; HARD is solved under a hint only."""

    def program(number: int, body: str) -> str:
        return f"```python\ndef times_{number}(n):\n    return {body}\n```"

    found = [Rule(match=rf"(?s)times_{HARD}\b.*Hint:", replies=(program(HARD, f"n * {HARD}"),))]
    for number in (*NUMBERS, *EVALUATION):
        bodies = ("n // 0", f"n - {number}", str(2 * number), f"n * {number}")
        replies = tuple(program(number, body) for body in (bodies[:2] if number == HARD else bodies))
        found.append(
            Rule(match=f"times_{number}\\b", replies=replies, json={"cause": "it is wrong", "fix": "multiply"})
        )
    return found


def run(folder: Path, home: Path, *, tell: Callable[[Progress], None] = lambda _: None, **more: Any) -> Trained:
    problems = write_set(folder.parent / "set.yaml", NUMBERS, HINTS)
    evaluation = write_set(folder.parent / "evaluation.yaml", EVALUATION, HINTS)
    settings = settings_at(home, model={"slots": 3}, tools={"log_level": "off"})
    asked = {
        "episodes": EPISODES,
        "eval_sets": [str(evaluation)],
        "eval_every": 9,
        "save_every": 9,
        "budget": 40,
    } | more
    memory = MemoryStore(home / "episodes", encoder=HashEncoder())
    with Crucible(settings=settings, model=ScriptedModel(rules()), memory=memory) as app:
        return train(app, [str(problems)], out=folder, tell=tell, **asked)


if __name__ == "__main__":
    place = Path(sys.argv[1])

    def tell(said: Progress) -> None:
        print("episode" if said.entry else "evaluated", flush=True)

    run(place, place.parent / "home", tell=tell)
