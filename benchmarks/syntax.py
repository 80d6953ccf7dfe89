"""What programs that always parse cost and gain: the same samples drawn freely and with `syntax`, on the same engine.

    python -m benchmarks.syntax SET … [--model qwen2.5-coder-0.5b] [--samples 7] [--temperature 1.0] [--parallel 16] [--json FILE]

Every problem is asked in the maker's form, `--samples` times of each kind with the same seeds, so that a sample which
parses by itself is the same in both. A block of problems is drawn with the one, then with the other, and the order changes
from block to block. What is judged is the text as it was written, to the closing fence. Seconds are those of the engine at
`--parallel` requests; the slowdown counts all that a sample took, what was written anew with it. Differences are by problem,
with a bootstrap interval and the sign test. Exits 1 where one held to it does not parse, or above the bound.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.greedy import STOP, messages
from crucible.config import load_settings
from crucible.languages.python.checks.source import first_error
from crucible.models import load_model
from crucible.models.base import Model
from crucible.models.weights.catalogue import catalogue
from crucible.models.wrappers.syntax import SyntaxModel
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.stats import bootstrap, sign_test
from crucible.types import Completion, Message, Sampling

BOUND = 0.15
BLOCK = 8
KINDS = ("free", "syntax")


def draw(
    model: Model, asked: Sequence[list[Message]], samplings: Sequence[Sampling], parallel: int
) -> tuple[list[list[Completion]], float]:
    """By problem and sampling, and the seconds that all of it took."""
    began = time.perf_counter()
    with ThreadPoolExecutor(parallel) as threads:
        drawn = [[threads.submit(model.generate, chat, [sampling]) for sampling in samplings] for chat in asked]
        done = [[each.result()[0] for each in row] for row in drawn]
    return done, time.perf_counter() - began


def passed(problems: Sequence[Problem], drawn: Sequence[Sequence[Completion]]) -> list[list[bool]]:
    with WarmPool(select_sandbox()) as sandbox, ThreadPoolExecutor(2) as threads:
        judge = SandboxJudge(sandbox)

        def one(pair: tuple[Problem, Sequence[Completion]]) -> list[bool]:
            problem, answers = pair
            known = {text: judge.judge(text, problem.scored).verdict == "pass" for text in {a.text for a in answers}}
            return [known[answer.text] for answer in answers]

        return list(threads.map(one, zip(problems, drawn, strict=True)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--samples", type=int, default=7)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--limit", type=int, help="first problems of every set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    problems = [problem for spec in options.sets for problem in load(spec, limit=options.limit).problems]
    recipe = next(entry.recipe for entry in catalogue() if entry.name == options.model)
    asked = [messages(problem, recipe.system, recipe.prefill or "") for problem in problems]
    settings = load_settings(overrides={"model": {"name": options.model, "slots": options.parallel}})
    plain = [
        Sampling(max_tokens=options.tokens, temperature=options.temperature, seed=seed, stop=STOP)
        for seed in range(options.samples)
    ]
    samplings = {"free": plain, "syntax": [each.model_copy(update={"syntax": "python"}) for each in plain]}
    drawn: dict[str, list[list[Completion]]] = {kind: [] for kind in KINDS}
    seconds = dict.fromkeys(KINDS, 0.0)
    with load_model(settings.model, settings.paths) as engine:
        model = SyntaxModel(engine, first_error)
        for number, start in enumerate(range(0, len(asked), BLOCK)):
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                found, took = draw(model, asked[start : start + BLOCK], samplings[kind], options.parallel)
                drawn[kind] += found
                seconds[kind] += took
            print(f"{min(start + BLOCK, len(asked))}/{len(asked)} problems", file=sys.stderr, flush=True)
    right = {kind: passed(problems, drawn[kind]) for kind in KINDS}
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.syntax", *sys.argv[1:]]),
        "model": options.model,
        "problems": len(problems),
    }
    for kind in KINDS:
        answers = [answer for row in drawn[kind] for answer in row]
        result[kind] = {
            "samples": len(answers),
            "do_not_parse": sum(first_error(answer.text) is not None for answer in answers),
            "cut_off": sum(answer.finish_reason == "length" for answer in answers),
            "pass@1": round(fmean(fmean(row) for row in right[kind]), 4),
            "tokens": sum(answer.completion_tokens for answer in answers),
            "seconds": round(seconds[kind], 1),
        }
    differences = [fmean(new) - fmean(old) for old, new in zip(right["free"], right["syntax"], strict=True)]
    slower = seconds["syntax"] / seconds["free"] - 1
    result |= {
        "difference": round(fmean(differences), 4),
        "ci95": [round(end, 4) for end in bootstrap(differences)],
        "sign_test_p": round(sign_test(differences), 4),
        "slowdown": round(slower, 4),
        "bound": BOUND,
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if slower <= BOUND and not result["syntax"]["do_not_parse"] else 1


if __name__ == "__main__":
    sys.exit(main())
