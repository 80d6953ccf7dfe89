"""What a fine-tuning costs beside TRL by itself: answers drawn for an online method, and steps of supervised fine-tuning.

    python -m benchmarks.training [--model qwen2.5-coder-0.5b] [--rounds 3] [--tasks 2] [--answers 8] [--tokens 256]
                                  [--steps 12] [--only answers | steps] [--json FILE]

Answers: a round is two tasks of the starter set, or as many as --tasks says, with eight answers each at temperature 1. Ours
come from the embedded engine, and a round's time holds the handing over of the adapter to it; TRL's from its own trainer's
`generate`: as it comes (weights in float32, multiplied in bfloat16; only where the machine is faster at that), all in float32, and,
asked for, with the weights in bfloat16, which is what ours are trained in there. Rates are tokens up to an answer's end over
wall seconds.
Steps: the same examples, seed and settings in TRL's SFTTrainer, and in ours, which is watched, journalled and deterministic.
All in turns, medians and spread. Exits 1 below 3 times TRL as it comes or TRL in float32 (answers), or 0.95 times (steps).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.online import RECIPE, rollouts_of
from crucible.config import load_settings
from crucible.finetune.data.dataset import Example
from crucible.finetune.methods import learning, sft
from crucible.finetune.methods.grpo import trainer as grpo_trainer
from crucible.finetune.methods.hardware import product_gflops
from crucible.finetune.methods.learning import Learner
from crucible.finetune.methods.online import Online
from crucible.finetune.methods.rollouts import Rollouts
from crucible.finetune.records import TrainingConfig
from crucible.models import compiled
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, locate
from crucible.models.weights.merged import DType, to_safetensors
from crucible.problems.sets import load
from crucible.prompting.prompt import direct_prompt

ANSWERS_BOUND, STEPS_BOUND = 3.0, 0.95
HELD = ("ratio to trl as it comes", "ratio to trl float32", "ratio")
"""Of a part's figures, those that its bound goes by: not TRL with its weights in bfloat16, which has to be asked for."""


def learner_of(file: ModelFile, training: TrainingConfig) -> Learner:
    return learning.load(to_safetensors(file, load_settings().paths.models, training.dtype), training)


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": round(median(values), 2), "low": round(min(values), 2), "high": round(max(values), 2)}


# ---------------------------------------------------------------- answers


def ours(rollouts: Rollouts, learner: Learner, prompts: list[list[int]], step: int) -> int:
    rollouts.take(learner.model, step)
    return sum(len(each.ids) for each in rollouts.draw(prompts))


def theirs(trainer: Any, answers: int, prompts: list[list[int]], step: int) -> int:  # noqa: ANN401 - TRL's
    """By GRPOTrainer's own method, which ours overrides."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    generate: Any = GRPOTrainer._generate_single_turn
    drawn, _ = generate(trainer, prompts, None, {}, answers, False)
    return sum(map(len, drawn))


def as_it_comes(file: ModelFile, training: TrainingConfig, out: Path) -> Any:  # noqa: ANN401 - TRL's
    """TRL's trainer over a model it loads itself; all it is told is how many answers, how long, and that there is no GPU."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        report_to="none",
        num_generations=training.answers,
        max_completion_length=training.answer_tokens,
    )
    made = GRPOTrainer(
        model=str(to_safetensors(file, load_settings().paths.models, "float32")),
        reward_funcs=[lambda **_: []],
        args=config,
        train_dataset=Dataset.from_list([{"prompt": each.task.text} for each in solved()]),
        peft_config=LoraConfig(
            r=training.rank, lora_alpha=training.alpha, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    made.model_wrapped = made.accelerator.prepare(made.model)  # as its `train` begins
    return made


def answers(file: ModelFile, training: TrainingConfig, rounds: int, scratch: Path, tasks: int) -> dict[str, Any]:
    dtypes: tuple[DType, ...] = ("float32", "bfloat16")
    gflops = {dtype: round(product_gflops(dtype), 1) for dtype in dtypes}
    trainings = {
        dtype: training.model_copy(update={"dtype": dtype}) for dtype in dtypes if gflops[dtype] >= gflops["float32"]
    }
    learners = {dtype: learner_of(file, each) for dtype, each in trainings.items()}
    fastest = max(trainings, key=gflops.__getitem__)
    training, learner = trainings[fastest], learners[fastest]
    asked = [
        prompt
        for each in solved()
        if len(prompt := learning.prompt_ids(learner.tokenizer, each.prompt)) + training.answer_tokens
        <= training.max_length
    ]
    if len(asked) < tasks * rounds:
        sys.exit(
            f"{rounds} rounds of {tasks} tasks are more than the {len(asked)} there are: lower --rounds or --tasks"
        )
    with rollouts_of(file, scratch, training) as rollouts:
        drawers: dict[str, Callable[[list[list[int]], int], int]] = {"ours": partial(ours, rollouts, learner)}
        for dtype, each in learners.items():
            trainer = grpo_trainer(Online(each, solved(), training, scratch, rollouts, lambda *_: []))
            drawers[f"trl {dtype}"] = partial(theirs, trainer, training.answers)
        if fastest == "bfloat16":
            drawers["trl as it comes"] = partial(theirs, as_it_comes(file, training, scratch), training.answers)
        rates: dict[str, list[float]] = {name: [] for name in drawers}
        rollouts.take(learner.model, -1)  # what is read once in a training is no part of a round
        for step in range(rounds):
            chosen = asked[tasks * step : tasks * (step + 1)]
            prompts = [prompt for prompt in chosen for _ in range(training.answers)]
            for name in list(drawers)[:: 1 if step % 2 else -1]:
                began = time.perf_counter()
                with deterministic(name == "ours"):
                    tokens = drawers[name](prompts, step)
                rates[name].append(tokens / (time.perf_counter() - began))
            said = "; ".join(f"{name} {values[-1]:.1f}" for name, values in rates.items())
            print(f"round {step + 1}/{rounds}, tokens/s: {said}", file=sys.stderr, flush=True)
    settings = load_settings()
    ratios = {
        name: spread([mine / other for mine, other in zip(rates["ours"], values, strict=True)])
        for name, values in rates.items()
        if name != "ours"
    }
    return {
        "dtype": training.dtype,
        "engine": "compiled" if compiled(settings.model, settings.paths) else "prebuilt",
        "gflops": gflops,
        "tokens_per_s": {name: spread(values) for name, values in rates.items()},
        **{f"ratio to {name}": each for name, each in ratios.items()},
    }


# ---------------------------------------------------------------- steps


def solved() -> list[Example]:
    """The starter set's own solutions."""
    return [
        Example(
            task=problem.task,
            prompt=direct_prompt(problem.task, RECIPE),
            chosen=problem.solutions[0],
            episodes=("made for it",),
        )
        for problem in load("starter").problems
    ]


def bare(learner: Learner, rows: Sequence[Example], training: TrainingConfig, out: Path) -> Any:  # noqa: ANN401 - TRL's
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    encoded = [learning.encode(learner.tokenizer, each.prompt, each.chosen)._asdict() for each in rows]
    config = SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=training.batch,
        gradient_accumulation_steps=training.accumulation,
        learning_rate=training.learning_rate,
        max_steps=training.max_steps,
        seed=training.seed,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=training.max_length,
        completion_only_loss=True,
        report_to="none",
        disable_tqdm=True,
        save_steps=training.save_steps,
    )
    kept = [row for row in encoded if len(row["input_ids"]) <= training.max_length]
    return SFTTrainer(
        model=learner.model, args=config, train_dataset=Dataset.from_list(kept), processing_class=learner.tokenizer
    )


@contextmanager
def deterministic(on: bool) -> Iterator[None]:
    """`learning.load` asks torch for it; TRL by itself does not."""
    import torch

    torch.use_deterministic_algorithms(on)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)


def steps(file: ModelFile, training: TrainingConfig, rounds: int, scratch: Path) -> dict[str, Any]:
    rows, seconds = solved(), dict[str, list[float]](ours=[], trl=[])
    for turn in range(rounds):
        for name in ("ours", "trl") if turn % 2 else ("trl", "ours"):
            learner, out = learner_of(file, training), scratch / f"{name}-{turn}"
            out.mkdir()
            with deterministic(name == "ours"):
                made = (sft.trainer if name == "ours" else bare)(learner, rows, training, out)
                began = time.perf_counter()
                if name == "ours":
                    learning.run(made, out)
                else:
                    made.train()
                    made.save_model(str(out / "adapter"))
                seconds[name].append((time.perf_counter() - began) / training.max_steps)
        print(
            f"round {turn + 1}/{rounds}, s a step: ours {seconds['ours'][-1]:.2f}, trl {seconds['trl'][-1]:.2f}",
            file=sys.stderr,
            flush=True,
        )
    ratios = [other / mine for mine, other in zip(seconds["ours"], seconds["trl"], strict=True)]
    return {"seconds_a_step": {name: spread(each) for name, each in seconds.items()}, "ratio": spread(ratios)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2, help="that a round draws answers to")
    parser.add_argument("--answers", type=int, default=8, help="drawn to a task")
    parser.add_argument("--tokens", type=int, default=256, help="of an answer, at most")
    parser.add_argument("--steps", type=int, default=12, help="of a supervised training")
    parser.add_argument("--only", choices=["answers", "steps"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    file = locate(resolve(options.model), load_settings().paths.models)
    training = TrainingConfig(
        answers=options.answers, answer_tokens=options.tokens, max_length=512, max_steps=options.steps
    )
    found: dict[str, Any] = {"command": " ".join(["python -m benchmarks.training", *sys.argv[1:]])}
    bounds = {"answers": ANSWERS_BOUND, "steps": STEPS_BOUND}
    measure: dict[str, Callable[[ModelFile, TrainingConfig, int, Path], dict[str, Any]]]
    measure = {"answers": partial(answers, tasks=options.tasks), "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        for part in [options.only] if options.only else measure:
            found[part] = measure[part](file, training, options.rounds, Path(folder))
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    held = [
        each["median"] >= bounds[part] for part in measure for name, each in found.get(part, {}).items() if name in HELD
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
