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
from crucible.languages.foreign import fenced
from crucible.languages.python.extract import extract_for
from crucible.languages.python.fingerprint import fingerprint
from crucible.nodes.base import BaseNode, Context, Update
from crucible.nodes.ending import Ending
from crucible.nodes.policy import batch, budget_left, temperatures, told
from crucible.prompting.prompt import solve_prompt, stops
from crucible.prompting.recipe import INSIDE_FENCE
from crucible.text import whole
from crucible.types import Attempt, Completion, Hit, Message, Sampling, State, Task, Tokens

if TYPE_CHECKING:
    from crucible.memory.base import EpisodeStore


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


def _messages(state: State, context: Context, shots: Sequence[Hit], repair_of: Attempt | None) -> list[Message]:
    diagnosis = next(
        (found for found in reversed(state.get("diagnoses", [])) if repair_of and found.attempt_id == repair_of.id),
        None,
    )
    repair_of = repair_of and told(repair_of, context.tools)
    return solve_prompt(state["task"], context.recipe, shots, repair_of, diagnosis)


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
