"""Degenerate repetition: an answer's end that writes the same line or block over and over, as small models do."""

from __future__ import annotations

import re

MAX_BLOCK = 12
"""Lines of the longest block whose repetition is looked for."""
TAIL_CHARS = 12_000
"""How much of an answer's end is looked at."""
MIN_LINES = 16
"""Lines that say the same before it counts: tables and grids of a program repeat themselves too."""
MIN_DATA_LINES = 80
MIN_CHARS = 480
"""Characters of one line without end that repeat with a period of MAX_PERIOD or less."""
MAX_PERIOD = 60


def repetition(text: str) -> int | None:
    """Return where the repetition at the end of `text` says nothing new: after its first round. None where there is none."""
    start = max(0, len(text) - TAIL_CHARS)
    tail = text[start:]
    found = _by_lines(tail)
    if found is None:
        found = _by_characters(tail)
    return None if found is None else start + found


def _by_lines(tail: str) -> int | None:
    offsets, lines = [0], tail.split("\n")
    for line in lines:
        offsets.append(offsets[-1] + len(line) + 1)
    whole = len(lines) - 1  # the last line may still be growing
    alike = [_shape(line) for line in lines[:whole]]
    for period in range(1, MAX_BLOCK + 1):
        count = 0
        while count + period < whole and alike[whole - 1 - count] == alike[whole - 1 - count - period]:
            count += 1
        lines_alike = count + period if count >= period else 0
        unit = alike[whole - period : whole] if lines_alike else []
        if not any(line.strip() for line in unit):
            continue
        data = all(line.rstrip().endswith((",", "]", ")", "}")) and line[:1].isspace() for line in unit if line.strip())
        if lines_alike >= max(MIN_DATA_LINES if data else MIN_LINES, 4 * period):
            return offsets[whole - lines_alike + period]
    return None


def _shape(line: str) -> str:
    """A line by what it says: at the left margin numbers do not count (assert f(1), assert f(2), ...)."""
    return line.rstrip() if line[:1].isspace() else re.sub(r"\d+", "0", line.rstrip())


def _by_characters(tail: str) -> int | None:
    line = tail[tail.rfind("\n") + 1 :]
    if len(line) < MIN_CHARS:
        return None
    end = line[-MIN_CHARS:]
    for period in range(1, MAX_PERIOD + 1):
        if end[period:] == end[:-period]:
            begin = len(line) - MIN_CHARS
            while begin and line[begin - 1] == line[begin - 1 + period]:
                begin -= 1
            return len(tail) - len(line) + begin + period
    return None
