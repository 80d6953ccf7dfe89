"""What a model wrote while it thought, taken out of its answer: drafts in there are no answer.

Known are tags (<think>, <thinking>, [THINK] and their like), also where the template opened them or nothing closed them,
and the channels of gpt-oss. Tags inside a code block are the program's own text.
"""

from __future__ import annotations

import re

_NAMES = r"(?:think|thinking|thought|thoughts|reasoning|reason|reflection|scratchpad|analysis|seed:think)"
_PAIRS = (
    (rf"<{_NAMES}(?:\s[^<>\n]{{0,80}})?>", rf"</{_NAMES}>"),
    (rf"\[{_NAMES}\]", rf"\[/{_NAMES}\]"),
    (r"<\|(?:begin_of_thought|START_THINKING)\|>", r"<\|(?:end_of_thought|END_THINKING)\|>"),
    (r"◁think▷", r"◁/think▷"),
)
_OPEN = re.compile("|".join(pair[0] for pair in _PAIRS), re.IGNORECASE)
_CLOSE = re.compile("|".join(pair[1] for pair in _PAIRS), re.IGNORECASE)
_OPEN_LINE = re.compile(rf"[ \t>]*(?:{_OPEN.pattern})", re.IGNORECASE)
_ORPHAN = re.compile(rf"^[ \t]*(?:{_CLOSE.pattern})|(?:{_CLOSE.pattern})[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})")
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(\w+)[^<]*?<\|message\|>(.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)", re.DOTALL
)
_WRAPS = re.compile(
    r"<\|(?:begin_of_solution|end_of_solution|START_RESPONSE|END_RESPONSE|im_end|endoftext|eot_id|end_of_text)\|>|</s>"
)


def outside_thinking(answer: str) -> tuple[str, bool]:
    """(the answer without its thinking, whether there was any). Nothing but thinking comes back as it is."""
    if channels := _CHANNEL.findall(answer):
        final = [text for name, text in channels if name.lower() == "final"]
        called = [text for name, text in channels if name.lower() == "commentary"]
        return "\n".join(final or called or [text for _, text in channels]), True
    answer = _WRAPS.sub("", answer)
    rest, thought = _without_sections(answer)
    orphans = list(_ORPHAN.finditer(rest))
    if orphans and not _in_program(rest, orphans[-1].start()):
        rest, thought = rest[orphans[-1].end() :], True
    return (rest, thought) if rest.strip() else (answer, thought)


def _without_sections(answer: str) -> tuple[str, bool]:
    """Without what stands from an opening tag, at a line's start and outside code, to the next closing one."""
    kept: list[str] = []
    fence = ""
    thought = False
    lines = answer.split("\n")
    index = 0
    while index < len(lines):
        line = lines[index]
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            fence = ""
        opened = None if fence else _OPEN_LINE.match(line)
        if opened is None:
            kept.append(line)
            index += 1
            continue
        thought = True
        rest = "\n".join([line[opened.end() :], *lines[index + 1 :]])
        closed = _CLOSE.search(rest)
        if closed is None:
            break  # it was cut off while thinking
        lines, index = rest[closed.end() :].split("\n"), 0
    return "\n".join(kept), thought


def _in_program(text: str, place: int) -> bool:
    """Return whether a place lies in a code block with text after it: an orphaned tag there may be a program's own."""
    before = re.findall(r"^[ \t>]*(?:`{3,}|~{3,})", text[:place], re.MULTILINE)
    after = re.search(r"^[ \t>]*(?:`{3,}|~{3,})", text[place:], re.MULTILINE)
    return len(before) % 2 == 1 and (after is None or not text[place:][after.end() :].lstrip("`~").strip())
