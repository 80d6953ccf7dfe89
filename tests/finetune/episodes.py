"""Episodes with judged attempts, as the loop leaves them."""

from __future__ import annotations

from typing import Any, Literal

from crucible.languages.python.fingerprint import fingerprint
from crucible.types import Attempt, Episode, Message, ModelIdentity, Task, Verdict

RIGHT = "def double(number):\n    result = number + number\n    return result\n"
WRONG = "def double(number):\n    result = number * number\n    return result\n"


def verdict(right: bool, trust: Literal["full", "claimed", "low"] = "full", total: int = 2) -> Verdict:
    return Verdict(
        verdict="pass" if right else "fail", reason="", passed=total if right else 0, total=total, trust=trust
    )


def attempt(code: str, judged: Verdict | None, number: int = 1, **more: Any) -> Attempt:
    return Attempt(
        id=f"1.{number}",
        cycle=1,
        index=number - 1,
        code=code,
        completion=code,
        fingerprint=fingerprint(code),
        prompt_fingerprint="p",
        prompt_tokens=10,
        completion_tokens=5,
        seed=7,
        temperature=0.0,
        strategy="sample",
        verdict=judged,
        **more,
    )


def episode(
    name: str,
    *attempts: Attempt,
    prompt: str = "Write a function double(number) that gives twice the number.",
    hidden: Verdict | None = None,
    difficulty: str = "1",
    **more: Any,
) -> Episode:
    """The last attempt is its best."""
    best = attempts[-1] if attempts else None
    return Episode(
        episode_id=name,
        run_id=f"run-{name}",
        task=Task(id=prompt[:30], prompt=prompt, tests="assert double(2) == 4", difficulty=difficulty),
        status=more.pop("status", "solved" if best is not None and best.solved else "unsolved"),
        code=best.code if best else "",
        best_attempt=best.id if best else None,
        attempts=attempts,
        prompts={"p": (Message(role="user", content=prompt),)},
        hidden_verdict=hidden,
        model=ModelIdentity(name="m", engine="scripted"),
        strategy="auto",
        seed=7,
        config_hash="c",
        **more,
    )


def solved(name: str, code: str = RIGHT, **more: Any) -> Episode:
    return episode(name, attempt(code, verdict(True)), **more)


def failed(name: str, code: str = WRONG, **more: Any) -> Episode:
    return episode(name, attempt(code, verdict(False)), **more)
