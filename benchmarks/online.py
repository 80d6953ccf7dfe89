"""Whether online methods learn: a small skill that the judge sees and the prompt does not ask for.

    python -m benchmarks.online [--method rloo --method grpo --method ppo] [--model smollm2-135m] [--steps 20]
                                [--seed 0 --seed 1] [--repeat ROUNDS] [--out FOLDER]

The tasks are small functions; a program is worth most if its tests pass and it is the function alone, of one `return`.
Answers come from the engine under the adapter as it is, every one is judged in the sandbox. Before and after, eight answers
of every task are drawn anew, and the mean rewards compared by task (sign test, bootstrap). --repeat begins each training a
second time, whose first rounds must be the same to the last bit. FOLDER gets `online.json` and `online.png`.
Exits 1 where one of them did not learn, or not the same again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.functions import FUNCTIONS
from crucible.config import load_settings
from crucible.errors import CancelledError
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import learning
from crucible.finetune.methods.health import Step
from crucible.finetune.methods.judged import JudgedReward
from crucible.finetune.methods.learning import Learner
from crucible.finetune.methods.online import Online, Reward
from crucible.finetune.methods.rollouts import Rollouts, drawn_from
from crucible.finetune.records import TrainingConfig
from crucible.models import compiled
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, locate
from crucible.models.weights.merged import to_safetensors
from crucible.prompting.prompt import direct_prompt
from crucible.prompting.recipe import INSIDE_FENCE, Recipe
from crucible.rewards import Rewards
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.security.validator import load_validator
from crucible.stats import bootstrap, sign_test
from crucible.types import Rule

RECIPE = Recipe(system="You write Python.", prefill=INSIDE_FENCE)
SKILL = Rule(kind="require", what=r"pattern \A\s*def \w+\(.*\).*:\s+return .+\s*\Z")
AGAIN = 8
"""Answers of every task, before and after."""
ANSWERS = {"rloo": 8, "grpo": 8, "ppo": 2}
"""Drawn to a task in a round: who has a critic needs no others to compare with, and the critic sees every task more often."""
RATES = {"rloo": 5e-4, "grpo": 5e-4, "ppo": 3e-4}
"""Learning rates. ppo has the lower one, as at the others' it has learned all there is in half the steps: where all answers are
worth the same, a critic has nothing to foretell."""


def examples() -> list[Example]:
    """Asked without the tests and the rule that an answer is judged by."""
    return [
        Example(
            task=each.task(rules=(SKILL,), tests=each.hidden_tests),
            prompt=direct_prompt(each.task(), RECIPE),
            episodes=("made for it",),
        )
        for each in FUNCTIONS
    ]


def by_task(learner: Learner, rollouts: Rollouts, reward: Reward, asked: Sequence[Example]) -> list[float]:
    """The mean reward of AGAIN answers to every task."""
    prompts = [learning.prompt_ids(learner.tokenizer, each.prompt) for each in asked for _ in range(AGAIN)]
    texts = [str(learner.tokenizer.decode(each.ids, skip_special_tokens=True)) for each in rollouts.draw(prompts)]
    worth = reward([each for each in asked for _ in range(AGAIN)], texts)
    return [fmean(each["total"] for each in worth[start : start + AGAIN]) for start in range(0, len(worth), AGAIN)]


def rollouts_of(file: ModelFile, scratch: Path, training: TrainingConfig) -> Rollouts:
    """From the fastest engine here."""
    settings = load_settings()
    engine = compiled(settings.model, settings.paths)
    base = drawn_from(file, settings.paths.models, training, engine)
    return Rollouts(base, scratch, training, opens_fence=True, program=engine)


def train(method: str, model: str, training: TrainingConfig, reward: Reward, *, rounds: int = 0) -> dict[str, Any]:
    """rounds: only that many, and nothing is measured before and after."""
    paths = load_settings().paths
    file = locate(resolve(model), paths.models)
    weights = to_safetensors(file, paths.models, training.dtype)
    asked, steps = examples(), list[dict[str, float]]()
    began = time.monotonic()

    def tell(step: Step) -> None:
        steps.append(step.figures)
        if "reward" in step.figures:
            said = {name: round(step.figures.get(name, 0.0), 3) for name in ("reward", "kl", "explained_variance")}
            print(f"{method} {step.step}/{step.steps}, {step.seconds:.0f} s: {said}", file=sys.stderr, flush=True)

    def curve(name: str) -> list[float]:
        return [figures[name] for figures in steps if name in figures]

    with tempfile.TemporaryDirectory() as folder, rollouts_of(file, out := Path(folder), training) as rollouts:
        learner = learning.load(weights, training)
        before = [] if rounds else by_task(learner, rollouts, reward, asked)
        module = import_module(f"crucible.finetune.methods.{method}")
        trainer = module.trainer(Online(learner, asked, training, out, rollouts, reward))
        if rounds:
            with suppress(CancelledError):
                learning.run(trainer, out, tell=tell, cancelled=lambda: len(curve("reward")) >= rounds)
            return {"curve": curve("reward")}
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
        "signs": [sign.said for sign in outcome.signs],
        "answers": training.answers,
        "learning_rate": training.learning_rate,
        "steps_a_round": trainer.round_steps,
        "curve": curve("reward"),
        **{name: curve(name) for name in ("kl", "entropy", "explained_variance")},
    }


def plot(found: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(14, 4))
    said = {
        "curve": "mean reward of a round",
        "entropy": "entropy, nats a token",
        "explained_variance": "variance that the critic explains",
    }
    for axis, (name, label) in zip(axes, said.items(), strict=True):
        for number, (method, each) in enumerate(found.items()):
            a_step = each["steps_a_round"] if name != "entropy" else 1
            if each[name]:
                steps = [a_step * (step + 1) for step in range(len(each[name]))]
                axis.plot(steps, each[name], label=method, color=f"C{number}")
        axis.set(xlabel="optimiser step", ylabel=label)
        axis.legend()
    axes[0].set_ylim(0, 1)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", choices=[*ANSWERS])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps")
    parser.add_argument("--learning-rate", type=float, help=f"if not {RATES}")
    parser.add_argument("--beta", type=float, default=0.02, help="pull to the model it begins with")
    parser.add_argument("--entropy-coef", type=float, default=0.02)
    parser.add_argument("--seed", type=int, action="append", help="0 if none is said")
    parser.add_argument("--repeat", type=int, default=0, metavar="ROUNDS", help="begin each again, for so many rounds")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    training = TrainingConfig(
        rank=8,
        alpha=16,
        max_steps=options.steps,
        batch=8,
        accumulation=2,
        answer_tokens=48,
        max_length=256,
        beta=options.beta,
        entropy_coef=options.entropy_coef,
        save_steps=options.steps,
    )
    settings = load_settings()
    found: dict[str, dict[str, Any]] = {}
    with WarmPool(select_sandbox()) as sandbox:
        validate = load_validator("python", settings.tools.policy)
        reward = JudgedReward(SandboxJudge(sandbox), validate, Rewards(settings.rewards), RECIPE)
        for method, seed in itertools.product(options.method or ANSWERS, options.seed or [0]):
            name = f"{method}, seed {seed}" if seed else method
            rate = options.learning_rate or RATES[method]
            training = training.model_copy(update={"answers": ANSWERS[method], "learning_rate": rate, "seed": seed})
            found[name] = train(method, options.model, training, reward)
            if options.repeat:
                again = train(method, options.model, training, reward, rounds=options.repeat)["curve"]
                # What is interrupted ends its round first, so there may be one more.
                found[name]["the_same_again"] = again == found[name]["curve"][: len(again)]
            told = {key: value for key, value in found[name].items() if not isinstance(value, list)}
            print(name, json.dumps(told), flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        said = {
            "command": " ".join(["python -m benchmarks.online", *sys.argv[1:]]),
            "training": training.model_dump(exclude={"answers", "learning_rate", "seed"}),
        }
        (options.out / "online.json").write_text(json.dumps(said | found, indent=1) + "\n")
        plot(found, options.out / "online.png")
    better = all(each["sign_test_p"] < 0.05 and each["after"] > each["before"] for each in found.values())
    return 0 if better and all(each.get("the_same_again", True) for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
