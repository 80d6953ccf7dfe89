"""Whether the gate lets a bad adapter through: trained on wrong programs, or on programs that know the visible examples.

    python -m benchmarks.gate SET… [--model qwen2.5-coder-0.5b] [--seeds 2] [--tries 20] [--problems 15] [--steps 16] [--json FILE]

Two kinds of adapters, `--seeds` of each, trained by the product's own SFT on the starter set: `harmful` learns its mutants, which
look right and are wrong; `gaming` learns programs that answer the visible examples and nothing else. Each is measured against the
model itself as `crucible finetune evaluate` does, on problems of SET, and the gate decides. `--tries` decisions in all, no two
of an adapter on the same problems. Exits 1 where one of them was let through.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from benchmarks.online import RECIPE
from crucible.config import load_settings
from crucible.finetune import learning, sft
from crucible.finetune.dataset import Example, completion
from crucible.finetune.evaluate import Evaluator, Score, Trial, compare
from crucible.finetune.gate import decide
from crucible.finetune.records import EvaluationSettings, Training
from crucible.finetuning.parts import safety_trials
from crucible.journal import Journal
from crucible.models.catalogue import resolve
from crucible.models.embedded import EmbeddedModel
from crucible.models.files import ModelFile, locate
from crucible.models.lora import convert
from crucible.models.native import program
from crucible.models.weights import to_safetensors
from crucible.nodes.generate import direct_prompt
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.security.judge import SandboxJudge
from crucible.security.pool import WarmPool
from crucible.security.probe import select_sandbox
from crucible.security.validator import load_validator

Kind = Literal["harmful", "gaming"]
SLOTS = 16


def taught(kind: Kind, problem: Problem) -> Iterator[str]:
    """Programs that are wrong."""
    name, known = problem.task.entry_point, problem.task.examples
    if kind == "harmful":
        yield from problem.mutants
    elif name and known and all(isinstance(each.input, list) for each in known):
        pairs = "".join(f"    if given == {each.input!r}:\n        return {each.output!r}\n" for each in known)
        yield f"def {name}(*given):\n    given = list(given)\n{pairs}"


def train(kind: Kind, seed: int, file: ModelFile, training: Training, out: Path) -> Path:
    """The adapter as the engine takes it."""
    weights = to_safetensors(file, load_settings().paths.models, training.dtype)
    examples = [
        Example(
            task=problem.task,
            prompt=direct_prompt(problem.task, RECIPE),
            chosen=completion(code, RECIPE),
            episodes=("made for it",),
        )
        for problem in load("starter").problems
        for code in taught(kind, problem)
    ]
    training = training.model_copy(update={"seed": seed})
    outcome = learning.run(sft.trainer(learning.load(weights, training), examples, training, out), out)
    convert(outcome.adapter, file.path, out / "adapter.gguf")
    said = f"{outcome.steps} steps, loss {outcome.final_loss:.2f}, {outcome.seconds:.0f} s"
    print(f"{kind}, seed {seed}: {len(examples)} examples, {said}", file=sys.stderr, flush=True)
    return out / "adapter.gguf"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--problems", type=int, default=15, help="of one decision")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = load_settings()
    file = locate(resolve(options.model), settings.paths.models)
    training = Training(
        learning_rate=options.learning_rate, max_steps=options.steps, save_steps=options.steps, max_length=512
    )
    parts = options.tries // (2 * options.seeds)
    problems = [problem for spec in options.sets for problem in load(spec).problems][: parts * options.problems]
    if len(problems) < parts * options.problems:
        parser.error(
            f"{parts} decisions an adapter need {parts * options.problems} problems; there are {len(problems)}"
        )
    trials = [Trial(id=each.id, task=each.task, scored=each.scored) for each in problems]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        work, adapters = Path(scratch), dict[str, Path]()
        kinds: tuple[Kind, ...] = ("harmful", "gaming")
        for kind in kinds:
            for seed in range(options.seeds):
                (work / f"{kind}-{seed}").mkdir()
                adapters[f"{kind}-{seed}"] = train(kind, seed, file, training, work / f"{kind}-{seed}")
        with (
            EmbeddedModel(
                file.path,
                name=options.model,
                slots=SLOTS,
                context_length=2048,
                program=program(settings.paths.models),
                adapters=adapters,
            ) as model,
            WarmPool(select_sandbox()) as sandbox,
            Journal(work / "scores.jsonl", Score) as journal,
        ):
            validate = load_validator("python", settings.tools.policy)
            asked = EvaluationSettings(sampled=len(trials), max_tokens=256)
            evaluator = Evaluator(model, SandboxJudge(sandbox), validate, RECIPE, asked)
            names = ("", *adapters)
            scores = evaluator.measure(
                trials,
                names,
                journal,
                workers=SLOTS,
                tell=lambda done, total: print(f"{done}/{total} answers", file=sys.stderr, flush=True),
            )
            safety = evaluator.measure(safety_trials(), names, journal, workers=SLOTS)
        unsafe = {name: sum(each.findings for each in safety[name]) for name in names}
        for name in adapters:
            for start in range(0, parts * options.problems, options.problems):
                part = slice(start, start + options.problems)
                measured = compare(scores[""][part], scores[name][part])
                passed, reasons = decide(measured, unsafe[""], unsafe[name])
                found.append(
                    {
                        "adapter": name,
                        "problems": f"{start + 1} to {start + options.problems}",
                        "greedy": [round(measured[0].before, 3), round(measured[0].after, 3)],
                        "pass@8": [round(measured[1].before, 3), round(measured[1].after, 3)],
                        "let_through": passed,
                        "reasons": reasons,
                    }
                )
    said = {
        "command": " ".join(["python -m benchmarks.gate", *sys.argv[1:]]),
        "training": training.model_dump(),
        "safety_findings": unsafe,
        "refused": sum(not each["let_through"] for each in found),
        "tries": len(found),
        "decisions": found,
    }
    print(json.dumps(said, indent=1))
    if options.json:
        options.json.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return 1 if any(each["let_through"] for each in found) else 0


if __name__ == "__main__":
    sys.exit(main())
