"""The report on a benchmark: one page to read on its own, one for a repository, and every number as data.

`report.html` needs nothing but itself: no script, no request, its plots inline. The same results give the same bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from crucible.bench.record import Results
from crucible.bench.report.facts import Facts, gather
from crucible.errors import StoreError
from crucible.storage.files import write_atomically

HTML, MARKDOWN, SUMMARY = "report.html", "report.md", "summary.json"


def render(results: Results, out: Path) -> list[Path]:
    """Writes report.md, report.html and summary.json into the folder `out`, each whole or not at all, and returns them.

    Raises StoreError where they cannot be written."""
    from crucible.bench.report import pages
    from crucible.bench.report.plots import draw

    facts = gather(results)
    values = pages.values(facts, draw(facts))
    texts = {
        out / MARKDOWN: pages.markdown(**values),
        out / HTML: pages.html(**values),
        out / SUMMARY: summary(facts),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {out}: {error.strerror}") from error
    for path, text in texts.items():
        write_atomically(path, text)
    return list(texts)


def summary(facts: Facts) -> str:
    """JSON whose text no terminal acts on."""
    return json.dumps(facts.model_dump(mode="json"), ensure_ascii=True, indent=2) + "\n"
