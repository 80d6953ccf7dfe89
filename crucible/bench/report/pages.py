"""The report's two pages, rendered from their templates.

Ids, names and descriptions are whatever somebody put into a file. On the HTML page all is escaped (autoescape). In
Markdown a name stands in a code span, which runs no HTML and links nowhere, and a sentence has its marks escaped. On both,
control and bidirectional characters show as escapes. StrictUndefined: a misspelt name is an error, never a gap.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from crucible.bench.report import notes
from crucible.bench.report.facts import AS_ASKED, MENDED, NO_PROGRAM, Facts
from crucible.bench.stats import ArmSummary
from crucible.reporting import words
from crucible.reporting.canvas import Plot, colour, css
from crucible.text import one_line, plain

if TYPE_CHECKING:
    from jinja2 import Environment

MAX_TEXT, MAX_BLOCK = 1_000, 3_000
"""Characters of one text that a page shows in a line, and of one in a block."""
_MARKS = re.compile(r"([\\`*_\[\]<>&|~$#])|(?<=http)(:)|(?<=https)(:)|(?<=www)(\.)", re.I)
_FILTERS = {
    "percent": words.percent,
    "points": words.points,
    "count": words.count,
    "decimal": words.decimal,
    "p_value": words.p_value,
    "fraction": words.fraction,
}


def values(facts: Facts, plots: list[Plot]) -> dict[str, object]:
    """Return what the templates show, but for the words in which they show it."""
    bounds = [abs(bound) for pair in facts.comparisons for bound in pair.ci95]
    return {
        "facts": facts,
        "plan": facts.plan,
        "plots": plots,
        "notes": {
            "subject": notes.subject(facts),
            "verdicts": notes.verdicts(facts),
            "arms": notes.arms(facts),
            "comparisons": notes.comparisons(facts),
            "extraction": notes.extraction(facts),
            "differing": notes.differing(facts),
            "measured": list(notes.measured(facts)),
        },
        "colours": {arm: css(colour(facts.names, arm)) for arm in facts.names},
        "reach": 2.1 * max(bounds, default=0.0) or 1.0,
        "totals": (AS_ASKED, MENDED, NO_PROGRAM),
        "nothing": words.NOTHING,
        "ungraded": words.NO_DIFFICULTY,
    }


def html(**values: object) -> str:
    return environment(markdown=False).get_template("report.html.j2").render(**values)


def markdown(**values: object) -> str:
    return environment(markdown=True).get_template("report.md.j2").render(**values)


@cache
def environment(*, markdown: bool, package: str = "") -> Environment:
    """The templates of `package`, which may include those of this one."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: object) -> object:
        if isinstance(value, Markup) or not isinstance(value, str):
            return value
        return Markup(prose(value)) if markdown else one_line(value, MAX_TEXT)  # noqa: S704 - no HTML: neutralised

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(each, ".") for each in (package, __package__) if each]),
        undefined=StrictUndefined,
        autoescape=True,  # Markdown too: what `prose` and `span` made counts as safe, and nothing else does
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # What is marked here as safe is neutralised, or drawn by plots.py, which escapes what it is given.
    environment.filters |= {"span": _marked(span), "fenced": _marked(fenced), "drawn": _marked(str)}
    environment.filters["block"] = _marked(_block_of_markdown if markdown else _block_of_html)
    environment.filters |= _FILTERS | {"at_k": _at_k}
    return environment


def _marked(function: Callable[[str], str]) -> Callable[[str], str]:
    from markupsafe import Markup

    return lambda text: Markup(function(text))  # noqa: S704


def prose(text: str) -> str:
    """One line of Markdown that shows `text` and nothing else: no emphasis, link, HTML, formula or table cell begins."""
    return _MARKS.sub(r"\\\g<0>", one_line(text, MAX_TEXT))


def span(text: str) -> str:
    """`text` as inline code, by the rule of CommonMark fenced by more backticks than it holds.

    A bar would end a table's cell even here, so it is written as the escapes are."""
    text = one_line(text, MAX_TEXT).replace("|", "\\x7c")
    ticks = "`" * (1 + _longest_run(text))
    return f"{ticks} {text} {ticks}" if len(ticks) > 1 or not text.strip() else f"{ticks}{text}{ticks}"


def fenced(text: str, language: str = "sh") -> str:
    """`text` as a block of code, by more backticks than it holds."""
    ticks = "`" * max(3, 1 + _longest_run(text))
    return f"{ticks}{language}\n{plain(text)}\n{ticks}"


def _block_of_markdown(text: str) -> str:
    """What a model wrote."""
    return fenced(plain(text, MAX_BLOCK), "text")


def _block_of_html(text: str) -> str:
    from markupsafe import escape

    return str(escape(plain(text, MAX_BLOCK)))


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _at_k(arm: ArmSummary) -> str:
    """pass@k for the largest k there is, where that is not 1."""
    k = max(arm.pass_at_k, default=1)
    return f"{words.percent(arm.pass_at_k[k])} (k = {k})" if k > 1 else words.NOTHING
