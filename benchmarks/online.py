"""Whether online methods learn: a small skill that the judge sees and the prompt does not ask for.

    python -m benchmarks.online [--method rloo --method grpo --method ppo] [--model smollm2-135m] [--steps 80] [--seed 0]
                                [--repeat] [--out FOLDER]

The tasks are one-line functions; a program is worth most if its tests pass and its function says what type it returns (`->`).
Answers come from the engine under the adapter as it is, every one is judged in the sandbox. Before and after, eight answers
of every task are drawn anew, and the mean rewards compared by task (sign test, bootstrap). --repeat trains each method a
second time, which must give the same curve. FOLDER gets `online.json` and `online.png`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

from crucible.config import load_settings
from crucible.finetune import learning
from crucible.finetune.dataset import Example
from crucible.finetune.health import Step
from crucible.finetune.judged import JudgedReward
from crucible.finetune.learning import Learner
from crucible.finetune.online import Online, Reward
from crucible.finetune.records import Training
from crucible.finetune.rollouts import Rollouts
from crucible.models.catalogue import resolve
from crucible.models.files import ModelFile, locate
from crucible.models.native import program
from crucible.models.weights import to_safetensors
from crucible.nodes.generate import direct_prompt
from crucible.nodes.recipe import INSIDE_FENCE, Recipe
from crucible.rewards import Rewards
from crucible.security.judge import SandboxJudge
from crucible.security.pool import WarmPool
from crucible.security.probe import select_sandbox
from crucible.security.validator import load_validator
from crucible.stats import bootstrap, sign_test
from crucible.types import Rule, Task

RECIPE = Recipe(prefill=INSIDE_FENCE)
SKILL = Rule(kind="require", what=r"pattern \)\s*->")
AGAIN = 8
"""Answers of every task, before and after."""
FUNCTIONS = {
    "double": ("returns x times two", "x", "(3) == 6"),
    "square": ("returns x times x", "x", "(4) == 16"),
    "half": ("returns x divided by two", "x", "(8) == 4"),
    "negate": ("returns minus x", "x", "(5) == -5"),
    "increment": ("returns x plus one", "x", "(5) == 6"),
    "decrement": ("returns x minus one", "x", "(5) == 4"),
    "add": ("returns the sum of a and b", "a, b", "(2, 3) == 5"),
    "subtract": ("returns a minus b", "a, b", "(7, 3) == 4"),
    "multiply": ("returns a times b", "a, b", "(2, 3) == 6"),
    "larger": ("returns the larger of a and b", "a, b", "(2, 3) == 3"),
    "smaller": ("returns the smaller of a and b", "a, b", "(2, 3) == 2"),
    "is_even": ("tells whether n is even", "n", "(4) is True"),
    "is_odd": ("tells whether n is odd", "n", "(4) is False"),
    "is_positive": ("tells whether n is greater than zero", "n", "(4) is True"),
    "first": ("returns the first item of a list", "items", "([7, 8]) == 7"),
    "last": ("returns the last item of a list", "items", "([7, 8]) == 8"),
    "total": ("returns the sum of a list of numbers", "numbers", "([1, 2, 3]) == 6"),
    "count": ("returns how many items a list has", "items", "([1, 2, 3]) == 3"),
    "largest": ("returns the largest number of a list", "numbers", "([1, 9, 3]) == 9"),
    "ordered": ("returns the list in ascending order", "numbers", "([2, 1]) == [1, 2]"),
    "backwards": ("returns the text reversed", "text", "('ab') == 'ba'"),
    "loud": ("returns the text in upper case", "text", "('ab') == 'AB'"),
    "length": ("returns the length of the text", "text", "('abc') == 3"),
    "greet": ("returns 'Hello, ' followed by the name", "name", "('Eva') == 'Hello, Eva'"),
}


def examples() -> list[Example]:
    tasks = [
        Task(
            id=name,
            prompt=f"Write a Python function {name}({arguments}) that {does}.",
            entry_point=name,
            tests=f"assert {name}{check}",
            rules=(SKILL,),
        )
        for name, (does, arguments, check) in FUNCTIONS.items()
    ]
    shown = [task.model_copy(update={"rules": (), "tests": ""}) for task in tasks]
    return [
        Example(task=task, prompt=direct_prompt(seen, RECIPE), episodes=("made for it",))
        for task, seen in zip(tasks, shown, strict=True)
    ]


def by_task(learner: Learner, rollouts: Rollouts, reward: Reward, asked: Sequence[Example]) -> list[float]:
    """The mean reward of AGAIN answers to every task."""
    prompts = [learning.prompt_ids(learner.tokenizer, each.prompt) for each in asked for _ in range(AGAIN)]
    texts = [str(learner.tokenizer.decode(each.ids, skip_special_tokens=True)) for each in rollouts.draw(prompts)]
    worth = reward([each for each in asked for _ in range(AGAIN)], texts)
    return [fmean(each["total"] for each in worth[start : start + AGAIN]) for start in range(0, len(worth), AGAIN)]


def rollouts_of(file: ModelFile, scratch: Path, training: Training) -> Rollouts:
    """From the fastest engine here."""
    return Rollouts(file.path, scratch, training, opens_fence=True, program=program(load_settings().paths.models))


def train(method: str, model: str, training: Training, reward: Reward) -> dict[str, Any]:
    paths = load_settings().paths
    file = locate(resolve(model), paths.models)
    weights = to_safetensors(file, paths.models, training.dtype)
    asked, steps = examples(), list[dict[str, float]]()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with rollouts_of(file, out, training) as rollouts:
            module = import_module(f"crucible.finetune.{method}")
            learner = learning.load(weights, training)
            before = by_task(learner, rollouts, reward, asked)
            trainer = module.trainer(Online(learner, asked, training, out, rollouts, reward))

            def tell(step: Step) -> None:
                steps.append(step.figures)
                if "reward" in step.figures:
                    said = {
                        name: round(step.figures.get(name, 0.0), 3) for name in ("reward", "kl", "explained_variance")
                    }
                    print(
                        f"{method} {step.step}/{step.steps}, {step.seconds:.0f} s: {said}", file=sys.stderr, flush=True
                    )

            outcome = learning.run(trainer, out, tell=tell)
            rollouts.take(learner.model, training.max_steps)
            after = before if outcome.stopped else by_task(learner, rollouts, reward, asked)
    differences = [new - old for old, new in zip(before, after, strict=True)]
    return {
        "before": round(fmean(before), 4),
        "after": round(fmean(after), 4),
        "difference_ci95": [round(end, 4) for end in bootstrap(differences)],
        "sign_test_p": sign_test(differences),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "stopped": outcome.stopped.said if outcome.stopped else "",
        "curve": [each["reward"] for each in steps if "reward" in each],
        "kl": [each["kl"] for each in steps if "kl" in each],
        "entropy": [each["entropy"] for each in steps if "entropy" in each],
        "explained_variance": [each["explained_variance"] for each in steps if "explained_variance" in each],
    }


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for method, each in found.items():
        left.plot(range(1, len(each["curve"]) + 1), each["curve"], label=method)
        right.plot(range(1, len(each["entropy"]) + 1), each["entropy"], label=method)
    left.set(xlabel="round", ylabel="mean reward of the round", ylim=(0, 1))
    right.set(xlabel="optimiser step", ylabel="entropy, nats a token")
    left.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", choices=["rloo", "grpo", "ppo"])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=80, help="optimiser steps")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    training = Training(
        rank=8,
        alpha=16,
        learning_rate=options.learning_rate,
        max_steps=options.steps,
        batch=8,
        accumulation=2,
        answers=8,
        answer_tokens=48,
        max_length=256,
        beta=0.01,
        entropy_coef=0.005,
        save_steps=1000,
        seed=options.seed,
    )
    settings = load_settings()
    found: dict[str, dict[str, Any]] = {}
    with WarmPool(select_sandbox()) as sandbox:
        validate = load_validator("python", settings.tools.policy)
        reward = JudgedReward(SandboxJudge(sandbox), validate, Rewards(settings.rewards), RECIPE)
        for method in options.method or ["rloo", "grpo", "ppo"]:
            found[method] = train(method, options.model, training, reward)
            if options.repeat:
                again = train(method, options.model, training, reward)
                found[method]["the_same_again"] = again["curve"] == found[method]["curve"]
            print(
                method,
                json.dumps({name: value for name, value in found[method].items() if not isinstance(value, list)}),
            )
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        said = {"command": " ".join(["python -m benchmarks.online", *sys.argv[1:]]), "training": training.model_dump()}
        (options.out / "online.json").write_text(json.dumps(said | found, indent=1) + "\n")
        plot(found, options.out / "online.png")
    better = all(each["sign_test_p"] < 0.05 and each["after"] > each["before"] for each in found.values())
    return 0 if better else 1


if __name__ == "__main__":
    sys.exit(main())
