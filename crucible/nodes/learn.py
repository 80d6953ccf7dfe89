"""learn: close the run. Build its Episode, write it to memory, so that the next task can find it."""

from __future__ import annotations

import uuid

from crucible.nodes.base import BaseNode, Context, Update
from crucible.nodes.policy import best_attempt, why_stop
from crucible.rewards import RewardInput, Rewards
from crucible.security.judge.visible import has_tests
from crucible.types import Attempt, Episode, State, Status, Tokens


class Learn(BaseNode):
    name = "learn"

    def run(self, state: State, context: Context) -> Update:
        spent_s = context.spent_s()
        stop = why_stop(state, context.cycles, spent_s) or "unsolved"
        episode = build_episode(state, context, stop, spent_s)
        remember(episode, context)
        return {"episode": episode, "stop": stop}


def remember(episode: Episode, context: Context) -> None:
    """Write the episode to memory, where episodes are kept. The run does not end for a store that fails."""
    if context.memory is not None and context.tools.dataset_logging:
        with context.optional("this run is not remembered"):
            context.memory.add(episode)


def _was_tested(attempt: Attempt) -> bool:
    """Whether a judge, ours or another language's, found tests."""
    return attempt.verdict is not None and attempt.verdict.total > 0


def build_episode(state: State, context: Context, stop: str, spent_s: float) -> Episode:
    """The record of the run so far."""
    best = best_attempt(state.get("attempts", []))
    status: Status = "unsolved"
    if best is not None and best.solved:
        status = "solved"
    elif best is not None and best.code.strip() and not _was_tested(best) and not has_tests(state["task"]):
        status = "unverified"
    elif stop.startswith("refused"):
        status = "refused"
    return Episode(
        episode_id=episode_id(state["run_id"]),
        run_id=state["run_id"],
        parent_run=state.get("parent_run"),
        task=state["task"],
        status=status,
        stop=stop,
        code=best.code if best else "",
        best_attempt=best.id if best else None,
        attempts=tuple(state.get("attempts", [])),
        diagnoses=tuple(state.get("diagnoses", [])),
        feedback=tuple(state.get("feedback", [])),
        prompts=state.get("prompts", {}),
        retrieved=tuple(hit.episode_id for hit in state.get("shots", [])),
        verdict=best.verdict if best else None,
        rewards=Rewards(context.reward_settings).score(RewardInput.of(best)) if best and status != "refused" else {},
        approval=state.get("approval"),
        tokens=state.get("tokens", Tokens()),
        cycles=state.get("cycle", 0),
        wall_s=spent_s,
        model=context.model.identity,
        strategy=state["strategy"],
        seed=state["seed"],
        config_hash=context.config_hash,
    )


def episode_id(run_id: str) -> str:
    """The id of a run's episode: it follows from the run's, so that learning twice is learning once."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"crucible:{run_id}").hex
