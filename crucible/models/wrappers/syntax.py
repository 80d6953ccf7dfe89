"""Programs that parse, from any engine that continues a begun answer.

What does not parse is cut before the line where the parser gave up, and the model goes on from there: with other random
numbers, inside the same sampling's max_tokens, everything it writes counted. If it gives up at the same line again, more is
cut. What still does not parse when the tokens are spent is cut to its longest beginning that does. A grammar could not do
it: Python's indentation is not context-free, and masking every token's choices costs time where almost none are wrong.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from crucible.models.base import Feature, Model, OnDelta
from crucible.models.wrappers.wrapped import WrappedModel
from crucible.types import Completion, Message, Sampling

MAX_TRIES = 4
STIRRED = 0.5
"""Temperature of a continuation whose sampling was greedier: greedily, the same error would be written again."""

FirstError = Callable[[str], int | None]
"""The line, from 1, at which a program does not parse; None if it does."""


class SyntaxModel(WrappedModel):
    """`inner` must continue a prefill. Samplings with `syntax` come back as text that parses; others untouched."""

    def __init__(self, inner: Model, first_error: FirstError) -> None:
        super().__init__(inner)
        self._first_error = first_error

    @property
    def features(self) -> frozenset[Feature]:
        own: frozenset[Feature] = frozenset({"syntax"}) if "prefill" in self.inner.features else frozenset()
        return self.inner.features | own

    def generate(
        self,
        messages: Sequence[Message],
        samplings: Sequence[Sampling],
        *,
        on_delta: OnDelta | None = None,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> list[Completion]:
        plain = [sampling.model_copy(update={"syntax": None}) for sampling in samplings]
        drawn = super().generate(messages, plain, on_delta=on_delta, cancel=cancel, deadline_s=deadline_s)
        begun = messages[-1].content if messages and messages[-1].role == "assistant" else ""
        before = messages[:-1] if begun else messages

        def mend(index: int) -> Completion:
            def draw(kept: str, sampling: Sampling) -> Completion:
                (completion,) = self.inner.generate(
                    [*before, Message(role="assistant", content=begun + kept)],
                    [sampling],
                    on_delta=on_delta and (lambda _, text: on_delta(index, text)),
                    cancel=cancel,
                    deadline_s=deadline_s,
                )
                return completion

            return self._mended(drawn[index], plain[index], draw)

        wanted = [index for index, sampling in enumerate(samplings) if sampling.syntax and not sampling.logprobs]
        broken = [index for index in wanted if self._first_error(drawn[index].text) is not None]
        if broken:
            with ThreadPoolExecutor(len(broken), thread_name_prefix="crucible-mend") as threads:
                for index, completion in zip(broken, threads.map(mend, broken), strict=True):
                    drawn[index] = completion
        return drawn

    def _mended(self, first: Completion, sampling: Sampling, draw: Callable[[str, Sampling], Completion]) -> Completion:
        text, spent, wall_s, last = first.text, first.completion_tokens, first.wall_s, first
        stuck_at, tries = 0, 0
        while (line := self._first_error(text)) is not None and tries < MAX_TRIES:
            left = sampling.max_tokens - spent
            if left <= 0 or last.finish_reason == "cancelled":
                break
            tries += 1
            # The same line again: what is wrong may stand earlier, as an open bracket does.
            back = line - 1 - (tries if line <= stuck_at else 0)
            stuck_at = max(stuck_at, line)
            kept = _lines(text, max(0, back))
            last = draw(
                kept,
                sampling.model_copy(
                    update={
                        "max_tokens": left,
                        "seed": (sampling.seed + 1_000_003 * tries) % 2**32,
                        "temperature": max(sampling.temperature, STIRRED),
                    }
                ),
            )
            text, spent, wall_s = kept + last.text, spent + last.completion_tokens, wall_s + last.wall_s
        if self._first_error(text) is not None:
            text = self._longest(text)
        return last.model_copy(
            update={
                "text": text,
                "completion_tokens": spent,
                "prompt_tokens": first.prompt_tokens,
                "seed": first.seed,
                "wall_s": wall_s,
            }
        )

    def _longest(self, text: str) -> str:
        """The longest beginning, in whole lines, that parses; nothing does, at the least."""
        kept = text.count("\n") + 1
        while kept and self._first_error(_lines(text, kept)) is not None:
            kept -= 1
        return _lines(text, kept)


def _lines(text: str, count: int) -> str:
    return "".join(text.splitlines(keepends=True)[:count])
