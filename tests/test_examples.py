"""Every example of the README, the documentation and the help is run here, or stands in NOT_RUN with the reason.

Examples are the lines of `console` and `sh` blocks, indented command lines in docs/, and what `--help` shows as commands. A
new one that no test names fails `test_every_example_is_run_or_says_why_not`. Those not run are parsed: their commands and
options exist. A model that answers by a script stands in for a real one.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from crucible import main
from crucible.config import validate_file
from tests.cli.test_commands import FORGETFUL, REMEMBERS

REPOSITORY = Path(__file__).parents[1]
PAGES = [page for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")) if page.name != "cli.md"]
"""docs/cli.md is the help, which is read from the commands."""
OURS = ("crucible ", "python ", "pip ", "make ")


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


CLI: Any = typer.main.get_command(main.app)
COMMANDS = dict(walk(CLI))


def of_page(text: str) -> Iterator[str]:
    for block in re.findall(r"^```(?:console|sh)\n(.*?)^```", text, re.M | re.S):
        lines = block.splitlines()
        prompted = any(line.startswith("$ ") for line in lines)
        yield from (line for line in lines if line.startswith("$ ") or not prompted)
    unfenced = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    yield from (line[4:] for line in re.findall(r"^    \S.*$", unfenced, re.M))


def of_help(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield from re.split(r" · ", line.removeprefix("Start with: "))


def cleaned(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        text = re.sub(r"\s+#.*$", "", line.strip().removeprefix("$ ").removeprefix(".venv/bin/"))
        if text.startswith(OURS) or text == "crucible":
            yield text


EXAMPLES: dict[str, str] = {}
"""Command line to where it stands."""
for page in PAGES:
    EXAMPLES.update((text, page.name) for text in cleaned(of_page(page.read_text())))
for path, command in COMMANDS.items():
    shown = of_help(f"{command.help or ''}\n{command.epilog or ''}")
    EXAMPLES.update(
        (text, " ".join(("crucible", *path, "--help"))) for text in cleaned(shown) if text.startswith("crucible ")
    )

NETWORK = "needs a network and gigabytes; scripts/demo.py and tests/models/test_pull.py"
HOURS = "hours with a model; tests/problems and tests/finetune run the same commands on small sets"
TERMINAL = "asks at a terminal; tests/cli/test_terminal.py and tests/finetune/test_gate.py"
MADE_BEFORE = "needs the folder of a benchmark or a training; tests/cli/test_bench.py"
NOT_RUN = {
    "make demo": NETWORK,
    "make test": "runs this test",
    "crucible": TERMINAL,
    "crucible models pull qwen2.5-coder-1.5b": NETWORK,
    "crucible models pull qwen2.5-coder-0.5b": NETWORK,
    "crucible models build": "ten minutes of compiling; tests/models/test_native.py",
    "crucible models build --remove": "deletes the shared engine; tests/models/test_native.py",
    "crucible models serve --engine sglang --model qwen2.5-coder-0.5b": "serves until Ctrl-C; tests/models/test_sglang.py",
    'crucible solve "…" --engine sglang --model qwen2.5-coder-0.5b': "needs that server; tests/models/test_sglang.py",
    "crucible models adapters add ./my-peft-adapter mine --model qwen2.5-coder-0.5b": "tests/models/test_adapters.py",
    'crucible solve "…" --adapter mine': "needs an adapter; tests/models/test_adapters.py",
    "crucible bench starter --adapter mine --out with-mine": HOURS,
    "crucible bench starter --arm single --arm best-of-n --arm loop --out results --approve auto": HOURS,
    "crucible bench starter --arm single --arm best-of-n --arm loop --seeds 2 --out results/starter --approve auto": HOURS,
    "crucible bench report results/starter": MADE_BEFORE,
    "crucible bench compare results/starter results/other": MADE_BEFORE,
    "crucible bench rewards training-home --a rewards-a.yaml --b rewards-b.yaml": MADE_BEFORE,
    "crucible train starter --episodes 200 --out training --approve auto": HOURS,
    "crucible train starter --out training --eval-set my-problems.yaml --eval-every 50 --approve auto": HOURS,
    "crucible train starter --out training --approve auto --eval-set my-problems.yaml --eval-every 50": HOURS,
    "crucible train SET --approve auto --out gathered": HOURS,
    "crucible train open.jsonl.gz --episodes 200 --parallel 16 --no-memory --approve auto --out gathered": HOURS,
    "crucible train leetcode.jsonl.gz --difficulty Easy --episodes 48 --parallel 16 --no-memory --approve auto"
    " --out gathered-leetcode": HOURS,
    "crucible finetune propose --eval-set DEV": HOURS,
    "crucible finetune propose --eval-set dev.yaml --name several --per-task 4 --epochs 1 --learning-rate 5e-5"
    " --dtype bfloat16": HOURS,
    "crucible finetune propose --method grpo --eval-set DEV --hidden-set SET": HOURS,
    "crucible finetune review sft-0001": HOURS,
    "crucible finetune approve sft-0001": TERMINAL,
    "crucible finetune train sft-0001": HOURS,
    "crucible finetune train grpo-0001 --approve auto": HOURS,
    "crucible finetune evaluate sft-0001 --approve auto": HOURS,
    "crucible finetune evaluate sft-0001 --sampled 30 --approve auto": HOURS,
    "crucible finetune promote sft-0001": TERMINAL,
    "crucible finetune rollback": "needs a promoted adapter; tests/finetune/test_circle.py",
    "crucible finetune report sft-0001": HOURS,
    "pip install -e .[fuzz]": NETWORK,
    "pip install 'crucible-codegen[finetune]'": NETWORK,
    "python -m tests.fuzz validator --seconds 600": "ten minutes; tests/fuzz/test_fuzz.py",
    "python -m tests.fuzz wire --seconds 600": "ten minutes; tests/fuzz/test_fuzz.py",
}

PROGRAMS = {
    "is_even": "def is_even(n):\n    return n % 2 == 0\n",
    "add": "def add(a, b):\n    return a + b\n",
    "slugify": "import re\n\n\ndef slugify(text):\n    return '-'.join(re.findall('[a-z]+', text.lower()))\n",
    "roman_to_int": "def roman_to_int(s):\n    v = dict(I=1, V=5, X=10, L=50, C=100, D=500, M=1000)\n"
    "    return sum(-v[a] if v[a] < v.get(b, 0) else v[a] for a, b in zip(s, s[1:] + ' '))\n",
}
TASK = "Write add(a, b), the sum of two numbers."
TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\n"
OWN_SET = "- id: sum\n  prompt: Write add(a, b).\n  entry_point: add\n  tests: assert add(1, 2) == 3\n  reference: |\n"
OWN_SET += "    def add(a, b):\n        return a + b\n"


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Runner:
    """Runs one command line of Crucible in this process, in a folder that holds the files the examples name."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._patch, self._capsys = folder, monkeypatch, capsys
        rules = [{"match": rf"\b{name}\b", "replies": [f"```python\n{code}```"]} for name, code in PROGRAMS.items()]
        (folder / "script.json").write_text(json.dumps(rules))
        (folder / "task.yaml").write_text(f"prompt: {TASK}\nentry_point: add\n")
        (folder / "task.md").write_text(f"---\ntests: assert add(1, 2) == 3\n---\n{TASK}\n")
        (folder / "test_task.py").write_text(TESTS)
        for name in ("my-problems.yaml", "my_problems.yaml"):
            (folder / name).write_text(OWN_SET)
        (folder / "examples").symlink_to(REPOSITORY / "examples")
        self._patch.chdir(folder)
        settings = {"CRUCIBLE_MODEL__ENGINE": "scripted", "CRUCIBLE_MODEL__SCRIPT": str(folder / "script.json")}
        for name, value in {**FORGETFUL, **settings}.items():
            self._patch.setenv(name, value)

    def __call__(self, example: str) -> Done:
        arguments, redirected = shlex.split(example), b""
        if "<" in arguments:
            arguments, (_, name) = arguments[:-2], arguments[-2:]
            redirected = (self.folder / name).read_bytes()
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(redirected)))
        self._patch.setattr(sys, "argv", arguments)
        self._capsys.readouterr()
        code = main._run()
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(tmp_path, monkeypatch, capsys)


def solves(name: str) -> Callable[[Runner, str], None]:
    def check(run: Runner, example: str) -> None:
        done = run(example)
        assert (done.code, done.out, done.err) == (0, PROGRAMS[name], "")

    return check


def solution_file(run: Runner, example: str) -> None:
    done = run(example)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (run.folder / "solution.py").read_text() == PROGRAMS["add"]


def asks_first(run: Runner, example: str) -> None:
    """Nobody is there to answer."""
    done = run(example)
    assert done.code == 3 and "not run: " in done.err


def json_from_stdin(run: Runner, example: str) -> None:
    done = run(example)
    told = json.loads(done.out)
    assert (done.code, told["status"], told["code"]) == (0, "solved", PROGRAMS["add"])


def roman(run: Runner, example: str) -> None:
    assert run(example).code == 0
    assert (run.folder / "solution.py").read_text() == PROGRAMS["roman_to_int"]


def remembered(run: Runner, example: str) -> None:
    for name, value in REMEMBERS.items():
        run._patch.setenv(name, value)
    assert run("crucible solve examples/tasks/roman-numerals.yaml --approve auto --out solution.py").code == 0
    done = run(example)
    assert done.code == 0
    first, program = done.out.splitlines()[:2]
    assert re.fullmatch(r"0\.\d\d  [0-9a-f]{8}  solved  \d{4}-\d\d-\d\d \d\d:\d\d  Read Roman numerals", first)
    assert program.strip().startswith("def roman_to_int(")


def starter_of_86(run: Runner, example: str) -> None:
    done = run(example)
    assert done.code == 0 and "86" in done.out.splitlines()[-1]


def only_level_1(run: Runner, example: str) -> None:
    listed = json.loads(run(f"{example} --json").out)
    problems = listed["problems"] if isinstance(listed, dict) else listed
    assert problems and {str(problem["difficulty"]) for problem in problems} == {"1"}
    assert run(example).code == 0


def says(*texts: str) -> Callable[[Runner, str], None]:
    def check(run: Runner, example: str) -> None:
        done = run(example)
        assert done.code == 0 and all(text in done.out for text in texts)

    return check


def diagnoses(run: Runner, example: str) -> None:
    """A machine without a model or SGLang is told so; nothing is a crash."""
    done = run(example)
    assert done.code in (0, 1, 3) and "sandbox" in done.out


RUN: dict[str, Callable[[Runner, str], None]] = {
    'crucible solve "Write a function is_even(n). >>> is_even(4) gives True" --approve auto': solves("is_even"),
    'crucible solve "Write a function add(a, b). >>> add(1, 2) gives 3" --approve auto': solves("add"),
    "crucible solve \"Write slugify(text). assert slugify('A b!') == 'a-b'\" --approve auto": solves("slugify"),
    "crucible solve task.yaml --tests test_task.py --approve auto --out solution.py": solution_file,
    "crucible solve task.yaml --tests test_task.py --out solution.py": asks_first,
    "crucible solve - --json --approve auto < task.md": json_from_stdin,
    "crucible solve examples/tasks/roman-numerals.yaml --approve auto --out solution.py": roman,
    'crucible memory search "turn ancient numerals into numbers" -k 1': remembered,
    'crucible memory search "error handling patterns" -k 3': says(""),
    "crucible doctor": diagnoses,
    "crucible problems list": starter_of_86,
    "crucible problems list starter --difficulty 1": only_level_1,
    "crucible problems show starter ferry-queue": says("ferry"),
    "crucible problems validate my-problems.yaml": says("1 problems, 0 with faults"),
    "crucible problems validate my_problems.yaml": says("1 problems, 0 with faults"),
    "crucible finetune list": says(""),
}


def test_every_example_is_run_or_says_why_not() -> None:
    assert set(RUN).isdisjoint(NOT_RUN)
    assert {text: where for text, where in EXAMPLES.items() if text not in RUN and text not in NOT_RUN} == {}
    assert [text for text in (*RUN, *NOT_RUN) if text not in EXAMPLES] == []


@pytest.mark.sandbox
@pytest.mark.parametrize("example", RUN)
def test_an_example_does_what_its_text_says(example: str, run: Runner) -> None:
    RUN[example](run, example)


@pytest.mark.parametrize("example", [text for text in EXAMPLES if text.startswith("crucible ")])
def test_the_commands_and_options_of_an_example_exist(example: str) -> None:
    command, arguments = CLI, shlex.split(example.partition(" < ")[0])[1:]
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context("crucible", arguments)  # raises for what it does not know


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_named_in_prose_exist(page: Path) -> None:
    for text in re.findall(r"`crucible ([^`]*)`", page.read_text()):
        command, words = CLI, text.split()
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        assert not (words and re.fullmatch("[a-z]+", words[0])), text
        known = {"--help"} | {name for parameter in command.params for name in parameter.opts}
        assert set(re.findall(r"(?<!\S)\[?(--[\w-]+)", " ".join(words))) <= known, text


SETTINGS = [(page, text) for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)]


@pytest.mark.parametrize(("page", "text"), SETTINGS, ids=[page.name for page, _ in SETTINGS])
def test_settings_shown_in_the_documentation_are_valid(page: Path, text: str, tmp_path: Path) -> None:
    if text.startswith("sets:"):
        pytest.skip("a suite of problem sets; tests/problems/test_sets.py")
    path = tmp_path / "crucible.yaml"
    path.write_text(text)
    assert validate_file(path) == []


@pytest.mark.model
@pytest.mark.sandbox
def test_the_first_example_of_the_help_ends_with_a_small_model(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRUCIBLE_MODEL__ENGINE")
    example = next(text for text in RUN if "is_even" in text)
    done = run(f"{example} --model smollm2-135m --no-memory")
    assert "def is_even(n" in done.out
    assert (done.code, done.err) == (0, "") or (done.code == 1 and "unsolved" in done.err)
