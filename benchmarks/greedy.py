"""Greedy pass@1 of a model on problem sets, one sample a problem, outside the loop: the figure to hold beside a maker's.

    python -m benchmarks.greedy SET … [--model qwen2.5-coder-0.5b] [--parallel 16] [--limit N] [--out FILE]
    python -m benchmarks.greedy SET … --weights FOLDER_OR_REPOSITORY     in bfloat16, through transformers

Every problem is asked in the maker's form (README of Qwen2.5-Coder, EvalPlus) with the maker's first words of the answer.
Two programs are judged: `written`, what stands before the closing fence, as it stands; and `extracted`, what
Crucible makes of the same answer. The difference is what post-processing recovers. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from crucible.config import load_settings
from crucible.languages.python.extract import extract_for
from crucible.models import load_model
from crucible.models.weights.catalogue import catalogue
from crucible.problems.problem import Problem
from crucible.problems.sets import load
from crucible.prompting.templates import render
from crucible.security.judge.judge import SandboxJudge
from crucible.security.sandbox.pool import WarmPool
from crucible.security.sandbox.probe import select_sandbox
from crucible.stats import wilson
from crucible.types import Completion, Message, Sampling

MAX_TOKENS = 768
STOP = ("\n```",)


def messages(problem: Problem, system: str | None, prefill: str) -> list[Message]:
    """The problem with its visible tests, in one text: a docstring, as EvalPlus writes MBPP, where the set has not put
    them into the prompt already."""
    task = problem.task
    text, tests = task.prompt.strip(), task.tests.strip()
    if tests and tests not in text:
        text = f'"""\n{text}\n{tests}\n"""'
    asked = render("solve", prompt=text, tests="", runs="", constraints=(), entry_point=None, hint="")
    first = [Message(role="system", content=system)] if system else []
    return [*first, Message(role="user", content=asked), Message(role="assistant", content=prefill)]


def through_engine(
    asked: Sequence[list[Message]], model: str, engine: str, parallel: int
) -> tuple[list[Completion], dict[str, Any]]:
    settings = load_settings(overrides={"model": {"name": model, "engine": engine, "slots": parallel}})
    sampling = Sampling(max_tokens=MAX_TOKENS, stop=STOP)
    paths = settings.paths
    with load_model(settings.model, paths) as served:
        with ThreadPoolExecutor(parallel) as threads:
            answers = threads.map(lambda each: served.generate(each, [sampling])[0], asked)
            drawn = list(_watched(answers, len(asked)))
        return drawn, served.identity.model_dump()


def through_transformers(
    asked: Sequence[list[Message]], weights: str, parallel: int
) -> tuple[list[Completion], dict[str, Any]]:
    """weights: a folder, a repository on the hub, or a .gguf file, whose quantised weights are then taken as they are."""
    import torch
    import transformers

    auto: Any = transformers  # its types are too loose to be checked
    more: dict[str, Any] = {}
    name = Path(weights).name
    if weights.endswith(".gguf"):
        more["gguf_file"] = Path(weights).name
        weights = str(Path(weights).parent)
    tokenizer = auto.AutoTokenizer.from_pretrained(weights, **more)
    tokenizer.padding_side = "left"
    if more:
        more["quantization_config"] = auto.GgufConfig(dequantize=True)
    model = auto.AutoModelForCausalLM.from_pretrained(weights, **more, dtype=torch.bfloat16).eval()
    texts = [
        tokenizer.apply_chat_template([each.model_dump() for each in chat], tokenize=False, continue_final_message=True)
        for chat in asked
    ]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    done: dict[int, Completion] = {}
    for start in range(0, len(order), parallel):
        batch = order[start : start + parallel]
        given = tokenizer([texts[index] for index in batch], return_tensors="pt", padding=True)
        began = time.monotonic()
        with torch.inference_mode():
            written = model.generate(
                **given,
                max_new_tokens=MAX_TOKENS,
                do_sample=False,
                stopping_criteria=[auto.StopStringCriteria(tokenizer, list(STOP))],
            )
        for row, index in enumerate(batch):
            tokens = written[row, given["input_ids"].shape[1] :]
            tokens = tokens[tokens != tokenizer.pad_token_id]
            text = tokenizer.decode(tokens, skip_special_tokens=True)
            ended = any(stop in text for stop in STOP)
            done[index] = Completion(
                text=text.split(STOP[0])[0],
                finish_reason="stop" if ended or len(tokens) < MAX_TOKENS else "length",
                prompt_tokens=int(given["attention_mask"][row].sum()),
                completion_tokens=len(tokens),
                seed=0,
                wall_s=time.monotonic() - began,
            )
        print(f"{len(done)}/{len(texts)} answers", file=sys.stderr, flush=True)
    identity = {"name": name, "engine": f"transformers, {model.dtype}"}
    return [done[index] for index in range(len(texts))], identity


def _watched(answers: Any, total: int) -> Any:  # noqa: ANN401
    for number, answer in enumerate(answers, 1):
        if number % 25 == 0 or number == total:
            print(f"{number}/{total} answers", file=sys.stderr, flush=True)
        yield answer


def judged(problems: Sequence[Problem], answers: Sequence[Completion]) -> list[dict[str, Any]]:
    with WarmPool(select_sandbox()) as sandbox, ThreadPoolExecutor(2) as threads:
        judge = SandboxJudge(sandbox)

        def one(pair: tuple[Problem, Completion]) -> dict[str, Any]:
            problem, answer = pair
            task = problem.task
            found = extract_for(task, answer.text, inside_fence=True)
            written = judge.judge(answer.text, problem.scored)
            same = found.code.strip() == answer.text.strip()
            extracted = written if same else judge.judge(found.code, problem.scored)
            return {
                "id": problem.id,
                "written": written.verdict == "pass",
                "extracted": extracted.verdict == "pass",
                "code": bool(found.code.strip()),
                "steps": list(found.how),
                "finish": answer.finish_reason,
                "tokens": answer.completion_tokens,
                "failure": "" if extracted.verdict == "pass" else extracted.reason.partition(":")[0],
            }

        return list(threads.map(one, zip(problems, answers, strict=True)))


def share(rows: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    count = sum(row[name] for row in rows)
    low, high = wilson(count, len(rows))
    return {"passed": count, "share": round(count / len(rows), 4), "ci95": [round(low, 4), round(high, 4)]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--engine", default="embedded")
    parser.add_argument("--weights", help="through transformers in bfloat16, in place of the engine")
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--limit", type=int, help="first problems of every set")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problems = [problem for spec in options.sets for problem in load(spec, limit=options.limit).problems]
    recipe = next(entry.recipe for entry in catalogue() if entry.name == options.model)
    asked = [messages(problem, recipe.system, recipe.prefill or "") for problem in problems]
    began = time.monotonic()
    if options.weights:
        answers, identity = through_transformers(asked, options.weights, options.parallel)
    else:
        answers, identity = through_engine(asked, options.model, options.engine, options.parallel)
    seconds = time.monotonic() - began
    rows = judged(problems, answers)
    tokens = sum(row["tokens"] for row in rows)
    summary = {
        "command": " ".join(["python -m benchmarks.greedy", *sys.argv[1:]]),
        "model": identity,
        "problems": len(rows),
        "written": share(rows, "written"),
        "extracted": share(rows, "extracted"),
        "no_program": sum(not row["code"] for row in rows),
        "cut_off": sum(row["finish"] == "length" for row in rows),
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "tokens_per_s": round(tokens / seconds, 1),
    }
    print(json.dumps(summary, indent=1))
    if options.out:
        options.out.write_text(json.dumps({**summary, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
