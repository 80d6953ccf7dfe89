"""The report: it shows stats.py's numbers, is the same for the same results, and no id in it does anything."""

from __future__ import annotations

import json
import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crucible.bench import stats
from crucible.bench.record import AttemptRecord, Cell, Plan, ProblemRecord, Results, SetRecord, keys
from crucible.bench.report import render
from crucible.bench.report.pages import prose, span
from crucible.types import ModelIdentity, Tokens

SCRIPT = "<script>alert(1)</script>"
MARKED = "a|b`c`**bold**[x](https://evil.example)<img src=x>"
TERMINAL = "\x1b[31mred\x1b[0m\u202eback\nnext"
IDS = [SCRIPT, MARKED, TERMINAL, "$\\frac{1}{2}$", *(f"synthetic/{number}" for number in range(4, 12))]
ARMS = {
    "single": "one greedy sample",
    "best-of-n": "samples until the budget is spent; the first that passes the visible tests",
    "loop": "generate, test, reflect and try again until the budget is spent",
}
CHANCE = {"single": 0.4, "best-of-n": 0.6, "loop": 0.65}
SPENDS = {"single": 260, "best-of-n": 1500, "loop": 1300}
FAILURES = (
    "wrong-answer",
    "wrong-answer",
    "wrong-answer",
    "hidden-only",
    "runtime",
    "syntax",
    "timeout",
    "no-code",
    "memory",
)
STEPS = ((), (), (), (), ("pruned",), ("unfenced", "trimmed"), ("imports",), ("a-plugin's <step>",))
CONSTRUCTS = (
    "for",
    "if",
    "comprehension",
    "call sorted",
    "while",
    "recursion",
    "lambda",
    "import",
    "class",
    "<b>hm</b>",
)


def plan(arms: dict[str, str] = ARMS, problems: int = 12, seeds: tuple[int, ...] = (0, 1)) -> Plan:
    ids = [*IDS, *(f"synthetic/{number}" for number in range(12, problems))][:problems]
    levels = ("easy", "medium", "hard", "")
    return Plan(
        sets=(SetRecord(name="synthetic", path="data/synthetic.jsonl", sha256="5e7" * 21 + "a", problems=problems),),
        problems=tuple(
            ProblemRecord(id=one, fingerprint=f"{number:064x}", difficulty=levels[number % 4 if number % 9 else 0])
            for number, one in enumerate(ids)
        ),
        arms=arms,
        seeds=seeds,
        budget=2048,
        model=ModelIdentity(name="qwen2.5-coder-0.5b", engine="llama.cpp", sha256="1d96" * 16, context_length=4096),
        settings="c0ffee" * 10 + "abcd",
        command="crucible bench synthetic.jsonl --arm single --arm best-of-n --arm loop --seeds 2 --budget 2048 --out results",
        versions={"crucible": "0.1.0", "python": "3.11.7", "xllamacpp": "2026.10.11549"},
        machine={"cpu": "AMD Zen 5", "cores": "2", "memory": "24 GiB", "gpu": "none"},
        created="2026-11-21T16:20:34Z",
    )


def results(of: Plan, *, chance: dict[str, float] = CHANCE, cells: int | None = None) -> Results:
    """Made up, and the same every time."""
    chosen = list(keys(of))[:cells]
    return Results(folder="results", plan=of, cells=tuple(_cell(of, key, chance) for key in chosen))


def _cell(of: Plan, key: tuple[str, int, str], chance: dict[str, float]) -> Cell:
    arm, seed, problem = key
    draw = random.Random(repr(key))
    easier = {"easy": 1.35, "medium": 1.0, "hard": 0.45, "": 0.8}
    level = next(one.difficulty for one in of.problems if one.id == problem)
    passed = draw.random() < chance.get(arm, 0.5) * easier[level]
    if chance is CHANCE and problem in IDS[:4]:
        passed = arm == "loop"  # so that the hostile ids are shown, where the arms differ
    failure = "" if passed else draw.choice(FAILURES)
    spent = int(min(of.budget, draw.lognormvariate(0, 0.55) * SPENDS.get(arm, 500) * (0.6 if passed else 1.1)))
    return Cell(
        arm=arm,
        seed=seed,
        problem=problem,
        passed=passed,
        passed_visible=passed or failure == "hidden-only",
        failure=failure,
        status="solved" if passed else "unsolved",
        tokens=Tokens(prompt=400, completion=spent),
        wall_s=spent / 45 + draw.random(),
        attempts=(AttemptRecord(tokens=spent, temperature=0.0, strategy=arm, passed_visible=passed, failure=failure),),
        extraction=() if failure == "no-code" else draw.choice(STEPS),
        code="" if failure == "no-code" else "PROGRAM_TEXT = 1",
        constructs={}
        if failure == "no-code"
        else {name: 1 for i, name in enumerate(CONSTRUCTS) if draw.random() < 0.85 / (i + 1) ** 0.6},
    )


class Page(HTMLParser):
    """What a browser would build of a page, as far as these tests ask."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.shown: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def written(results: Results, out: Path) -> tuple[str, str, dict]:
    markdown, html, summary = render(results, out)
    return markdown.read_text("utf-8"), html.read_text("utf-8"), json.loads(summary.read_text("utf-8"))


@pytest.fixture(scope="module")
def whole() -> Results:
    return results(plan())


@pytest.fixture(scope="module")
def pages(whole: Results, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, dict]:
    return written(whole, tmp_path_factory.mktemp("report"))


def test_the_page_parses_and_runs_or_loads_nothing(pages: tuple[str, str, dict]) -> None:
    page = Page(pages[1])
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert "svg" in names
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "use-me"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "data", "action"):
            assert (attributes.get(name) or "#").startswith("#"), tag
    assert not re.search(r"https?://|@import|url\((?!#)", re.sub(re.escape("https://evil.example"), "", pages[1]))


def test_ids_on_the_page_are_unique_and_what_they_are_used_for_is_there(pages: tuple[str, str, dict]) -> None:
    ids = [attributes["id"] for _, attributes in Page(pages[1]).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", pages[1])) <= set(ids)


def test_every_plot_has_a_title_and_a_description(pages: tuple[str, str, dict]) -> None:
    tags = [tag for tag, _ in Page(pages[1]).tags]
    assert tags.count("svg") == 6
    assert tags.count("desc") == 6
    assert tags.count("title") == 7  # the page's own


def test_a_hostile_id_is_shown_and_does_nothing(pages: tuple[str, str, dict]) -> None:
    markdown, html, _ = pages
    assert SCRIPT not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert span(SCRIPT) in markdown
    assert "\\x1b[31mred\\x1b[0m\\u202eback\\nnext" in html
    assert span(TERMINAL) in markdown
    for text in (markdown, html):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "<img src=x>" not in re.sub(r"(`+).*?\1", "", text)  # in Markdown a code span may hold it
        assert "PROGRAM_TEXT" not in text


def test_in_markdown_every_row_of_a_table_has_as_many_cells_as_its_head(pages: tuple[str, str, dict]) -> None:
    width = None
    for line in pages[0].splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert None in (width, cells) or cells == width, line
        width = cells


@pytest.mark.parametrize("text", [SCRIPT, MARKED, TERMINAL, "``` ` ```", "`", " ", "", "a\\|b", "# head", "$x$"])
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    from markdown_it import MarkdownIt

    parse = MarkdownIt("commonmark", {"html": True}).enable("table")
    for made in (prose(text), span(text)):
        inline = parse.parse(f"- x {made}")[3]
        kinds = {token.type for token in inline.children or []}
        assert kinds <= {"text", "code_inline", "text_special"}, made
        rendered = parse.render(f"| a | b |\n| - | - |\n| {made} | end |\n")
        assert rendered.count("<td>") == 2
        assert "<td>end</td>" in rendered


def test_the_same_results_give_the_same_bytes(whole: Results, pages: tuple[str, str, dict], tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        again = written(whole, tmp_path)
        assert matplotlib.rcParams["font.size"] == 30
    assert again == pages


def test_the_numbers_are_those_of_stats(whole: Results, pages: tuple[str, str, dict]) -> None:
    markdown, html, summary = pages
    shown = "".join(Page(html).shown)
    for arm in stats.summarise(whole):
        assert f"| `{arm.arm}` | {arm.problems} | {100 * arm.pass_at_1:.1f} % |" in markdown
        for number in (f"{arm.tokens:,}", f"{arm.tokens_per_solved:,.0f}", f"{arm.seconds_per_solved:,.1f}"):
            assert f" {number} |" in markdown
            assert number in shown
        for level in arm.by_difficulty.values():
            assert f"{100 * level.pass_at_1:.1f} % (" in markdown
    assert summary["arms"] == [json.loads(arm.model_dump_json()) for arm in stats.summarise(whole)]
    for a, b in (("best-of-n", "single"), ("loop", "single"), ("loop", "best-of-n")):
        comparison = stats.compare(whole, a, b)
        assert json.loads(comparison.model_dump_json()) in summary["comparisons"]
        figures = stats.verdict_sentence(comparison).partition(": ")[2]
        assert prose(figures) in markdown
        assert figures in shown
        assert f"| `{a}` against `{b}` | {comparison.problems} | {comparison.pairs} | {comparison.both} |" in markdown


def test_the_verdict_comes_first_and_the_command_last(pages: tuple[str, str, dict]) -> None:
    markdown = pages[0]
    heads = [line for line in markdown.splitlines() if line.startswith("## ")]
    assert heads[0] == "## Verdict"
    assert heads[-1] == "## How it was measured"
    assert markdown.rstrip().endswith(f"```sh\n{plan().command}\n```")
    assert "1d96" * 16 in markdown


def test_extraction_counts_what_was_written_as_asked_apart(whole: Results, pages: tuple[str, str, dict]) -> None:
    rows = {row["name"]: row["arms"] for row in pages[2]["extraction"]}
    for arm in ARMS:
        programs = [cell for cell in whole.of(arm) if cell.code]
        assert rows["as asked"][arm]["cells"] + rows["any of these"][arm]["cells"] == len(programs)
        pruned = [cell for cell in programs if "pruned" in cell.extraction]
        assert rows["pruned"][arm] == {"cells": len(pruned), "passed": sum(cell.passed for cell in pruned)}
        assert rows["no program"][arm]["cells"] == len(whole.of(arm)) - len(programs)


def test_an_incomplete_benchmark_says_on_top_what_is_missing(tmp_path: Path) -> None:
    markdown, html, summary = written(results(plan(), cells=40), tmp_path)
    assert "Incomplete: 20 of 60 cells are missing" in markdown.partition("## ")[0]
    assert "Incomplete: 20 of 60 cells are missing" in html.partition("<main>")[0]
    assert summary["planned"] - summary["cells"] == 20


def test_a_complete_one_does_not(pages: tuple[str, str, dict]) -> None:
    assert "ncomplete" not in pages[0] + pages[1]


def test_a_single_arm(tmp_path: Path) -> None:
    markdown, html, summary = written(results(plan({"loop": "the loop"})), tmp_path)
    assert "there is no second arm to compare it with" in markdown
    assert "## Comparisons" not in markdown
    assert summary["comparisons"] == []
    assert Page(html).open == []


def test_nothing_solved(tmp_path: Path) -> None:
    markdown, html, summary = written(results(plan(), chance=dict.fromkeys(ARMS, 0.0)), tmp_path)
    assert "no arm solves any problem" in html
    assert summary["arms"][0]["tokens_per_solved"] is None
    assert "solved equally often by all arms" in markdown


def test_all_solved(tmp_path: Path) -> None:
    assert "no cell failed" in written(results(plan(), chance=dict.fromkeys(ARMS, 9.0)), tmp_path)[1]


def test_no_cell_yet(tmp_path: Path) -> None:
    markdown, html, _ = written(results(plan(), cells=0), tmp_path)
    assert "Nothing was measured yet" in markdown
    assert "Incomplete: 60 of 60 cells are missing" in markdown
    assert Page(html).open == []


def test_at_most_forty_differing_problems_are_shown(tmp_path: Path) -> None:
    _, _, summary = written(results(plan(problems=120)), tmp_path)
    assert len(summary["differing"]) == 40
    assert summary["differing_in_all"] > 40


def test_an_arm_without_a_cell_and_names_from_anywhere(tmp_path: Path) -> None:
    arms = {
        "single": "",
        f"_{SCRIPT}$x$\x1b": "<b>\n|",
        "a very long name of an arm that somebody chose": "",
        "none yet": "",
    }
    of = plan(arms)
    few = [cell for cell in results(of).cells if cell.arm != "none yet"]
    markdown, html, _ = written(Results(folder="x", plan=of, cells=tuple(few)), tmp_path)
    assert "<script" not in html
    assert "\x1b" not in markdown + html
    assert Page(html).open == []
