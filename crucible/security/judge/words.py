"""Examples in a task's words, and the function they are about. Nothing is run here, and nothing raises.

`read` finds asserts, doctest sessions, sequences in Markdown fences, calls with their answers in words ("f(2) gives 4",
"f(2) -> 4", "f(2) should be 4") and Input:/Output: pairs. A call counts only where its arguments and its answer are
written out: "f(n) returns the n-th number" is prose and "f(x) -> int" a signature. A text that looks like an example and
cannot be read is listed in `unread`, so that nobody believes it was tested.
"""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
import warnings
from typing import NamedTuple

from crucible.languages.python import syntax
from crucible.security.judge import answers
from crucible.security.judge.expressions import balanced, concrete, ends, is_open, parse_expression
from crucible.security.judge.naming import MAX_CHARS, named

MAX_SPAN = 2_000
"""Characters of one example outside a fence or session."""
MAX_LOOKS = 500
"""Calls and asserts that are looked at; what a hostile text holds beyond is left alone, and said to be."""
MAX_EFFORT = 2_000_000
"""Characters that are parsed for asserts in the text; the same bound, for texts that are almost asserts."""
MAX_SHOWN = 300


class Found(NamedTuple):
    """`source`: Python statements whose last is an assert, or a doctest session (starts with `>>> `). `shown`: one line for
    people. `line`: in the prompt, from 1."""

    source: str
    shown: str
    line: int


class Words(NamedTuple):
    """`unread`: texts that look like examples and could not be read, as they stand. `entry_point`: the function or class the
    task asks for, None where the words name none."""

    found: tuple[Found, ...] = ()
    unread: tuple[str, ...] = ()
    entry_point: str | None = None


def read(prompt: str, entry_point: str | None = None) -> Words:
    """The examples in `prompt`. entry_point: the function they are about, where it is known; Input:/Output: pairs need one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes in somebody's text
        name = entry_point or named(prompt)
        reader = _Reader(prompt, name)
        reader.fences()
        reader.sessions()
        reader.asserts()
        reader.calls()
        reader.pairs()
        found = sorted(reader.found, key=lambda each: each.line)
        if entry_point is None and not name:
            name = _called(found)
    return Words(tuple(found), tuple(dict.fromkeys(reader.unread)), name)


_FENCE = re.compile(r"^[ \t>]{0,8}(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*$")
_CALL = re.compile(r"(?<![\w.])([A-Za-z_][\w.]{0,60})\(")
_PROMPT = re.compile(r"^([ \t]*(?:[>*-] )?[ \t]*)>>> ")
_INPUT = re.compile(
    r"^[ \t>*_#-]*(?:sample |example )?input(?: \d+)?[*_]{0,2}\s*[:=][*_]{0,2}[ \t]*`?(.+?)`?[ \t]*$", re.I
)
_OUTPUT = re.compile(
    r"^[ \t>*_#-]*(?:sample |example |expected )?output(?: \d+)?[*_]{0,2}\s*[:=][*_]{0,2}[ \t]*`?(.+?)`?[ \t]*$", re.I
)
_INLINE_PAIR = re.compile(r"\binput\s*[:=]\s*(.{1,300}?)[,;.]?\s+(?:expected )?output\s*[:=]\s*(.{1,300})$", re.I)


class _Reader:
    """Goes over the text form by form; what one form took is blank for the next."""

    def __init__(self, prompt: str, name: str | None) -> None:
        self.lines = re.split(r"\r\n|\n|\r", prompt[:MAX_CHARS])
        self.name = name
        self.found: list[Found] = []
        self.unread: list[str] = []
        self._looks = 0
        self._effort = 0

    def _add(self, source: str, line: int) -> None:
        shown = " ".join(source.split())
        self.found.append(Found(source, shown[:MAX_SHOWN], line + 1))

    def _blank(self, first: int, last: int) -> None:
        self.lines[first:last] = [""] * (last - first)

    def _more(self, text: str) -> bool:
        """Whether another look is allowed."""
        if self._effort > MAX_EFFORT:
            self._looks = max(self._looks, MAX_LOOKS)
        self._looks += 1
        if self._looks == MAX_LOOKS + 1:
            self.unread.append(f"everything from {text[:60]!r} on: too many examples")
        return self._looks <= MAX_LOOKS

    # --------------------------------------------------------- fences

    def fences(self) -> None:
        """A fenced block that parses and asserts something: each of its asserts, or the whole where they need the rest."""
        start, mark = None, ""
        for number, line in enumerate(self.lines):
            match = _FENCE.match(line)
            if match is None:
                continue
            if start is None:
                start, mark = number, match[1]
            elif match[1][0] == mark[0] and len(match[1]) >= len(mark) and not match[2]:
                self._fenced(start, number)
                start = None

    def _fenced(self, first: int, last: int) -> None:
        body = textwrap.dedent("\n".join(self.lines[first + 1 : last]))
        if ">>> " in body or "assert" not in body:
            return
        tree = _parse(body)
        if tree is None:
            return
        nodes = [node for node in tree.body if not self._is_stub(node)]
        if not any(isinstance(part, ast.Assert) for node in nodes for part in ast.walk(node)):
            return
        if all(isinstance(node, ast.Assert) or _is_text(node) for node in nodes):
            for node in nodes:
                if isinstance(node, ast.Assert):
                    self._add(ast.unparse(node), first + node.lineno)
        else:
            self._add("\n".join(ast.unparse(node) for node in nodes), first + 1)
        self._blank(first, last + 1)

    def _is_stub(self, node: ast.stmt) -> bool:
        """Whether it is the program's place: what is asked for, or a definition without a body."""
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if node.name == self.name:
            return True
        return all(isinstance(part, ast.Pass | ast.Raise) or _is_text(part) for part in node.body)

    # --------------------------------------------------------- doctests

    def sessions(self) -> None:
        """Doctests that start their line. Where one needs names of another, all of them are one session."""
        examples: list[tuple[int, str, str]] = []
        number = 0
        while number < len(self.lines):
            match = _PROMPT.match(self.lines[number])
            if match is None:
                number += 1
                continue
            first, indent = number, len(match[1])
            source = [self.lines[number][match.end() :]]
            number += 1
            while number < len(self.lines) and re.match(r"^\s*\.\.\.(?: |$)", self.lines[number]):
                source.append(self.lines[number].lstrip()[4:])
                number += 1
            want: list[str] = []
            while number < len(self.lines) and _is_want(self.lines[number]):
                line = self.lines[number]
                cut = re.search(r"\"\"\"|'''", line)
                line = line[: cut.start()] if cut else line
                want.append(line[indent:] if not line[:indent].strip() else line.lstrip())
                number += 1
                if cut:
                    break
            text = "\n".join(source).rstrip()
            if _parse(text) is None or (not "".join(want).strip() and _says(text)):
                continue  # "gives" in it: read as words
            examples.append((first, text, "\n".join(line.rstrip() for line in want).rstrip()))
            self._blank(first, number)
        self._session(examples)

    def _session(self, examples: list[tuple[int, str, str]]) -> None:
        """Each of independent examples, or all as one."""
        if all(_alone(source) for _, source, _ in examples):
            for first, source, want in examples:
                if source.startswith("assert "):
                    self._add(source, first)
                elif not want:
                    if _is_comparison(source):
                        self._add(f"assert {source}", first)
                    elif source.strip():
                        self.unread.append(f">>> {source}"[:MAX_SHOWN])
                else:
                    self._add(_as_session(source, want), first)
        elif any(want or "assert " in source for _, source, want in examples):
            self._add("\n".join(_as_session(source, want) for _, source, want in examples), examples[0][0])

    # --------------------------------------------------------- asserts in the text

    def asserts(self) -> None:
        for number in range(len(self.lines)):
            at = 0
            while (place := self.lines[number].find("assert ", at)) >= 0:
                if place and (self.lines[number][place - 1].isalnum() or self.lines[number][place - 1] in "_."):
                    at = place + 7
                elif self._more(self.lines[number][place:]):
                    at = self._assert(number, place)
                else:
                    return

    def _assert(self, number: int, place: int) -> int:
        """Read the assert at `place`; returns where to go on in the line."""
        line = self.lines[number]
        rest = line[place : place + MAX_SPAN]
        for lines in range(2, 40):  # the brackets of a longer one close on a later line
            self._effort += 4 * len(rest)
            if _parse(rest) is not None or not is_open(rest) or number + lines - 1 >= len(self.lines):
                break
            rest += "\n" + self.lines[number + lines - 1][:MAX_SPAN]
            if len(rest) > MAX_SPAN:
                break
        for end in ends(rest):
            self._effort += end
            tree = _parse(rest[:end].strip())
            if tree is None or not tree.body or not all(isinstance(node, ast.Assert) for node in tree.body):
                continue
            if not any(isinstance(part, ast.Call) for part in ast.walk(tree)):
                break  # "assert that" and the like
            self._add(rest[:end].strip(), number)
            self._cover(number, place, end, rest)
            return place
        if re.match(r"assert (?:not )?\w+(?:\.\w+)*\(", rest):
            self.unread.append(rest.split("\n")[0].strip()[:MAX_SHOWN])
            self._cover(number, place, min(len(rest), len(line) - place), rest)
        return place + 7

    def _cover(self, number: int, place: int, length: int, text: str) -> None:
        """Blank `length` characters of `text`, which starts at `place` and may go over lines."""
        used = text[:length].split("\n")
        for offset, part in enumerate(used):
            line = self.lines[number + offset]
            start = place if offset == 0 else 0
            self.lines[number + offset] = line[:start] + " " * len(part) + line[start + len(part) :]

    # --------------------------------------------------------- calls and their answers

    def calls(self) -> None:
        for number in range(len(self.lines)):
            at = 0
            while match := _CALL.search(self.lines[number], at):
                if not self._more(self.lines[number][match.start() :]):
                    return
                at = self._call(number, match)

    def _call(self, number: int, match: re.Match[str]) -> int:
        line = self.lines[number]
        close = balanced(line, match.end() - 1, MAX_SPAN)
        if close is None:
            return match.end()
        end = close
        while (chained := re.match(r"\.\w+\(", line[end : end + 80])) is not None:  # Stack().pop()
            close = balanced(line, end + chained.end() - 1, MAX_SPAN)
            if close is None:
                break
            end = close
        call = line[match.start() : end]
        node = parse_expression(call)
        if node is None or not self._is_asked(node) or not concrete(node):
            return match.end()
        following = line[end : end + MAX_SPAN]
        wanted = match.start() >= 4 and line[: match.start()].rstrip("`* ").endswith(">>>")
        after = "\n".join(self.lines[number + 1 : number + 2])[:MAX_SPAN]
        answer = answers.after_call(call, following, after, is_prompt=wanted)
        if not answer.source and line.lstrip("> ").startswith("|"):
            answer = answers.in_table(call, following)
        if not answer.source:
            turned = answers.before_call(call, line[: match.start()])
            answer = turned if turned.source else answer
        if answer.source:
            self._add(answer.source, number)
            return end + answer.length
        if answer.looks_like_one and (_has_arguments(node) or wanted):
            self.unread.append(_clause(line, match.start()))
            return end + answer.length
        return end

    def _is_asked(self, node: ast.expr) -> bool:
        """Whether some name that is called is the program's, not one of Python's or of mathematics."""
        names = [part.func for part in ast.walk(node) if isinstance(part, ast.Call)]
        called = [part.id for part in names if isinstance(part, ast.Name)]
        return any(name == self.name or (not hasattr(builtins, name) and name not in ("O", "Theta")) for name in called)

    # --------------------------------------------------------- Input: and Output:

    def pairs(self) -> None:
        given: tuple[int, str] | None = None
        for number, line in enumerate(self.lines):
            if len(line) > MAX_SPAN:
                continue
            if inline := _INLINE_PAIR.search(line):
                self._pair(number, inline[1], inline[2])
                given = None
            elif match := _INPUT.match(line):
                given = (number, match[1])
            elif (match := _OUTPUT.match(line)) and given is not None and number - given[0] <= 3:
                self._pair(given[0], given[1], match[1])
                given = None

    def _pair(self, number: int, given: str, output: str) -> None:
        arguments = parse_expression(f"f({given.strip().strip('`')})")
        value = answers.value(output.strip())
        looks = arguments is not None and concrete(arguments)
        if looks and value is not None and self.name and isinstance(arguments, ast.Call) and self._more(given):
            words = [ast.unparse(part) for part in (*arguments.args, *(each.value for each in arguments.keywords))]
            self._add(f"assert {self.name}({', '.join(words)}) == {value}", number)
        elif looks or value is not None:
            self.unread.append(f"Input: {given.strip()} Output: {output.strip()}"[:MAX_SHOWN])


def _parse(source: str) -> ast.Module | None:
    try:
        return syntax.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_want(line: str) -> bool:
    """Whether a doctest's wanted output goes on here: a blank line, a fence, or closing quotes alone end it."""
    text = line.strip()
    return bool(text) and not _PROMPT.match(line) and not text.startswith(('"""', "'''", "```", "~~~"))


def _says(source: str) -> bool:
    """Whether a doctest says its answer itself: in a comment, or as a comparison that is no test of `is`."""
    return re.search(r"\)\s*(?:#|is )", source) is not None


def _alone(source: str) -> bool:
    """Whether a doctest is one expression or assert that uses nothing another example made."""
    tree = _parse(source)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr | ast.Assert):
        return False
    node = tree.body[0]
    value = node.value if isinstance(node, ast.Expr) else node.test
    return concrete(value)


def _is_comparison(source: str) -> bool:
    node = parse_expression(source)
    return isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _as_session(source: str, want: str) -> str:
    first, *more = source.split("\n")
    lines = [f">>> {first}", *(f"... {line}" for line in more)]
    return "\n".join([*lines, want] if want else lines)


def _has_arguments(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Call) and (part.args or part.keywords) for part in ast.walk(node))


def _clause(line: str, start: int) -> str:
    """The words from an example on to the end of its sentence."""
    end = re.search(r"[.;!?](?:\s|$)", line[start : start + MAX_SHOWN])
    return line[start : start + (end.start() if end else MAX_SHOWN)].strip()


def _called(found: list[Found]) -> str | None:
    """The name that examples call most and Python does not have itself."""
    counts: dict[str, int] = {}
    for each in found:
        source = each.source
        if source.startswith(">>> "):
            source = "\n".join(line[4:] for line in source.split("\n") if line.startswith((">>> ", "... ")))
        tree = _parse(source)
        for node in ast.walk(tree) if tree is not None else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not hasattr(builtins, node.func.id):
                counts[node.func.id] = counts.get(node.func.id, 0) + 1
    return max(counts, key=lambda name: counts[name], default=None)
