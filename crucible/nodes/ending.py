"""Ends a draw that only repeats itself, as small models do until their tokens are spent."""

from __future__ import annotations

import threading

from crucible.languages.python.extraction.repetition import repetition

EVERY = 32
"""Pieces of text between two looks at a sample."""


class Ending(threading.Event):
    """Set like `outer`, and when every one of `samples` samples repeats itself. Handed to a model as its `cancel`.

    A model's interface ends all samples of a call or none, so a batch goes on while one sample has something to say.
    """

    def __init__(self, outer: threading.Event, samples: int) -> None:
        super().__init__()
        self._outer, self._samples = outer, samples
        self._texts: dict[int, list[str]] = {}
        self._repeating: set[int] = set()

    def is_set(self) -> bool:
        return super().is_set() or self._outer.is_set()

    def hear(self, index: int, text: str) -> None:
        """Take the next piece of sample `index`."""
        texts = self._texts.setdefault(index, [])
        texts.append(text)
        if len(texts) % EVERY == 0 and index not in self._repeating and repetition("".join(texts)) is not None:
            self._repeating.add(index)
            if len(self._repeating) == self._samples:
                self.set()
