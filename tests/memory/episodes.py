"""Episodes to store, and an encoder that is cheap where meaning is not what a test is about."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucible.types import Attempt, Episode, Message, ModelIdentity, Task, Tokens


class HashEncoder:
    """Equal texts get equal unit vectors, different texts nearly orthogonal ones."""

    name = "hash"
    dimension = 384

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.empty((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
            row[:] = np.random.default_rng(list(digest)).standard_normal(self.dimension)
            row /= np.linalg.norm(row)
        return rows


def episode(
    name: str = "e1",
    prompt: str = "Add two numbers.",
    *,
    title: str = "",
    task_id: str | None = None,
    code: str = "def add(a, b):\n    return a + b\n",
    solved: bool = True,
    **more: Any,
) -> Episode:
    attempt = Attempt(
        id="a1",
        cycle=1,
        index=0,
        code=code,
        completion=code,
        fingerprint="f",
        prompt_fingerprint="p",
        prompt_tokens=10,
        completion_tokens=5,
        seed=7,
        temperature=0.0,
        strategy="auto",
    )
    task = Task(id=prompt[:20] if task_id is None else task_id, title=title, prompt=prompt)
    return Episode(
        episode_id=name,
        run_id="r1",
        task=task,
        status="solved" if solved else "unsolved",
        code=code,
        attempts=(attempt,),
        prompts={"p": (Message(role="user", content=prompt),)},
        tokens=Tokens(prompt=10, completion=5),
        model=ModelIdentity(name="m", engine="scripted"),
        strategy="auto",
        seed=7,
        config_hash="c",
        **more,
    )
