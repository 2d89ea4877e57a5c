"""The whole analysis as one page of HTML that needs nothing else: no script, no network.

In: a `View`, and the frames that its findings rest on. Out: the text of the page.

Theory. For a person who has the file and no lockscope: the verdict, each finding with its frames decoded,
what stands at the end, the life of every lock and mount as bars, and the answers of `locks`. The page is
built as a tree of elements and written by the standard library, so that no name of the wire can become
markup, and its own policy forbids a browser to fetch or run anything.

Never: joins markup and text; judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from analyzer.findings.rule import INFO
from analyzer.render import answers
from analyzer.render.chart import FILL, svg
from analyzer.render.clean import clean
from analyzer.render.dissect import ours
from analyzer.render.lanes import Chart, lock_charts, mount_charts
from analyzer.render.moment import Moment
from analyzer.render.sheet import Sheet, shown
from analyzer.render.text import about, display_filter, ordered, verdict, when
from analyzer.render.times import clock, period, span

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.reread import Frame
    from analyzer.render.view import View

MOST_FRAMES = 24  # of one finding, decoded
MOST_FINDINGS = 200  # with their frames
MOST_ROWS = 500  # of a table
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; } h3 { margin-bottom: .3em; }
table { border-collapse: collapse; margin: .6em 0; font-size: .9em; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .15em .8em .15em 0; vertical-align: top; white-space: nowrap; }
th { color: #666; font-weight: normal; border-bottom: 1px solid #ccc; }
article { border-left: .4em solid #999; padding: .1em 1em; margin: 1em 0; background: #fafafa; }
article.critical, article.high { border-color: #b00020; } article.medium { border-color: #d98200; }
article.low { border-color: #2a7ab0; } dl { display: grid; grid-template-columns: 6em 1fr; margin: .4em 0; }
dt { color: #666; } dd { margin: 0; overflow-wrap: anywhere; }
pre { font-size: .85em; overflow-x: auto; margin: .3em 0 .6em 1em; } summary { cursor: pointer; }
svg { width: 100%; display: block; } .note { color: #666; }
.key span { display: inline-block; width: 1.2em; height: .8em; margin: 0 .4em 0 1.2em; }
"""


class Evidence(NamedTuple):
    """What is said of frames, and when they were seen."""

    lines: dict[int, list[str]]
    times: dict[int, int]


def page(view: View, frames: Sequence[Frame], with_values: bool = True) -> str:
    """The page; without values the frames are named and not decoded."""
    html = Element("html", lang="en")
    head = SubElement(html, "head")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": POLICY})
    SubElement(head, "meta", name="viewport", content="width=device-width")
    SubElement(head, "title").text = f"lockscope: {verdict(view)}"
    SubElement(head, "style").text = STYLE
    body = SubElement(html, "body")
    _head(view, body)
    decoded = {frame.number: list(ours(frame) if with_values else _named(frame)) for frame in frames}
    times = {frame.number: frame.time for frame in frames}
    _findings(view, body, Evidence(decoded, times))
    _standing(view, body)
    _timelines(view, body)
    _reports(view, body)
    _health(view, body)
    return f"<!DOCTYPE html>\n{tostring(html, encoding='unicode', method='html')}\n"


def evidence_of(view: View) -> set[int]:
    """The frames that the page shows."""
    return {number for found in view.findings[:MOST_FINDINGS] for number in _sample(found.frames)}


def _sample(frames: Sequence[int]) -> Sequence[int]:
    """The first and the last ones."""
    half = MOST_FRAMES // 2
    return frames if len(frames) <= MOST_FRAMES else [*frames[:half], *frames[-half:]]


# -- parts ------------------------------------------------------------------------------------------


def _head(view: View, body: Element) -> None:
    _text(body, "h1", verdict(view))
    rows = []
    for info in view.analysis.captures:
        is_timed = info.start is not None and info.end is not None
        times = f"{period(info.start or 0, info.end or 0)} UTC" if is_timed else "no packets"
        long = span((info.end or 0) - (info.start or 0)) if is_timed else ""
        rows.append((info.path, f"{info.packets:,} packets", times, long, info.damage or ""))
    _table(body, ("capture", "", "time", "", ""), rows)


def _findings(view: View, body: Element, evidence: Evidence) -> None:
    loud = ordered(view)
    if loud:
        _text(body, "h2", "Findings")
    for found, depth in loud:
        article = SubElement(body, "article", {"class": found.severity.name.lower(), "id": found.id})
        article.set("style", f"margin-left: {2 * min(depth, 8)}em")
        _finding(view, article, found, evidence)
    quiet = [found for found in view.findings if found.severity == INFO]
    if quiet:
        _text(body, "h2", "Also seen")
        facts = SubElement(body, "ul")
        for found in quiet[:MOST_ROWS]:
            _text(facts, "li", f"{found.code}: {found.message}").set("id", found.id)


def _finding(view: View, article: Element, found: Finding, evidence: Evidence) -> None:
    severity, confidence = found.severity.name.lower(), found.confidence.name.lower()
    _text(article, "h3", f"{found.code} ({severity}, {confidence})")
    _text(article, "p", found.message)
    facts = SubElement(article, "dl")
    said = {"who": about(view, found), "when": when(view, found), "frames": display_filter(found.frames)}
    for name, value in (said | {"do": found.remedy}).items():
        _text(facts, "dt", name)
        _text(facts, "dd", value)
    if found.caused_by:
        _text(facts, "dt", "cause")
        causes = SubElement(facts, "dd")
        for cause in found.caused_by:
            _text(causes, "a", cause).set("href", f"#{cause}")
    seen = [number for number in _sample(found.frames) if number in evidence.lines]
    if seen:
        details = SubElement(article, "details")
        shown_of = f"{len(seen)} of {len(found.frames)}" if len(seen) < len(found.frames) else str(len(seen))
        _text(details, "summary", f"evidence: {shown_of} frames")
        for number in seen:
            _text(details, "div", f"frame {number}, {clock(evidence.times[number])} UTC")
            _text(details, "pre", "\n".join(clean(line) for line in evidence.lines[number]))


def _named(frame: Frame) -> Iterator[str]:
    """Which messages end in a frame, and what else it is."""
    yield from (f"{message.title}, {message.route}" for message in frame.messages)
    yield from frame.events


def _standing(view: View, body: Element) -> None:
    moment = Moment(view, None)
    _text(body, "h2", "At the end")
    _sheets(view, body, [moment.held(), moment.waiting(), *answers.mounts(view, None)[::2]])


def _timelines(view: View, body: Element) -> None:
    _text(body, "h2", "Timelines")
    key = SubElement(body, "p", {"class": "key note"})
    for kind, meaning in KEY.items():
        SubElement(key, "span", style=f"background: {FILL[kind]}").tail = meaning
    for charts, left_out, what in ((*lock_charts(view), "files"), (*mount_charts(view), "exports")):
        for chart in charts:
            _chart(view, body, chart)
        if left_out:
            _text(body, "p", f"and {left_out} more {what}").set("class", "note")


KEY = {
    "held": "locked, mounted",
    "leak": "on the server only; used after UMNT",
    "lost": "by the client only",
    "waits": "waits",
    "used": "NFS calls",
}


def _chart(view: View, body: Element, chart: Chart) -> None:
    _text(body, "h3", chart.title)
    body.append(svg(chart, view.sessions.start, view.sessions.end))


def _reports(view: View, body: Element) -> None:
    reports = ("Callbacks", "callbacks"), ("Waiting", "wait-times"), ("Restarts", "recovery")
    for title, name in reports:
        _text(body, "h2", title)
        _sheets(view, body, answers.locks(view, name, None, False, False))


def _health(view: View, body: Element) -> None:
    seen = view.analysis.health
    _text(body, "h2", "Health")
    rows = [
        ("packets", f"{seen.frames:,}"),
        ("RPC messages", f"{seen.messages:,}"),
        ("calls without a reply", f"{seen.unanswered_calls:,}"),
        ("replies without a call", f"{seen.orphan_replies:,}"),
        ("calls sent again", f"{seen.retransmissions:,}"),
        ("dropped while capturing", f"{seen.dropped_by_capture:,}"),
        *((seen.meanings.get(name, name), f"{number:,}") for name, number in seen.faults.items()),
    ]
    _table(body, ("counter", "number"), rows)
    _text(body, "h3", "Calls")
    _table(body, ("procedure", "calls"), [(name, f"{n:,}") for name, n in view.analysis.counts.items()])


# -- pieces -----------------------------------------------------------------------------------------


def _text(parent: Element, tag: str, text: str) -> Element:
    """An element with text: what does not print is made visible, line breaks stay in `pre`."""
    made = SubElement(parent, tag)
    made.text = text if tag == "pre" else clean(text)
    return made


def _sheets(view: View, body: Element, sheets: Iterable[Sheet]) -> None:
    for sheet in sheets:
        if not sheet.rows:
            if sheet.none:
                _text(body, "p", sheet.none)
            continue
        _text(body, "h3", sheet.title)
        head = [cell.head or cell.name.replace("_", " ") for cell in sheet.cells]
        rows = [[shown(view, c.kind, row[c.name]) for c in sheet.cells] for row in sheet.rows[:MOST_ROWS]]
        _table(body, head, rows)
        if len(sheet.rows) > MOST_ROWS:
            _text(body, "p", f"and {len(sheet.rows) - MOST_ROWS} more").set("class", "note")


def _table(parent: Element, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = SubElement(parent, "table")
    top = SubElement(table, "tr")
    for name in head:
        _text(top, "th", name)
    for row in rows:
        line = SubElement(table, "tr")
        for cell in row:
            _text(line, "td", cell)
