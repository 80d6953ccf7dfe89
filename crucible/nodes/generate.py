"""generate: ask the model for candidate programs, several in one batch.

A cycle either draws fresh samples of the task's own prompt or repairs one failing attempt. Retrieved episodes
go in front as solved examples. Programs seen before (same AST) are kept as duplicates and never run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crucible.errors import ContextOverflowError
from crucible.languages.python.constraints import sentence
from crucible.languages.python.extract import extract_for
from crucible.languages.python.fingerprint import fingerprint
from crucible.nodes.base import BaseNode, Context, Update
from crucible.nodes.ending import Ending
from crucible.nodes.foreign import fenced
from crucible.nodes.policy import batch, budget_left, temperatures, told
from crucible.nodes.prompts import fence, render
from crucible.nodes.recipe import INSIDE_FENCE, Recipe
from crucible.text import plain, whole
from crucible.types import Attempt, Completion, Diagnosis, Hit, Message, Sampling, State, Task, Tokens

if TYPE_CHECKING:
    from crucible.memory.base import EpisodeStore

MAX_VISIBLE_CHARS = 1500
"""Tests shown to the model are cut here, whole lines only: a small model reads no more, and prefill costs time."""

MAX_FINDINGS = 3


class Generate(BaseNode):
    name = "generate"

    def run(self, state: State, context: Context) -> Update:
        context.check_cancelled()
        cycle = state.get("cycle", 0) + 1
        context.emit("cycle-started", cycle=cycle, decision=state.get("decision", "resample"))
        shots = state["shots"] if "shots" in state else _retrieve(state["task"], context)
        repair_of = _find(state, state.get("repair_of"))
        try:
            messages, samplings, completions = _draw(state, context, cycle, shots, repair_of)
        except ContextOverflowError:
            if not shots and repair_of is None:
                raise
            shots, repair_of = [], None  # the task alone is shorter
            messages, samplings, completions = _draw(state, context, cycle, shots, repair_of)
        key = prompt_fingerprint(messages)
        strategy = _strategy(state, repair_of)
        for notice in context.model.notices():
            context.emit("engine-restarted", message=notice)
        context.check_cancelled()
        drawn = list(zip(samplings, completions, strict=True))
        attempts = _attempts(drawn, state, context, key, strategy, cycle, messages)
        for attempt in attempts:
            context.emit("sampled", attempt=attempt.model_dump(mode="json", exclude={"verdict", "findings"}))
        spent = Tokens(
            prompt=sum(completion.prompt_tokens for completion in completions),
            completion=sum(completion.completion_tokens for completion in completions),
        )
        return {
            "cycle": cycle,
            "shots": shots,
            "attempts": attempts,
            "tokens": spent,
            "prompts": {key: tuple(messages)},
            "repair_of": None,
        }


def _strategy(state: State, repair_of: Attempt | None) -> str:
    return "repair" if repair_of else "direct" if state["strategy"] == "direct" else "sample"


def _draw(
    state: State, context: Context, cycle: int, shots: Sequence[Hit], repair_of: Attempt | None
) -> tuple[list[Message], list[Sampling], list[Completion]]:
    """One batch: what was asked, how, and what came. Raises ContextOverflowError for a prompt that is too long."""
    messages = _messages(state, context, shots, repair_of)
    samplings = _samplings(state, context, cycle, prompt_fingerprint(messages))
    context.emit("sampling", cycle=cycle, samples=len(samplings), strategy=_strategy(state, repair_of))
    ending = Ending(context.cancel, len(samplings))

    def hear(index: int, text: str) -> None:
        context.emit("token", index=index, text=text)
        ending.hear(index, text)

    completions = context.model.generate(
        messages, samplings, on_delta=hear, cancel=ending, deadline_s=context.remaining_s()
    )
    return messages, samplings, completions


def prompt_fingerprint(messages: Sequence[Message]) -> str:
    payload = json.dumps([(message.role, message.content) for message in messages])
    return hashlib.sha256(payload.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _find(state: State, attempt_id: str | None) -> Attempt | None:
    return next((attempt for attempt in state.get("attempts", []) if attempt.id == attempt_id), None)


# ------------------------------------------------------------- the prompt


def _retrieve(task: Task, context: Context) -> list[Hit]:
    """Solved episodes near enough to this task to help as examples; none rather than unlike ones."""
    if context.memory is None or not context.tools.memory or context.memory_settings.k == 0:
        return []
    settings = context.memory_settings
    hits: list[Hit] = []
    with context.optional("no episode is retrieved"):
        hits = verified(context.memory, task.text, settings.k)
    near = [hit for hit in hits if hit.score >= settings.min_score and 0 < len(hit.code) <= settings.max_shot_chars]
    if near:
        context.emit("retrieved", episodes=[hit.model_dump(include={"episode_id", "score", "title"}) for hit in near])
    return near


def verified(memory: EpisodeStore, text: str, k: int) -> list[Hit]:
    """The k nearest solved episodes whose verdict the program could not forge at will: none of trust `low`."""

    def holds(hit: Hit) -> bool:
        if hit.trust:
            return hit.trust != "low"
        episode = memory.get(hit.episode_id)  # a store that does not say
        return episode is None or episode.trust != "low"

    for wanted in (k, 8 * k):
        hits = memory.fetch_semantic(text, wanted, solved=True)
        held = [hit for hit in hits if holds(hit)]
        if len(held) >= k or len(hits) < wanted:
            break
    return held[:k]


def reads_stdin(task: Task) -> bool:
    """Return whether the task wants a whole program: its examples are texts on standard input and output."""
    texts = all(isinstance(part, str) for example in task.examples for part in (example.input, example.output))
    return bool(task.examples) and task.entry_point is None and texts


def visible_tests(task: Task) -> str:
    """The statements the model sees as tests, cut to whole lines; empty where the prompt already shows them."""
    shown: list[str] = []
    if task.tests.strip() and task.tests.strip() not in task.prompt:
        shown += task.tests.strip().split("\n")
    name = task.entry_point or "solution"
    for example in () if reads_stdin(task) else task.examples:
        if isinstance(example.input, list):
            arguments = ", ".join(repr(value) for value in example.input)
        elif isinstance(example.input, dict):
            arguments = ", ".join(f"{key}={value!r}" for key, value in example.input.items())
        else:
            arguments = repr(example.input)
        shown.append(f"assert {name}({arguments}) == {example.output!r}")
    return "\n".join(_within(shown, MAX_VISIBLE_CHARS))


def visible_runs(task: Task) -> str:
    """The pairs of standard input and output the model sees, whole pairs only; empty for any other task."""
    if not reads_stdin(task):
        return ""
    shown = [f"Input:\n{_ended(example.input)}Output:\n{_ended(example.output)}" for example in task.examples]
    return "\n".join(_within(shown, MAX_VISIBLE_CHARS)).strip("\n")


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _within(texts: Sequence[str], chars: int) -> list[str]:
    """The first texts that together have at most `chars` characters."""
    kept: list[str] = []
    for text in texts:
        if sum(map(len, kept)) + len(text) > chars:
            break
        kept.append(text)
    return kept


def direct_prompt(task: Task, recipe: Recipe) -> tuple[Message, ...]:
    """What a model is asked that sees the task alone; the recipe's opening of the answer comes last."""
    return tuple(_prompt(task, recipe))


def _messages(state: State, context: Context, shots: Sequence[Hit], repair_of: Attempt | None) -> list[Message]:
    diagnosis = next(
        (found for found in reversed(state.get("diagnoses", [])) if repair_of and found.attempt_id == repair_of.id),
        None,
    )
    repair_of = repair_of and told(repair_of, context.tools)
    return _prompt(state["task"], context.recipe, shots, repair_of, diagnosis)


def _prompt(
    task: Task,
    recipe: Recipe,
    shots: Sequence[Hit] = (),
    repair_of: Attempt | None = None,
    diagnosis: Diagnosis | None = None,
) -> list[Message]:
    """System, solved examples, the task, and for a repair the failing answer with what was found."""
    messages = [Message(role="system", content=recipe.system)] if recipe.system else []
    prefill = recipe.prefill or ""
    for shot in reversed(shots):  # the likest last, next to the task
        messages.append(Message(role="user", content=_ask(Task(prompt=shot.text))))
        messages.append(Message(role="assistant", content=_answer(prefill, shot.code)))
    messages.append(Message(role="user", content=_ask(task)))
    if repair_of is not None:
        errors = [finding for finding in repair_of.findings if finding.severity == "error"][:MAX_FINDINGS]
        messages.append(Message(role="assistant", content=_answer(prefill, repair_of.code)))
        messages.append(Message(role="user", content=render("repair", findings=errors, diagnosis=diagnosis)))
    if recipe.prefill:
        messages.append(Message(role="assistant", content=INSIDE_FENCE if repair_of else recipe.prefill))
    return messages


def _ask(task: Task) -> str:
    return render(
        "solve",
        prompt=task.prompt.strip(),
        tests=visible_tests(task),
        runs=visible_runs(task),
        constraints=(*task.constraints, *map(sentence, task.rules)),
        entry_point=task.entry_point,
        hint=task.hint,
        language=task.language.capitalize(),
    )


def _answer(prefill: str, code: str) -> str:
    """An answer as the model is to believe it gave it: its own opening, then the program, which cannot end the block."""
    ticks = fence(code)
    opening = prefill.removesuffix(INSIDE_FENCE) if prefill.endswith(INSIDE_FENCE) else ""
    return f"{opening}{ticks}python\n{plain(code.rstrip())}\n{ticks}"


# ------------------------------------------------------------- the samples


def _samplings(state: State, context: Context, cycle: int, key: str) -> list[Sampling]:
    task, settings, cycles = state["task"], context.model_settings, context.cycles
    greedy = cycle == 1 and (cycles.greedy_first or state["strategy"] == "direct")
    samples = 1 if greedy else cycles.samples
    already = any(
        attempt.prompt_fingerprint == key and attempt.temperature == 0.0 for attempt in state.get("attempts", [])
    )
    schedule = [0.0] if greedy else settings.temperatures
    samples, share = batch(state.get("attempts", []), budget_left(state, cycles), samples)
    limit = min(task.max_tokens or settings.max_tokens, share)
    program = context.recipe.opens_fence and "syntax" in context.model.features
    return [
        Sampling(
            syntax="python" if program else None,
            max_tokens=limit,
            temperature=temperature,
            top_p=settings.top_p if temperature > 0 else 1.0,
            seed=sample_seed(state["seed"], cycle, index),
            stop=stops(task, context.recipe),
        )
        for index, temperature in enumerate(temperatures(schedule, samples, already_greedy=already))
    ]


AFTER_THE_PROGRAM = ("\nassert ", "\nprint(", "\nif __name__", "\n# Test", "\n# Example")
"""What small models write once a function is done: checks and demonstrations. Nobody needs those tokens."""


def stops(task: Task, recipe: Recipe) -> tuple[str, ...]:
    """Stop at the fence the recipe opened; where a function or class is wanted, at the first line after it too."""
    if not recipe.opens_fence:
        return ()
    return ("\n```", *(AFTER_THE_PROGRAM if task.entry_point else ()))


def sample_seed(seed: int, cycle: int, index: int) -> int:
    """A seed of its own for every sample of a run, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{cycle}/{index}".encode()).digest()[:4], "big")


def _finish(completion: Completion, how: Sequence[str]) -> str:
    """Why an answer ended: `repetition` where it said nothing new when it was cut off."""
    return "repetition" if "repetition" in how and completion.finish_reason != "stop" else completion.finish_reason


def _attempts(
    drawn: Sequence[tuple[Sampling, Completion]],
    state: State,
    context: Context,
    key: str,
    strategy: str,
    cycle: int,
    messages: Sequence[Message],
) -> list[Attempt]:
    task = state["task"]
    seen = {attempt.fingerprint: attempt.duplicate_of or attempt.id for attempt in state.get("attempts", [])}
    attempts: list[Attempt] = []
    for index, (sampling, completion) in enumerate(drawn):
        answer = whole(completion.text)
        inside = messages[-1].role == "assistant" and messages[-1].content.endswith(INSIDE_FENCE)
        found = extract_for(task, answer, inside_fence=inside)
        if task.language != Task.model_fields["language"].default:
            found = fenced(answer)
        mark = fingerprint(found.code)
        attempt_id = f"{cycle}.{index + 1}"
        attempts.append(
            Attempt(
                id=attempt_id,
                cycle=cycle,
                index=index,
                code=found.code,
                completion=answer,
                extraction=found.how,
                fingerprint=mark,
                prompt_fingerprint=key,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                seed=sampling.seed,
                temperature=sampling.temperature,
                strategy=strategy,
                finish_reason=_finish(completion, found.how),
                adapter=context.model.identity.adapter,
                duplicate_of=seen.get(mark),
            )
        )
        seen.setdefault(mark, attempt_id)
    return attempts
