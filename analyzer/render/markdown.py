"""An analysis as Markdown, to paste into a ticket.

In: a `View`. Out: lines of Markdown.

Theory. Short: the verdict, each finding with its evidence and remedy, nothing that a reader of a ticket
does not need. Everything of the wire is escaped, so that a hostile path is neither markup nor a link.

Never: judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.findings.rule import INFO
from analyzer.render.clean import code, markdown
from analyzer.render.said import extent
from analyzer.render.text import display_filter, ordered, verdict
from analyzer.render.times import rfc3339

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.view import View


def ticket(view: View) -> Iterator[str]:
    """The whole page."""
    yield "# lockscope"
    yield ""
    for info in view.analysis.captures:
        times = f", {rfc3339(info.start)} to {rfc3339(info.end)}" if info.start and info.end else ""
        yield f"- {code(info.path)}: {info.packets} packets{times}"
        if info.damage is not None:
            yield f"  - {markdown(info.damage)}"
    yield ""
    yield f"**{verdict(view)}**"
    for found, _ in ordered(view):
        yield ""
        yield from _finding(found)
    facts = [found for found in view.findings if found.severity == INFO]
    if facts:
        yield ""
        yield "## Also seen"
        yield ""
        for found in facts:
            yield f"- {code(found.code)}: {markdown(found.message)}"


def _finding(found: Finding) -> Iterator[str]:
    yield f"## {found.severity.name}: {found.code} ({found.confidence.name.lower()})"
    yield ""
    yield markdown(found.message)
    yield ""
    for word, value in (
        ("client", found.client),
        ("server", found.server),
        ("peer", found.peer),
        ("export", found.export),
        ("file", found.path or found.fh),
        ("range", extent(*found.range) if found.range is not None else None),
        ("owner", f"svid {found.owner[1]}" if found.owner is not None else None),
    ):
        if value is not None:
            yield f"- {word}: {code(value)}"
    if found.owner is not None and found.owner[0]:
        yield f"- caller: {code(found.owner[0])}"
    yield f"- first seen: {rfc3339(found.first_time)}, last: {rfc3339(found.last_time)}"
    yield f"- frames: {code(display_filter(found.frames))}"
    if found.caused_by:
        yield f"- caused by: {', '.join(code(each) for each in found.caused_by)}"
    yield f"- id: {code(found.id)}"
    yield ""
    yield f"What to do: {markdown(found.remedy)}"
