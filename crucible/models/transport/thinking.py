"""Telling what a model thinks aloud from its answer, in text that comes piece by piece.

Models mark their thinking at the beginning of an answer: <think>…</think>, [THINK]…[/THINK], gpt-oss's channels. A mark counts
there only, before the first other word: in a program it is the program's own text. Where a chat template opens the thinking
in the prompt, only its end is in the answer: a closing mark at a line's end, outside of code. That is known when the answer is
complete; `Thinking.text` and `Thinking.thoughts` are right then, while pieces that were shown before may hold thinking.
"""

from __future__ import annotations

import re

MARKS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "<|start_thinking|>": "<|end_thinking|>",
    "[think]": "[/think]",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
}
"""Opening and closing marks, in lower case."""
_CHANNELS = ("<|channel|>", "<|start|>")
_MESSAGE = "<|message|>"
_ENDS = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_LONGEST_END = len("<|channel|>")
_CLOSED = re.compile(
    r"^(?P<before>[^\n\"'`#]*)(?:</think(?:ing)?>|</thought>|\[/THINK\]|</seed:think>)[^\S\n]*(?:\n|\Z)", re.MULTILINE
)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_BARE_CHANNELS = re.compile(r"analysis(?P<thoughts>.*?)assistantfinal(?P<text>.*)", re.DOTALL)


class Thinking:
    """Takes an answer's pieces; `text` and `thoughts` are its two parts once `end` was called."""

    def __init__(self) -> None:
        self.text = ""
        self.thoughts = ""
        self._shown: list[str] = []
        self._thought: list[str] = []
        self._held = ""
        """What came and is not yet known to be one or the other."""
        self._close = ""
        """The mark that ends the thinking the answer is in."""
        self._state = self._begin

    def feed(self, piece: str) -> str:
        """Return what of the answer is certain by now; empty while the model thinks."""
        before = len(self._shown)
        self._held += piece
        while self._state():
            pass
        return "".join(self._shown[before:])

    def end(self) -> str:
        """The rest of the answer. Nothing may be fed after it."""
        rest, self._held = self._held, ""
        if self._state in (self._begin, self._answer):
            self._shown.append(rest)
        elif self._state in (self._think, self._aside):
            self._thought.append(rest)
            rest = ""
        else:
            rest = ""
        self.text, self.thoughts = "".join(self._shown), "".join(self._thought)
        if not self.thoughts:
            self.text, self.thoughts = _unopened(self.text)
        return rest

    # Each state takes from `_held` what it can, and returns whether another state goes on with the rest.

    def _begin(self) -> bool:
        start = self._held.lstrip()
        low = start[:24].lower()
        for mark in (*MARKS, *_CHANNELS):
            if low.startswith(mark):
                if mark in MARKS:
                    self._held, self._close, self._state = start[len(mark) :], MARKS[mark], self._think
                else:
                    self._held, self._state = start, self._header
                return True
        if any(mark.startswith(low) for mark in (*MARKS, *_CHANNELS)):
            return False
        self._held = self._held if not self._thought else self._held.lstrip("\r\n")
        self._state = self._answer
        return True

    def _answer(self) -> bool:
        if self._held:
            self._shown.append(self._held)
            self._held = ""
        return False

    def _think(self) -> bool:
        found = re.search(re.escape(self._close), self._held, re.IGNORECASE)
        if found is None:
            sure = max(0, len(self._held) - len(self._close) + 1)
            self._thought.append(self._held[:sure])
            self._held = self._held[sure:]
            return False
        self._thought.append(self._held[: found.start()])
        self._held, self._state = self._held[found.end() :], self._begin
        return True

    def _header(self) -> bool:
        """<|start|>assistant<|channel|>NAME …<|message|>"""
        at = self._held.find(_MESSAGE)
        if at < 0:
            return False
        final = re.search(r"<\|channel\|>\s*(\w*)", self._held[:at])
        self._held = self._held[at + len(_MESSAGE) :]
        self._state = self._final if final is None or final[1] == "final" else self._aside
        return True

    def _aside(self) -> bool:
        return self._channel(self._thought)

    def _final(self) -> bool:
        return self._channel(self._shown)

    def _channel(self, into: list[str]) -> bool:
        end = _ENDS.search(self._held)
        if end is None:
            sure = len(self._held)
            at = self._held.rfind("<")
            if at >= 0 and sure - at < _LONGEST_END:
                sure = at
            into.append(self._held[:sure])
            self._held = self._held[sure:]
            return False
        into.append(self._held[: end.start()])
        self._held, self._state = self._held[end.start() :], self._header
        return True


def _unopened(text: str) -> tuple[str, str]:
    """(answer, thoughts) of an answer whose thinking has no opening mark, or whose channel marks were taken out."""
    bare = _BARE_CHANNELS.fullmatch(text)
    if bare is not None:
        return bare["text"], bare["thoughts"]
    for found in _CLOSED.finditer(text):
        before = text[: found.start()] + found["before"]
        if before.strip() and len(_FENCE.findall(before)) % 2 == 0:
            return text[found.end() :].lstrip("\r\n"), before
    return text, ""
