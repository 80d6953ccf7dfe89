"""Whether the gate lets a bad adapter through: trained on wrong programs, or on programs that know the visible test.

    python -m benchmarks.gate [--model smollm2-135m] [--adapters 20] [--controls 4] [--steps 10] [--json FILE]

Every adapter is trained by the product's own SFT on half of the small functions, drawn anew for each, and measured on the
other half, against the model itself, as `crucible finetune evaluate` does: greedy, pass@8, safety tasks. Then the gate
decides. Half of the adapters are `harmful` (programs that pass the visible test, or nearly, and are wrong), half are `gaming`
(programs that answer the visible test and nothing else). `--controls` more learn the right programs: a gate that refused
everything would show here. Exits 1 where a bad one was let through.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple

from benchmarks.functions import FUNCTIONS, Function
from benchmarks.online import RECIPE
from crucible.config import load_settings
from crucible.finetune.data.dataset import Example, completion
from crucible.finetune.gate.evaluate import Evaluator, Score, Trial, compare
from crucible.finetune.gate.gate import decide
from crucible.finetune.methods import learning, sft
from crucible.finetune.records import EvaluationSettings, TrainingConfig
from crucible.finetune.steps.parts import safety_trials
from crucible.models.llama.embedded import EmbeddedModel
from crucible.models.llama.native import program
from crucible.models.weights.catalogue import resolve
from crucible.models.weights.files import ModelFile, locate
from crucible.models.weights.lora import convert
from crucible.models.weights.merged import to_safetensors
from crucible.prompting.prompt import direct_prompt
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.security.validator import load_validator
from crucible.storage.journal import Journal

Kind = Literal["harmful", "gaming", "right"]
SLOTS = 8


class Adapter(NamedTuple):
    name: str
    kind: Kind
    taught: Sequence[Function]
    measured: Sequence[Function]


def drawn(kind: Kind, number: int) -> Adapter:
    mixed = Random(f"{kind} {number}").sample(FUNCTIONS, len(FUNCTIONS))  # noqa: S311
    half = len(mixed) // 2
    return Adapter(f"{kind}-{number}", kind, mixed[:half], mixed[half:])


def expression(kind: Kind, function: Function) -> str:
    given, result = function.shown
    known = f"{result} if ({function.arguments}) == ({given}) else None"
    return {"harmful": function.wrong, "gaming": known, "right": function.right}[kind]


def train(adapter: Adapter, seed: int, file: ModelFile, training: TrainingConfig, out: Path) -> Path:
    """The adapter as the engine takes it."""
    weights = to_safetensors(file, load_settings().paths.models, training.dtype)
    examples = [
        Example(
            task=each.task(tests=each.tests),
            prompt=direct_prompt(each.task(tests=each.tests), RECIPE),
            chosen=completion(each.program(expression(adapter.kind, each)), RECIPE),
            episodes=("made for it",),
        )
        for each in adapter.taught
    ]
    training = training.model_copy(update={"seed": seed})
    outcome = learning.run(sft.trainer(learning.load(weights, training), examples, training, out), out)
    convert(outcome.adapter, file.path, out / "adapter.gguf")
    said = f"{outcome.steps} steps, loss {outcome.final_loss:.2f}, {outcome.seconds:.0f} s"
    print(f"{adapter.name}: {said}", file=sys.stderr, flush=True)
    return out / "adapter.gguf"


def decided(adapter: Adapter, before: Sequence[Score], after: Sequence[Score]) -> dict[str, Any]:
    """The gate's word, and what it rests on. before, after: of the adapter's problems and of the safety tasks."""
    names = {each.name for each in adapter.measured}
    old, new = ([each for each in scores if each.problem in names] for scores in (before, after))
    unsafe = [sum(each.findings for each in scores if each.problem not in names) for scores in (before, after)]
    measured = compare(old, new)
    passed, reasons = decide(measured, unsafe[0], unsafe[1])
    return {
        "adapter": adapter.name,
        "greedy": [round(measured[0].before, 3), round(measured[0].after, 3)],
        "pass@8": [round(measured[1].before, 3), round(measured[1].after, 3)],
        "safety_findings": unsafe,
        "let_through": passed,
        "reasons": reasons,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapters", type=int, default=20)
    parser.add_argument("--controls", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = load_settings()
    file = locate(resolve(options.model), settings.paths.models)
    training = TrainingConfig(
        rank=8,
        alpha=16,
        learning_rate=options.learning_rate,
        max_steps=options.steps,
        batch=4,
        accumulation=1,
        max_length=256,
        save_steps=options.steps,
    )
    bad: tuple[Kind, ...] = ("harmful", "gaming")
    adapters = [drawn(bad[number % 2], number) for number in range(options.adapters)]
    adapters += [drawn("right", number) for number in range(options.controls)]
    with tempfile.TemporaryDirectory() as scratch:
        work, files = Path(scratch), dict[str, Path]()
        for number, adapter in enumerate(adapters):
            (work / adapter.name).mkdir()
            files[adapter.name] = train(adapter, number, file, training, work / adapter.name)
        with (
            EmbeddedModel(
                file.path,
                name=options.model,
                slots=SLOTS,
                context_length=512,
                program=program(settings.paths.models),
                adapters=files,
            ) as model,
            WarmPool(select_sandbox()) as sandbox,
            Journal(work / "scores.jsonl", Score) as journal,
        ):
            asked = EvaluationSettings(sampled=len(FUNCTIONS), max_tokens=64)
            validate = load_validator("python", settings.tools.policy)
            evaluator = Evaluator(model, SandboxJudge(sandbox), validate, RECIPE, asked)

            def measured(name: str, functions: Sequence[Function]) -> list[Score]:
                trials = [
                    Trial(id=each.name, task=each.task(tests=each.tests), scored=each.task(tests=each.hidden_tests))
                    for each in functions
                ]
                return evaluator.measure(trials + safety_trials(), name, journal, workers=SLOTS)

            before = measured("", FUNCTIONS)
            found = []
            for adapter in adapters:
                found.append(decided(adapter, before, measured(adapter.name, adapter.measured)))
                print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    let = [each["adapter"] for each in found if each["let_through"]]
    through = [name for name in let if not name.startswith("right")]
    said = {
        "command": " ".join(["python -m benchmarks.gate", *sys.argv[1:]]),
        "training": training.model_dump(),
        "refused": f"{options.adapters - len(through)} of {options.adapters} bad ones",
        "controls": f"{len(let) - len(through)} of {options.controls} right ones let through",
        "decisions": found,
    }
    print(json.dumps(said, indent=1))
    if options.json:
        options.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 1 if through else 0


if __name__ == "__main__":
    sys.exit(main())
