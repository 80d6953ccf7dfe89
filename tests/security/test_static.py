"""Static findings, fingerprints, safe text and approval."""

from __future__ import annotations

import ast
import gc
import keyword
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucible.config import default_policy, load_settings
from crucible.config.policy import Policy, action_of
from crucible.errors import InputError
from crucible.languages.python.checks.bombs import huge
from crucible.languages.python.checks.finding import MAX_MESSAGE, RULES
from crucible.languages.python.checks.source import MAX_BRACKETS, MAX_CHAIN, MAX_CHARS, MAX_NAME, parse
from crucible.languages.python.fingerprint import fingerprint
from crucible.security.trust.approval import approver_for, barred, extent, refusal
from crucible.security.validator import MAX_PER_RULE, load_validator, own_findings, validate
from crucible.text import one_line, printable
from crucible.types import Feedback, FindingKind

POLICY = default_policy()
REPOSITORY = Path(__file__).parents[2]
STALLED_S = 10.0
"""What is checked so takes milliseconds, and without end where a rule computes what it should only measure."""


@pytest.mark.parametrize(
    ("code", "kind", "line", "said"),
    [
        ("x = (", "syntax", 1, "never closed"),
        ("def f():\n  return nowhere\n", "lint", 2, "nowhere"),
        ("x = eval('1')\n", "security", 1, "eval"),
        ("import os\nos.system('ls')\n", "security", 2, "shell"),
        ("().__class__.__subclasses__()\n", "security", 1, "reaches into the interpreter"),
        ("import ctypes\nctypes.CDLL(None)\n", "security", 1, "imports ctypes"),
        ("m = __import__('o' + 's')\n", "security", 1, "__import__"),
        ("x = '\0'", "syntax", 1, "null byte"),
        ("(" * 500, "syntax", None, "nested 500 deep"),
        ("x = 1\n" * MAX_CHARS, "syntax", None, "are allowed"),
    ],
)
def test_findings_name_kind_place_and_problem(code: str, kind: str, line: int | None, said: str) -> None:
    found = [finding for finding in validate(code) if finding.kind == kind]
    assert found and any(finding.line == line and said in finding.message for finding in found), found


def test_clean_code_has_no_findings() -> None:
    assert validate("def double(n: int) -> int:\n    return n + n\n") == ()


def test_errors_come_first() -> None:
    severities = [finding.severity for finding in validate("import ctypes\nx = eval('1')\nprint(nowhere, ctypes)\n")]
    assert severities == sorted(severities, key=lambda severity: severity != "error") and severities[0] == "error"


# ------------------------------------------------------------- rules

FLAGGED = [
    # source
    ("CR101", "x=1\n" * (MAX_CHARS // 4 + 1)),
    ("CR102", "x = '\0'"),
    ("CR103", "(" * (MAX_BRACKETS + 1) + ")" * (MAX_BRACKETS + 1)),
    ("CR103", "not " * (MAX_CHAIN + 1) + "x"),
    ("CR103", "-" * (MAX_CHAIN + 1) + "1"),
    ("CR103", "a" + ".b" * (MAX_CHAIN + 1)),
    ("CR103", "f'{" + "(" * (MAX_BRACKETS + 1) + "'"),
    ("CR103", "\u00e9" * (MAX_NAME + 1) + " = 1"),
    ("CR104", "x = '\ud800'"),
    # encodings and characters
    ("CR105", "# coding: utf-7\nx = 1"),
    ("CR105", "#!/usr/bin/python\n# -*- coding: latin-1 -*-\nx = 1"),
    ("CR105", "\n# vim: set fileencoding=rot13 :\nx = 1"),
    ("CR105", "\ufeff# coding: utf_16\nx = 1"),
    ("CR105", "# coding: ascii\nx = '\u00e9'"),
    ("CR106", "x = 'a'  # \u202e"),
    ("CR106", "x = '\u2066'"),
    ("CR106", "x = '\U000e0041'"),
    ("CR107", "x = 'a\u200bb'"),
    ("CR107", "x = '\u200f'"),
    ("CR107", "x = '\x07'"),
    ("CR107", "x = '\u3164'"),
    ("CR107", "x = 1\ry = 2"),
    ("CR107", "x = 1;" + " " * 130 + "y = 2"),
    # names
    ("CR201", "pr\u0456nt = 1"),
    ("CR201", "n\u0430me = 1\nname = 2"),
    ("CR202", "\uff45val('1')"),
    ("CR202", "x\u00aa = 1"),
    ("CR203", "p\u0430y = 1"),
    ("CR203", "\u0441\u043e\u0440\u0435 = 1"),
    ("CR203", "\u0434a = 1"),
    # modules and processes
    ("CR301", "import socket"),
    ("CR301", "from socket import socket"),
    ("CR301", "import http.client as c"),
    ("CR301", "from urllib import request"),
    ("CR301", "m = __import__('soc' + 'ket')"),
    ("CR301", "import importlib\nm = importlib.import_module('ctypes')"),
    ("CR302", "m = __import__('os')"),
    ("CR302", "import importlib\nm = importlib.import_module(input())"),
    ("CR302", "import runpy\nrunpy.run_path('x')"),
    ("CR303", "import os\nos.system('ls')"),
    ("CR303", "from os import *\nsystem('ls')"),
    ("CR303", "import os as o\ng = getattr(o, 'sys' + 'tem')"),
    ("CR303", "import sys\nsys.modules['os'].popen('ls')"),
    ("CR303", "import os\nos.fork()"),
    # text that runs
    ("CR401", "import base64\nexec(base64.b64decode('eA=='))"),
    ("CR401", "exec(bytes.fromhex('78'))"),
    ("CR401", "import marshal\nexec(marshal.loads(b''))"),
    ("CR401", "exec(chr(120))"),
    ("CR401", "exec('x'[::-1])"),
    ("CR401", "def run(t):\n    exec(t)\nimport zlib\nrun(zlib.decompress(b''))"),
    ("CR402", "x = eval('1')"),
    ("CR402", "f = exec"),
    ("CR402", "x = list(map(eval, ['1']))"),
    ("CR402", "import types\nf = types.FunctionType(None, {})"),
    ("CR402", "__builtins__['ev' + 'al']('1')"),
    ("CR403", "x = getattr([], 'app' + 'end')"),
    ("CR403", "import os\nx = getattr(os, input())"),
    ("CR403", "x = getattr(1, ''.join(input()))"),
    ("CR403", "import operator\nf = operator.attrgetter('a' + 'b')"),
    # the interpreter
    ("CR501", "x = ().__class__.__bases__"),
    ("CR501", "f = (lambda: 0).__globals__"),
    ("CR501", "x = '__subclasses__'"),
    ("CR502", "import sys\nf = sys._getframe()"),
    ("CR502", "def f(e):\n    return e.tb_frame.f_back"),
    ("CR502", "import inspect\ns = inspect.stack()"),
    ("CR503", "import gc\nx = gc.get_objects()"),
    ("CR504", "import builtins\nbuiltins.len = None"),
    ("CR504", "import builtins\nsetattr(builtins, 'len', None)"),
    ("CR504", "import sys\nsys.modules['os'] = None"),
    ("CR504", "import sys\nsys.meta_path.append(None)"),
    # sizes
    ("CR601", "x = 'a' * 10**10"),
    ("CR601", "x = 2 ** 10**9"),
    ("CR601", "x = 9 ** 9 ** 9 ** 9"),
    ("CR601", "x = [0] * (1 << 40)"),
    ("CR601", "x = 1 << 10**8"),
    ("CR601", "x = 'a'.ljust(10**10)"),
    ("CR601", "x = bytes(10**10)"),
    ("CR601", "x = pow(7, 10**9)"),
    ("CR601", "x = '%999999999d' % 1"),
    ("CR601", "x = f'{1:>999999999}'"),
    # ruff's: what fails, what is unsafe, what is wrong whatever was meant
    ("F821", "x = nowhere"),
    ("F706", "return 2"),
    ("F524", "x = '{} {}'.format(1)"),
    ("PLE0101", "class A:\n    def __init__(self):\n        return 1"),
    ("PLE0118", "x = 1\ndef f():\n    print(x)\n    global x"),
    ("E999", "def f():\n    x: int = 1\n    global x\n    return x"),  # parses, and does not compile
    ("S108", "x = open('/tmp/x', 'w')"),
    ("S301", "import pickle\nx = pickle.loads(b'')"),
    ("S302", "import marshal\nx = marshal.loads(b'')"),
    ("S306", "import tempfile\nx = tempfile.mktemp()"),
    ("S314", "import xml.etree.ElementTree as e\nx = e.fromstring('')"),
    ("RUF001", "x = 'p\u0430y'"),
    ("RUF006", "import asyncio\nasync def f():\n    asyncio.create_task(f())"),
    ("RUF008", "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: list = []"),
    ("RUF016", "x = [1, 2]['a']"),
    ("RUF034", "x = 1 if True else 1"),
]


def rules(code: str) -> set[str | None]:
    return {found.rule for found in validate(code)}


@pytest.mark.parametrize(("rule", "code"), FLAGGED, ids=[f"{rule}-{at}" for at, (rule, _) in enumerate(FLAGGED)])
def test_each_rule_is_named_as_the_policy_means_it(rule: str, code: str) -> None:
    found = next((one for one in validate(code) if one.rule == rule), None)
    assert found is not None, validate(code)
    assert found.action == ("ask" if rule == "CR301" else action_of(POLICY, rule))
    assert rule not in RULES or found.severity == RULES[rule].severity
    assert found.message == one_line(found.message) and len(found.message) <= MAX_MESSAGE
    assert found.line is None or 1 <= found.line <= code.count("\n") + code.count("\r") + 1


def test_every_rule_of_ours_is_tried_and_documented() -> None:
    assert {rule for rule, _ in FLAGGED} >= set(RULES)
    page = (REPOSITORY / "docs" / "validator.md").read_text()
    for rule, (severity, meaning) in RULES.items():
        action = "by module" if rule == "CR301" else action_of(POLICY, rule)
        assert f"| {rule} | {severity} | {meaning} | {action} |" in page


@pytest.mark.parametrize(
    "code",
    [
        "def double(n: int) -> int:\n    return n + n",
        "# coding: utf-8\nx = '\u00e9\u4e2d'",
        "# coding: ascii\nx = 1",
        "x = 1\ny = 2\n# coding: utf-7",
        "x = '\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f'  # emoji that are joined",
        "x = '\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645'  # a joiner that Persian needs",
        "\u03b8 = 1\n\u0394x = \u03b8\n\u5909\u6570a = \u0394x",
        "\u0434\u0435\u043d\u044c = 1\nstra\u00dfe = \u0434\u0435\u043d\u044c",
        "import os.path\nx = os.path.join('a', 'b')\ny = os.getcwd()",
        "import urllib.parse\nx = urllib.parse.quote('a b')",
        "import sys\nsys.setrecursionlimit(10**6)\nx = sys.stdin.read()",
        "class V:\n    def visit(self, kind):\n        return getattr(self, f'visit_{kind}')()",
        "import base64\nx = base64.b64decode('eA==').decode()",
        "import re\nx = re.compile('a' * 10)",
        "class A:\n    def __repr__(self):\n        return type(self).__name__ + str(self.__dict__)",
        "def compile(x):\n    return x\ny = compile(1)",
        "x = [[0] * 1000 for _ in range(1000)]\ny = 2 ** 1000 % (10**9 + 7)\nz = 1 << 64",
        "x = '-' * 80\ny = 'a'.rjust(20)\nz = f'{1:>10}'\nw = '%5d' % 1",
        "import random\nimport hashlib\nx = random.random()\ny = hashlib.md5(b'').hexdigest()\nassert y",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None",
        "x = " + "[" * 50 + "]" * 50,
        "x = [" + "1, " * 5000 + "]",
    ],
)
def test_honest_programs_hear_nothing(code: str) -> None:
    assert validate(code + "\n") == ()


def test_a_programs_own_comments_silence_nothing() -> None:
    assert rules("x = nowhere  # noqa\n# ruff: noqa\nimport pickle\ny = pickle.loads(b'')  # nosec\n") >= {
        "F821",
        "S301",
    }


def test_what_no_parser_should_see_is_refused_before_any() -> None:
    [found] = validate("(" * 10_000 + "\u202e" + "import socket\n")
    assert found.rule == "CR103" and found.kind is FindingKind.SYNTAX and barred((found,))
    with pytest.raises(SyntaxError, match="nested"):
        parse("[" * 10_000)


@pytest.mark.parametrize(
    "code",
    ["9**9**9**9**9", "'a'*9**9**9", "1<<(1<<(1<<62))", "[[0]*10**9]*10**9", "-(10**10**10)//7%3", "'x'.ljust(9**999)"],
)
def test_sizes_are_measured_and_never_made(code: str) -> None:
    began = time.process_time()
    assert list(huge(list(ast.walk(parse(code)))))
    assert "CR601" in {found.rule for found in validate(f"x = {code}")}
    assert time.process_time() - began < STALLED_S


def test_of_many_findings_of_a_rule_a_few_are_said() -> None:
    found = validate("import socket\n" * 100 + "x = eval('1')\n" * 100)
    assert [sum(one.rule == rule for one in found) for rule in ("CR301", "CR402")] == [MAX_PER_RULE, MAX_PER_RULE]


def test_messages_quote_nothing_that_drives_a_terminal() -> None:
    for found in validate("x = getattr(1, '\x1b[31m' + '\\x1b]0;owned\\x07' + '\u202e')\nimport \u0430\n"):
        assert found.message.isprintable()


# ------------------------------------------------------------- policy


@pytest.mark.parametrize(
    ("policy", "code", "action", "severity"),
    [
        ({}, "x = eval('1')", "allow", "warning"),
        ({"CR4": "ask"}, "x = eval('1')", "ask", "warning"),
        ({"CR4": "ask", "CR402": "deny"}, "x = eval('1')", "deny", "error"),
        ({"CR4": "deny", "CR402": "allow"}, "x = eval('1')", "allow", "warning"),
        ({"S": "deny"}, "import pickle\nx = pickle.loads(b'')", "deny", "error"),
        ({"F": "ask"}, "x = nowhere", "ask", "error"),
        ({"os": "deny"}, "import os.path", "deny", "error"),
        ({"os": "deny", "os.path": "allow"}, "import os\nfrom os import path", "deny", "error"),
        ({"urllib.request": "ask"}, "from urllib import request", "ask", "warning"),
        ({"socket": "ask", "CR301": "deny"}, "import socket", "deny", "error"),
    ],
)
def test_the_policy_decides_and_what_it_denies_is_an_error(
    policy: Policy, code: str, action: str, severity: str
) -> None:
    first = validate(code, policy)[0]
    assert (first.action, first.severity, barred((first,))) == (action, severity, action == "deny")


@pytest.mark.parametrize("code", ["import os.path\n", "import socket\n", "from a import b\n"])
def test_what_the_policy_allows_is_not_said(code: str) -> None:
    assert not [one for one in validate(code, {"os": "deny", "os.path": "allow"}) if one.rule == "CR301"]


@pytest.mark.parametrize(
    ("approve", "approve_findings", "needs", "refused"),
    [
        ("auto", {}, "none", False),
        ("ask", {}, "warning", False),
        ("auto", {"warning": "ask"}, "warning", False),
        ("auto", {"warning": "never"}, "none", True),
        ("auto", {"error": "ask"}, "none", False),
    ],
)
def test_what_asks_needs_a_yes_that_covers_it(
    approve: str, approve_findings: dict[str, str], needs: str, refused: bool
) -> None:
    cycles = load_settings(overrides={"cycles": {"approve": approve, "approve_findings": approve_findings}}).cycles
    found = validate("x = eval('1')\n")
    assert (extent(found, cycles), refusal(found, cycles) is not None, barred(found)) == (needs, refused, False)


# ------------------------------------------------------------- languages


def test_python_is_found_as_any_other_language_is() -> None:
    code = "import socket\nx = eval('1')\n"
    assert load_validator("python", POLICY)(code) == validate(code, POLICY)


def test_a_language_without_checks_is_refused() -> None:
    with pytest.raises(InputError, match=r"nothing checks programs in 'cobol'.*python"):
        load_validator("cobol", POLICY)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Installs a package that brings a validator of a language."""

    def package(language: str, source: str) -> None:
        (tmp_path / f"checks_{language}.py").write_text(source)
        info = tmp_path / f"checks_{language}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: checks-{language}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[crucible.validators]\n{language} = checks_{language}:Checks\n")
        monkeypatch.syspath_prepend(tmp_path)

    return package


def test_another_language_brings_its_own_and_the_policy_holds_for_it(install: Callable[[str, str], None]) -> None:
    install(
        "lua",
        "from crucible.types import Feedback, FindingKind\n"
        "class Checks:\n"
        "    language = 'lua'\n"
        "    def __init__(self, policy):\n"
        "        self.policy = policy\n"
        "    def validate(self, source):\n"
        "        said = [('LUA2', 'warning'), ('LUA1', 'warning'), (None, 'error')]\n"
        "        return tuple(Feedback(kind=FindingKind.SECURITY, severity=how, message=source, rule=rule)\n"
        "                     for rule, how in said)\n",
    )
    found = load_validator("lua", {"LUA1": "deny", "LUA": "ask"})("os.execute()")
    assert [(one.rule, one.action, one.severity) for one in found] == [
        ("LUA1", "deny", "error"),
        (None, "allow", "error"),
        ("LUA2", "ask", "warning"),
    ]


def test_a_language_whose_checks_cannot_be_loaded_runs_nothing(install: Callable[[str, str], None]) -> None:
    install("perl", "raise OSError('no perl here')\n")
    with pytest.raises(InputError, match=r"'perl' of checks-perl cannot be loaded \(OSError: no perl here\)"):
        load_validator("perl", POLICY)


# ------------------------------------------------------------- any text

TOKENS = st.sampled_from(
    [
        *keyword.kwlist,
        *(
            "eval",
            "getattr",
            "os",
            "x",
            "0",
            "9",
            "**",
            "<<",
            "*",
            "'",
            '"',
            '"' * 3,
            "f'{",
            "}",
            "(",
            ")",
            "[",
            "]",
            "{",
        ),
        *(":", ",", ".", "=", ";", "\n", "\n    ", "\\", "#", " ", "coding: utf-7", "\0", "\r", "\x0c", "\ud800"),
        *("\u202e", "\u200d", "\u0430", "\u00aa", "\u0301", "@", "->", ":=", "import ", "b64decode", "__globals__"),
    ]
)
PROGRAMS = st.text(st.characters(), max_size=200) | st.lists(TOKENS, max_size=80).map("".join)


def held(code: str, check: Callable[[str], tuple[Feedback, ...]]) -> None:
    began = time.process_time()
    found = check(code)
    assert time.process_time() - began < STALLED_S
    assert all(one.message and one.model_dump_json() for one in found)


@settings(deadline=None, max_examples=200)
@given(PROGRAMS)
def test_no_text_breaks_or_stalls_our_rules(code: str) -> None:
    held(code, lambda text: tuple(own_findings(text, POLICY)))


@settings(deadline=None, max_examples=40)
@given(PROGRAMS)
def test_no_text_breaks_or_stalls_the_whole(code: str) -> None:
    held(code, validate)


@pytest.mark.parametrize(
    "part", ["eval;", "a,", "f'{x}';", "x=x;", "\u00e9=1;", "#\u202e\n", "()()", "[a for a in b];"]
)
def test_time_grows_no_faster_than_the_program(part: str) -> None:
    """Eight times the program takes about eight times as long, and would take 64 times as long with its square."""
    small = (part * MAX_CHARS)[: MAX_CHARS // 80]
    large = (part * MAX_CHARS)[: MAX_CHARS // 10]
    assert any(seconds(large) < 24 * seconds(small) + 0.1 for _ in range(3))


def seconds(code: str) -> float:
    """Processor time of our rules. The collector is held: it walks all that earlier tests have left."""
    gc.collect()
    gc.disable()
    try:
        began = time.process_time()
        assert all(one.message for one in own_findings(code, POLICY))
        return time.process_time() - began
    finally:
        gc.enable()


# ------------------------------------------------------------- fingerprints, texts, approval


@given(st.text(max_size=200))
def test_no_text_breaks_fingerprints(code: str) -> None:
    assert len(fingerprint(code)) == 64


def test_equal_programs_have_equal_fingerprints() -> None:
    one = fingerprint("def f( x ):\n  # comment\n  return x+1")
    assert one == fingerprint('def f(x):\n    """Doc."""\n    return (x + 1)\n')
    assert one != fingerprint("def f(y):\n    return y + 1\n")
    assert fingerprint("def f(:") == fingerprint("def   f(:")


@given(st.text())
def test_printable_text_cannot_drive_a_terminal(text: str) -> None:
    shown = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for c in shown)
    assert "\n" not in one_line(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_limits_cut() -> None:
    assert printable("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("mode", "answer", "granted"), [("auto", None, True), ("never", True, False), ("ask", None, False)]
)
def test_policies_that_need_nobody(mode: str, answer: bool | None, granted: bool) -> None:
    ask = None if answer is None else (lambda *_: answer)
    approval = approver_for(mode, ask).approve("x = 1", ())  # type: ignore[arg-type]
    assert approval.granted == granted and approval.mode == mode and approval.reason


@pytest.mark.parametrize("answer", [True, False])
def test_ask_passes_the_answer_on(answer: bool) -> None:
    seen: list[str] = []
    approval = approver_for("ask", lambda code, _: (seen.append(code), answer)[1]).approve("x = 1", ())
    assert approval.granted == answer and seen == ["x = 1"]
