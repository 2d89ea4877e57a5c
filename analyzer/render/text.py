"""What a support engineer reads first: the verdict, its reasons, and what to do.

In: a `View` and a `Paint`. Out: lines of text.

Theory. The order is that of the questions: what is this, is anything wrong, what exactly, who holds what
now, how much was seen. What explains a finding comes before it, the finding indented beneath; what is a
mere fact comes after all findings. Every finding has a display filter that shows its frames in Wireshark.

Never: writes text of the wire that was not cleaned; judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.findings.rule import INFO, Severity
from analyzer.render import rows
from analyzer.render.clean import clean
from analyzer.render.moment import Moment
from analyzer.render.mounted import mount_sessions
from analyzer.render.paint import Paint
from analyzer.render.said import extent
from analyzer.render.sheet import text
from analyzer.render.times import clock, period, span

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.render.view import View

MOST_ROWS = 20
"""Rows of a table in the summary; `locks` and `mounts` have them all."""


def summary(view: View, paint: Paint) -> Iterator[str]:
    """The whole text of `analyze`."""
    yield from _head(view, paint)
    yield from _findings(view, paint)
    yield from _facts(view, paint)
    yield from _standing(view, paint)
    yield from _numbers(view, paint)


# -- head -------------------------------------------------------------------------------------


def _head(view: View, paint: Paint) -> Iterator[str]:
    infos = view.analysis.captures
    packets = sum(info.packets for info in infos)
    name = clean(infos[0].path) if len(infos) == 1 else f"{len(infos)} captures"
    starts = [info.start for info in infos if info.start is not None]
    ends = [info.end for info in infos if info.end is not None]
    when = ""
    if starts and ends:
        when = f", {period(min(starts), max(ends))} UTC ({span(max(ends) - min(starts))})"
    yield from paint.wrap(f"{name}: {packets:,} packets{when}", hang=2)
    if who := _who(view):
        yield from paint.wrap(who, hang=2)
    for info in infos:
        if info.damage is not None or not info.complete:
            yield from paint.wrap(f"{clean(info.path)}: {clean(info.damage or 'not complete')}", hang=2)
    yield ""
    yield paint.ink(verdict(view), "head")


def _who(view: View) -> str:
    """Clients and servers, with the names they give themselves."""
    by_role: dict[str, list[str]] = {"client": [], "server": []}
    for host, role in sorted(rows.roles(view).items()):
        for word in ("client", "server"):
            if word in role:
                by_role[word].append(_named(view, view.address(host)))
    return "; ".join(
        f"{word}{'s' if len(found) > 1 else ''} {', '.join(found[:8])}{_more(len(found) - 8)}"
        for word, found in by_role.items()
        if found
    )


def _named(view: View, address: str | None) -> str:
    name = view.known_as().get(address or "")
    return f"{address} ({name})" if name and name != address else str(address)


def _more(number: int) -> str:
    return f" and {number} more" if number > 0 else ""


def verdict(view: View) -> str:
    """How many findings of which severity."""
    loud = [found for found in view.findings if found.severity > INFO]
    if not loud:
        return "Nothing wrong seen." if view.filters.is_open else "Nothing wrong seen in what was asked for."
    parts = [
        f"{number} {severity.name.lower()}"
        for severity in sorted(Severity, reverse=True)
        if (number := sum(found.severity == severity for found in loud))
    ]
    return f"{len(loud)} finding{'s' if len(loud) > 1 else ''}: {', '.join(parts)}"


# -- findings -----------------------------------------------------------------------------------


def _findings(view: View, paint: Paint) -> Iterator[str]:
    for found, depth in ordered(view):
        yield ""
        yield from _finding(view, found, paint, 4 * depth)


def ordered(view: View) -> list[tuple[Finding, int]]:
    """Findings above info with their depth: what explains a finding stands before it."""
    loud = {found.id: found for found in view.findings if found.severity > INFO}
    beneath: dict[str, list[Finding]] = {}
    roots = []
    for found in loud.values():
        cause = next((cause for cause in found.caused_by if cause in loud), None)
        if cause is None:
            roots.append(found)
        else:
            beneath.setdefault(cause, []).append(found)
    placed: dict[str, tuple[Finding, int]] = {}
    stack = [(found, 0) for found in reversed(roots)]
    while stack or len(placed) < len(loud):
        # two findings that name each other as their cause are in no root's tree
        found, depth = stack.pop() if stack else (next(f for f in loud.values() if f.id not in placed), 0)
        if found.id not in placed:
            placed[found.id] = (found, depth)
            stack += [(symptom, depth + 1) for symptom in reversed(beneath.get(found.id, []))]
    return list(placed.values())


def _finding(view: View, found: Finding, paint: Paint, indent: int) -> Iterator[str]:
    severity = found.severity.name.lower()
    head = f"{found.severity.name:<8} {found.code}  ({found.confidence.name.lower()})"
    yield " " * indent + paint.ink(head, severity)
    inner = indent + 4
    yield from paint.wrap(clean(found.message), inner)
    yield from paint.wrap(f"who:    {about(view, found)}", inner, 8)
    yield from paint.wrap(f"when:   {when(view, found)}", inner, 8)
    yield from paint.wrap(f"frames: {display_filter(found.frames)}", inner, 8)
    yield from paint.wrap(f"do:     {clean(found.remedy)}", inner, 8)
    if found.caused_by:
        yield from paint.wrap(f"cause:  {', '.join(found.caused_by)}", inner, 8)
    yield from paint.wrap(f"id:     {found.id}", inner, 8)


def about(view: View, found: Finding) -> str:
    """Who a finding is about."""
    parts = [
        f"{word} {_named(view, address)}"
        for word, address in (("client", found.client), ("server", found.server), ("peer", found.peer))
        if address is not None
    ]
    if found.path is not None:
        parts.append(f"file {clean(found.path)}")
    elif found.fh is not None:
        parts.append(f"file handle {found.fh}")
    elif found.export is not None:
        parts.append(f"export {clean(found.export)}")
    if found.range is not None:
        parts.append(extent(*found.range))
    if found.owner is not None:
        parts.append(f"owner svid {found.owner[1]} of {clean(found.owner[0]) or 'a nameless caller'}")
    return ", ".join(parts) or "the capture"


def when(view: View, found: Finding) -> str:
    """When it happened, by the clock and from the start of the capture."""
    start = view.sessions.start
    if found.last_time > found.first_time:
        text = period(found.first_time, found.last_time)
        text += f" (+{(found.first_time - start) / 1e9:.3f} s to +{(found.last_time - start) / 1e9:.3f} s)"
    else:
        text = f"{clock(found.first_time)} (+{(found.first_time - start) / 1e9:.3f} s)"
    return f"{text}, {found.count} times" if found.count > 1 else text


def display_filter(frames: tuple[int, ...]) -> str:
    """A display filter of Wireshark for these frames."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    if not runs:
        return "none"
    shown = [str(low) if low == high else f"{low}..{high}" for low, high in runs]
    return f"frame.number in {{{', '.join(shown)}}}"


def _facts(view: View, paint: Paint) -> Iterator[str]:
    quiet = [found for found in view.findings if found.severity == INFO]
    if not quiet:
        return
    yield ""
    yield paint.ink("Also seen", "head")
    for found in quiet[:MOST_ROWS]:
        yield from paint.wrap(f"{found.code}: {clean(found.message)}", 2, 2)
    if len(quiet) > MOST_ROWS:
        yield f"  and {len(quiet) - MOST_ROWS} more facts (--format json has all)"


def _standing(view: View, paint: Paint) -> Iterator[str]:
    """What stands at the end: locks, waits, mounts."""
    moment = Moment(view, None)
    for sheet in (moment.held(quiet=True), moment.waiting(quiet=True), mount_sessions(view, moment)):
        if sheet.rows:
            yield ""
            yield from text(view, paint, [sheet], MOST_ROWS)


# -- numbers ------------------------------------------------------------------------------------


def _numbers(view: View, paint: Paint) -> Iterator[str]:
    calls = [(label, f"{number:,}") for label, number in view.analysis.counts.items()]
    if calls:
        yield ""
        yield paint.ink("Calls", "head")
        yield from paint.grid(calls)
    seen = view.analysis.health
    yield ""
    yield paint.ink("Health", "head")
    yield from paint.wrap(
        f"{seen.messages:,} RPC messages in {seen.frames:,} frames; calls without a reply: "
        f"{seen.unanswered_calls:,}, replies without a call: {seen.orphan_replies:,}, "
        f"calls sent again: {seen.retransmissions:,}",
        2,
    )
    if seen.dropped_by_capture:
        yield from paint.wrap(f"{seen.dropped_by_capture:,} packets dropped while capturing", 2)
    if seen.settled_locks:
        granted = view.sessions.ledger.grants
        text = f"{seen.settled_locks:,} of {granted:,} locks let go of to save memory: granted and given back"
        yield from paint.wrap(f"{text}, and nothing to remark", 2)
    for name, number in seen.faults.items():
        place = seen.places.get(name, -1)
        where = f" (first: frame {place})" if place > 0 else ""
        yield from paint.wrap(f"{number:,} {seen.meanings.get(name, name)}{where}", 2, 2)
