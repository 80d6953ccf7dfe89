"""Names that are not what they look like.

Homoglyphs by the rules of UTS 39 in small: scripts by Unicode's own character names, and a short table of the letters that
look like Latin ones in common fonts. Honest names in any one script, Greek symbols beside Latin, and Latin in Chinese,
Japanese or Korean names say nothing.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterator

from crucible.languages.python.checks.characters import MAX_SAID
from crucible.languages.python.checks.finding import finding
from crucible.languages.python.checks.source import TOKEN, place
from crucible.types import Feedback

_LOOKS_LIKE = str.maketrans(
    "аеорсухіјѕԁԛԝһӏѵАВЕЅІЈКМНОРСТУХԌԚԜοναιΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսհոցզՕՍᎪᎬᏚᎢᎥᏙᎠᏟᏢɑɡıɩʋ",
    "aeopcyxijsdqwhlvABESIJKMHOPCTYXGQWovaiABEZHIKMNOPTYXouhngqOUAESTIVDCPagiiv",
)
"""Cyrillic, Greek, Armenian, Cherokee and phonetic letters, over the Latin letter each is taken for."""

_EAST = frozenset(["CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"])


def deceptive_names(code: str) -> Iterator[Feedback]:
    """Findings about names, in the order in which they first stand in the program."""
    if code.isascii():
        return
    first: dict[str, int] = {}
    for match in TOKEN.finditer(code):
        if match.lastgroup == "unclosed":
            break
        if match.lastgroup == "word":
            first.setdefault(match[0], match.start())
    plain = {name for name in first if name.isascii()} | set(dir(builtins)) | set(keyword.kwlist)
    said = 0
    for name, at in first.items():
        problem = None if name.isascii() or name[0].isdigit() else _problem(name, plain)
        if problem is not None and said < MAX_SAID:
            said += 1
            yield finding(problem[0], problem[1], *place(code, at))


def _problem(name: str, plain: set[str]) -> tuple[str, str] | None:
    """(rule, message) where `name` deceives. `plain`: the ASCII names it could be taken for."""
    normal = unicodedata.normalize("NFKC", name)
    if normal.isascii():
        return "CR202", f"the name {name!a} is read by Python as {normal}; write it so"
    like = normal.translate(_LOOKS_LIKE)
    if like.isascii() and like in plain:
        return "CR201", f"the name {name!a} looks like {like} and is another"
    if like.isascii():
        return "CR203", f"the name {name!a} reads as {like} and is written with other letters"
    for part in re.split(r"[_0-9]+", normal):
        scripts = {_script(character) for character in part if character.isalpha()}
        disguised = part.translate(_LOOKS_LIKE) != part and "LATIN" in scripts and len(scripts) > 1
        if disguised or (len(scripts) > 1 and scripts - _EAST - {"LATIN", "GREEK"}):
            return "CR203", f"the name {name!a} mixes {', '.join(sorted(script.lower() for script in scripts))} letters"
    return None


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split()[0]
