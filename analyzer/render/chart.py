"""A chart as SVG.

In: a `Chart` and the time it spans. Out: an SVG element.

Theory. Time runs from left to right over the whole capture, one lane below the other. Elements are built as a
tree, so that whatever a name holds is escaped when the tree is written. A bar has at least a width that can
be seen and pointed at; its title says it in words.

Never: chooses what is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from analyzer.render.clean import clean

if TYPE_CHECKING:
    from analyzer.render.lanes import Chart, Lane

WIDTH, LABEL, LANE, HEAD = 1100, 230, 26, 22
TICKS = 6
THINNEST = 2.0
THICK = {"used": 4, "after": 8}  # of the bars that lie over others
LONGEST_LABEL = 34  # characters
FILL = {
    "held": "#5b9bd5",
    "mounted": "#5b9bd5",
    "leak": "#b00020",
    "after": "#b00020",
    "lost": "#d98200",
    "waits": "#f2d24b",
    "used": "#1f4e79",
}
LINE, FAINT = "#e3e3e3", "#888888"


def svg(chart: Chart, start: int, end: int) -> Element:
    """The lanes of a chart between two times."""
    height = HEAD + LANE * len(chart.lanes) + 4
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "font-size": "12"})
    SubElement(root, "title").text = clean(chart.title)
    _axis(root, start, end, height)
    for number, lane in enumerate(sorted(chart.lanes.values(), key=_first)):
        top = HEAD + LANE * number
        label = SubElement(root, "text", x="0", y=str(top + 17))
        label.text = clean(lane.label)[:LONGEST_LABEL]
        for bar in lane.bars:
            left, right = _x(bar.start, start, end), _x(bar.end, start, end)
            thick = THICK.get(bar.kind, LANE - 10)
            box = {"x": f"{left:.1f}", "width": f"{max(right - left, THINNEST):.1f}", "fill": FILL[bar.kind]}
            box |= {"y": f"{top + (LANE - thick) / 2:.1f}", "height": str(thick)}
            SubElement(SubElement(root, "rect", box), "title").text = clean(bar.title)
        if lane.left_out:
            place = {"x": str(WIDTH), "y": str(top + 17), "text-anchor": "end", "fill": FAINT}
            more = SubElement(root, "text", place)
            more.text = f"and {lane.left_out} more"
    return root


def _axis(root: Element, start: int, end: int, height: int) -> None:
    """Lines and seconds from the start."""
    for tick in range(TICKS + 1):
        time = start + (end - start) * tick // TICKS
        x = f"{_x(time, start, end):.1f}"
        SubElement(root, "line", {"x1": x, "x2": x, "y1": str(HEAD - 4), "y2": str(height), "stroke": LINE})
        anchor = "end" if tick == TICKS else "middle" if tick else "start"
        text = SubElement(root, "text", {"x": x, "y": "12", "text-anchor": anchor, "fill": FAINT})
        text.text = f"+{(time - start) / 1e9:.1f} s"


def _first(lane: Lane) -> int:
    return min((bar.start for bar in lane.bars), default=0)


def _x(time: int, start: int, end: int) -> float:
    return LABEL + (WIDTH - LABEL) * (time - start) / max(end - start, 1)
