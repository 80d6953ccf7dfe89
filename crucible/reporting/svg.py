"""A matplotlib figure as an inline SVG that takes its colours from the page around it.

Figures are drawn with stand-in colours, which become CSS variables here: one drawing serves a light and a dark page. What
comes out depends on what was drawn alone (no date, no version, ids that are hashes with a fixed salt), names no address,
and keeps its text as text, so that it can be searched, read aloud and set in the page's own type.
"""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from crucible.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
"""Stand-ins: text and axes, secondary text, gridlines, the page."""
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_DROPPED = {f"{_SVG}metadata", f"{_SVG}style"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crucible",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
}
"""matplotlib's settings while a figure is made and written. parse_math: no label is a formula, whoever wrote it."""


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """`figure` as an <svg> element for an HTML page. `name`: what its ids begin with, unlike any other on the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314
    for parent in root.iter():
        for child in [child for child in parent if child.tag in _DROPPED]:
            parent.remove(child)
        parent.text = parent.text if parent.tag == f"{_SVG}text" else None
        parent.tail = None
    used = set(re.findall(r"#([\w-]+)", " ".join(value for node in root.iter() for value in node.attrib.values())))
    for node in root.iter():
        node.tag = node.tag.removeprefix(_SVG)
        node.attrib = {
            key.removeprefix(_XLINK): _attribute(key, value, name)
            for key, value in node.attrib.items()
            if value in used or not (key == "id" or value.startswith("rotate(-0 "))
        }
    labels = f"{name}-title", f"{name}-desc"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": " ".join(labels)}
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        node = ET.Element(tag, {"id": labels[position]})
        node.text = one_line(text)
        root.insert(position, node)
    return ET.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"^#(?=[\w-]+$)|(?<=url\()#", f"#{name}-", value)
    for stand_in, variable in VARIABLES.items():
        value = value.replace(stand_in, variable)
    return re.sub(r"font(-family)?: [^;]*;?", _font, value) if key == "style" else value


def _font(match: re.Match[str]) -> str:
    """Of matplotlib's font only the size is kept: the family is the page's."""
    size = re.search(r"[\d.]+px", match[0])
    return f"font-size: {size[0]};" if size else ""
