"""Record real answers of small models, for the tests of the extraction: tests/languages/python/recorded/answers.jsonl.gz.

    python scripts/draw_answers.py MODEL COUNT [--out FILE] [--max-tokens N] [--slots N]

The tasks are the starter set's and those of recorded/tasks.yaml. They are asked in three forms in turn. Rows are appended as they
come: a run that is broken off goes on where it ended.
"""

from __future__ import annotations

import argparse
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from crucible.app import recipe_of
from crucible.config import load_settings
from crucible.models import load_model
from crucible.problems.sets import load
from crucible.prompting.prompt import direct_prompt, stops
from crucible.prompting.recipe import Recipe
from crucible.types import Sampling, Task

FOLDER = Path(__file__).parent.parent / "tests" / "languages" / "python" / "recorded"
FORMS = ("plain", "prefill", "warm")
"""plain: neither prefill nor stops, greedily. prefill: as the loop asks first. warm: plain, at temperature 0.8."""


def tasks() -> list[Task]:
    """The tasks written for these recordings, then the starter set's."""
    written = [Task(**row) for row in yaml.safe_load((FOLDER / "tasks.yaml").read_text(encoding="utf-8"))]
    return written + [problem.task for problem in load("starter").problems]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("count", type=int)
    parser.add_argument("--out", type=Path, default=FOLDER / "answers.jsonl.gz")
    parser.add_argument("--max-tokens", type=int, default=200)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    if options.out.exists():
        with gzip.open(options.out, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
    done = {(row["model"], row["form"], row["task"]) for row in rows}
    asked = [(FORMS[(number + turn) % 3], task) for turn in range(3) for number, task in enumerate(tasks())]
    wanted = [(form, task) for form, task in asked[: options.count] if (options.model, form, task.id) not in done]
    settings = load_settings(
        overrides={
            "model": {
                "name": options.model,
                "engine": "embedded",
                "slots": options.slots,
                "threads": options.threads,
                "context_length": 2048,
            }
        }
    )
    recipe = recipe_of(settings, options.model)
    with load_model(settings.model, settings.paths) as model, ThreadPoolExecutor(options.slots) as pool:

        def draw(pair: tuple[str, Task]) -> dict[str, object]:
            form, task = pair
            used = recipe if form == "prefill" else Recipe(recipe.system, None)
            sampling = Sampling(
                max_tokens=options.max_tokens,
                temperature=0.8 if form == "warm" else 0.0,
                top_p=0.95 if form == "warm" else 1.0,
                stop=stops(task, used),
            )
            (answer,) = model.generate(direct_prompt(task, used), [sampling])
            found = {"model": options.model, "form": form, "task": task.id, "finish": answer.finish_reason}
            return {**found, "inside_fence": used.opens_fence, "text": answer.text}

        for number, row in enumerate(pool.map(draw, wanted), 1):
            with gzip.open(options.out, "at", encoding="utf-8") as out:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            print(f"{number}/{len(wanted)}: {row['task']}", flush=True)


if __name__ == "__main__":
    main()
