"""The static checks: no text makes them fail or stall, and what they say can be shown and stored."""

from __future__ import annotations

import ast
import keyword
import zlib
from collections.abc import Iterator
from pathlib import Path

from crucible.config import default_policy
from crucible.languages.python.checks.finding import MAX_MESSAGE
from crucible.security.validator import own_findings, validate
from crucible.text import one_line
from tests.fuzz.target import Target, timed

POLICY = default_policy()
WITH_RUFF = 50
"""One input in so many goes to ruff's process, too, which takes longer than all the rest."""
REPOSITORY = Path(__file__).parents[2]


def check(data: bytes) -> None:
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    with timed():
        findings = tuple(own_findings(text, POLICY))
    if zlib.crc32(data) % WITH_RUFF == 0:
        with timed():
            findings = validate(text, POLICY)
    for found in findings:
        assert found.message == one_line(found.message) and 0 < len(found.message) <= MAX_MESSAGE
        assert found.line is None or 1 <= found.line <= text.count("\n") + text.count("\r") + text.count("\f") + 2
        assert found.column is None or 0 <= found.column <= len(text.encode("utf-8", "replace")) + 2
        found.model_dump_json()


MAX_LEN = 2048


def seeds() -> Iterator[bytes]:
    """Real statements: functions, classes and imports of the attacks of the corpus, and of the checks themselves."""
    for folder in ("tests/security/corpus", "crucible/security/validation"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            text = path.read_text()
            for node in ast.parse(text).body:
                part = (ast.get_source_segment(text, node) or "").encode()
                if 80 < len(part) <= MAX_LEN // 2:
                    yield part


SNIPPETS = (
    "x = ('a' * 10**9)[::-1]\ny = 2 ** 10**8 << 3\nz = 'x'.ljust(99999999999)\nf'{x:>999999999}'",
    "import os as o, sys\nfrom os import *\nr = getattr(o, 'sys' + 'tem')('ls')\nsys.modules['os'].popen('x')",
    "def f(c):\n    exec(c)\nimport base64 as b\nf(b.b64decode('eA=='))\n(lambda q: eval(q))(chr(97) + 'b'[::-1])",
    "().__class__.__bases__[0].__subclasses__()\n[a for b in c if (d := b.f_back)]\n__builtins__.x = 1",
    "# -*- coding: utf-7 -*-\n\u0440aypal = 1\n\uff45val('1')\nx\u200d = '\u05d0\u202e'  # \u2066\n",
    "async def f():\n    async with a as b: await c\n    match d:\n        case {'k': [*_, g]}: yield g\n",
    "try:\n    raise A from B\nexcept* E as e:\n    del e.f, g[0]\nfinally:\n    global h; nonlocal i\n",
)
SPECIAL = (
    *("\u202e", "\u2066", "\u200d", "\u200b", "\ufe0f", "\u0301", "\U000e0041", "\ud800", "\x0c", "\r", "\0", "\ufeff"),
    *("\u2028", "\u0430", "\u03bf", "\u00e9", "\uff45", "\ufb01", "\u4e2d", "\U0001f469", "\u00aa", "\u02b0"),
)
WORDS = (
    *("eval", "exec", "compile", "getattr", "__import__", "importlib.import_module", "os.system", "base64.b64decode"),
    *("bytes.fromhex", "marshal.loads", "chr", "types.FunctionType", "__globals__", "__subclasses__", "f_back"),
    *(
        "sys._getframe",
        "sys.modules",
        "gc.get_objects",
        "builtins",
        "sys.meta_path",
        "ctypes",
        "socket",
        "coding=utf-7",
    ),
    *("**", "<<", "10**9", "999999999999", "1e999", "1_0", "[::-1]", ".join(", ".replace(", ".decode(", ".ljust("),
    *(
        "f'{",
        "}'",
        "{{",
        "'''",
        '"""',
        "\\\n",
        ":=",
        "->",
        "...",
        "@",
        "~",
        ":",
        ",",
        ";",
        "#",
        "(",
        ")",
        "[",
        "]",
        "\n",
        "\n    ",
    ),
)
TARGET = Target(
    check,
    seeds=[*seeds(), *(snippet.encode() for snippet in SNIPPETS)],
    words=[word.encode("utf-8", "surrogatepass") for word in (*keyword.kwlist, *WORDS, *SPECIAL)],
    max_len=MAX_LEN,
)
