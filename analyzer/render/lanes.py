"""Locks and mounts as bars on a time axis.

In: a `View`. Out: charts: for each file and each export the bars of every client.

Theory. A lock has a bar while both sides hold it, and one of another kind while only one of them does: that
is where the ledgers disagree. A mount has a bar from MNT to UMNT, its use one from the first NFS call to the
last. What a page can show is limited, so the files with most to tell come first: those that a finding is
about, then those with waits, then those with most locks. What is left out is counted.

Never: draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.frozen import frozen
from analyzer.render.mounted import opened
from analyzer.render.said import extent
from analyzer.render.sheet import host, offset
from analyzer.sessions.ranges import EOF

if TYPE_CHECKING:
    from analyzer.render.view import View
    from analyzer.sessions.model import End, File, Lock, Wait
    from analyzer.sessions.mounts import Mount

MOST_CHARTS = 40
MOST_BARS = 400  # of one lane


@frozen
class Bar:
    """Something that lasted. `kind`: held, leak, lost, waits, mounted, used, after."""

    start: int
    end: int
    kind: str
    title: str


@dataclass(slots=True)
class Lane:
    """The bars of one client."""

    label: str
    bars: list[Bar] = field(default_factory=list)
    left_out: int = 0

    def add(self, bar: Bar) -> None:
        """One more, or one more that is not shown."""
        if len(self.bars) < MOST_BARS:
            self.bars.append(bar)
        else:
            self.left_out += 1


@dataclass(slots=True)
class Chart:
    """The lanes of one file or export."""

    title: str
    lanes: dict[int, Lane] = field(default_factory=dict)

    def lane(self, view: View, client: int) -> Lane:
        """The lane of a client, made when first needed."""
        if client not in self.lanes:
            self.lanes[client] = Lane(host(view, view.address(client) or ""))
        return self.lanes[client]


# -- locks ------------------------------------------------------------------------------------------


def lock_charts(view: View) -> tuple[list[Chart], int]:
    """A chart for each file, those with most to tell first, and how many are left out."""
    s = view.sessions
    locks: dict[File, list[Lock]] = {}
    waits: dict[File, list[Wait]] = {}
    for lock in s.ledger.locks:
        locks.setdefault(lock.file, []).append(lock)
    for wait in s.ledger.waits:
        waits.setdefault(wait.file, []).append(wait)
    told = {found.fh for found in view.findings if found.fh is not None}
    files = [file for file in {**locks, **waits} if _shows(view, file)]
    files.sort(
        key=lambda file: (
            _hex(view, file) not in told,
            -len(waits.get(file, ())),
            -len(locks.get(file, ())),
        )
    )
    charts = [_of_file(view, f, locks.get(f, []), waits.get(f, [])) for f in files[:MOST_CHARTS]]
    return [chart for chart in charts if chart.lanes], max(0, len(files) - MOST_CHARTS)


def _hex(view: View, file: File) -> str:
    return view.sessions.handles.table.data[file.fh].hex()


def _shows(view: View, file: File) -> bool:
    return view.shows_file(view.path(file.fh), _hex(view, file))


def _of_file(view: View, file: File, locks: list[Lock], waits: list[Wait]) -> Chart:
    path = view.path(file.fh)
    name = path if path is not None else f"file handle {_hex(view, file)[:16]}…"
    chart = Chart(f"{name} on {view.address(file.server)}")
    for wait in waits:
        until = _or_end(view, wait.ended)
        if view.shows(view.address(file.server), view.address(wait.client), wait.since.time, until):
            how = wait.ended.reason if wait.ended is not None else "still waiting"
            lasted = _span(view, wait.since.time, until)
            title = f"waits for {_extent(wait.start, wait.end)} {lasted}: {how}"
            chart.lane(view, wait.client).add(Bar(wait.since.time, until, "waits", title))
    for lock in locks:
        until = max(_or_end(view, lock.server_end), _or_end(view, lock.client_end))
        if view.shows(view.address(file.server), view.address(lock.client), lock.granted.time, until):
            for bar in _of_lock(view, lock):
                chart.lane(view, lock.client).add(bar)
    return chart


def _of_lock(view: View, lock: Lock) -> Iterator[Bar]:
    """A bar while both hold it, and one while one of them does."""
    begin = lock.granted.time
    served = _or_end(view, lock.server_end)
    believed = _or_end(view, lock.client_end) if lock.believed is not None else begin
    both, longer = min(served, believed), max(served, believed)
    kind = "leak" if served > believed else "lost"
    mode = "exclusive" if lock.exclusive else "shared"
    name = f"lock {lock.number}, {mode}, {_extent(lock.start, lock.end)}, frame {lock.granted.frame}"
    if both > begin or longer == begin:
        yield Bar(begin, both, "held", f"{name}: held {_span(view, begin, both)}")
    if longer > both:
        where = "on the server only" if kind == "leak" else "by the client only"
        yield Bar(both, longer, kind, f"{name}: held {where} {_span(view, both, longer)}")


def _or_end(view: View, end: End | None) -> int:
    return end.time if end is not None else view.sessions.end


def _span(view: View, start: int, end: int) -> str:
    return f"{offset(view, start)} to {offset(view, end)}"


def _extent(start: int, end: int) -> str:
    return extent(start, None if end == EOF else end)


# -- mounts -----------------------------------------------------------------------------------------


def mount_charts(view: View) -> tuple[list[Chart], int]:
    """A chart for each export, and how many are left out."""
    charts: dict[tuple[int, str], Chart] = {}
    for mount in view.sessions.mounts.sessions.values():
        if view.shows(view.address(mount.server), view.address(mount.client)):
            path = mount.path or "(unknown export)"
            title = f"{path} on {view.address(mount.server)}"
            chart = charts.setdefault((mount.server, path), Chart(title))
            for bar in _of_mount(view, mount):
                chart.lane(view, mount.client).add(bar)
    drawn = [chart for chart in charts.values() if chart.lanes]
    return drawn[:MOST_CHARTS], max(0, len(drawn) - MOST_CHARTS)


def _of_mount(view: View, mount: Mount) -> Iterator[Bar]:
    begin: int | None = None
    for time, count in opened(mount):
        edge = max(time, view.sessions.start)
        if count and begin is None:
            begin = edge
        elif not count and begin is not None:
            yield Bar(begin, edge, "mounted", f"mounted {_span(view, begin, edge)}")
            begin = None
    if begin is not None:
        end = view.sessions.end
        yield Bar(begin, end, "mounted", f"mounted {_span(view, begin, end)}, the end of the capture")
    if mount.first is not None and mount.last is not None:
        first, last = mount.first.time, mount.last.time
        yield Bar(first, last, "used", f"{mount.calls} NFS calls {_span(view, first, last)}")
    for goodbye in mount.goodbyes:
        if goodbye.first_after is not None and goodbye.last_after is not None:
            first, last = goodbye.first_after.time, goodbye.last_after.time
            title = f"{goodbye.calls_after} NFS calls after UMNT {_span(view, first, last)}"
            yield Bar(first, last, "after", title)
