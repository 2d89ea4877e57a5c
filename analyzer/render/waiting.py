"""How long locks were waited for, and what ended the waits.

In: the waits of a `View`. Out: sheets: what ended them, how long they took, and how long a lock that had come
free took to reach its waiter.

Theory. A callback brings a lock within milliseconds, a poll within the client's period (30 s on Linux): many
waits that end by polls, or delays that pile up below 30 s, say that callbacks fail. The time from the release
to the waiter's grant is what the way back costs; the rest of a wait is the other owner's work.

Never: decides what is a fault.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from analyzer.parameters import SECOND
from analyzer.render.sheet import Cell, Sheet

if TYPE_CHECKING:
    from analyzer.render.view import View
    from analyzer.sessions.model import Wait

EDGES = (0.01, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 60.0, 300.0)  # seconds
BAR = 40  # characters of the longest
ENDS = (
    Cell("ended", "text"),
    Cell("waits", "int"),
    Cell("share", "text"),
    Cell("shortest", "duration"),
    Cell("median", "duration"),
    Cell("longest", "duration"),
)
LENGTHS = (
    Cell("up_to", "text", "up to"),
    Cell("waits", "int"),
    Cell("by_callback", "int"),
    Cell("by_poll", "int"),
    Cell("bar", "text", " "),
)
END_KEYS = tuple(cell for cell in ENDS if cell.name != "share")
LENGTH_KEYS = (Cell("limit", "duration"), *LENGTHS[1:4])
DELAYS = (
    Cell("how", "text", "delivered by"),
    Cell("locks", "int"),
    Cell("shortest", "duration"),
    Cell("median", "duration"),
    Cell("longest", "duration"),
)


def wait_times(view: View) -> list[Sheet]:
    """The lock-wait report."""
    s = view.sessions
    waits = [wait for wait in s.ledger.waits if _shows(view, wait)]
    return [_ends(waits, s.end), _lengths(waits, s.end), _delays(waits)]


def _shows(view: View, wait: Wait) -> bool:
    file = wait.file
    hosts = view.address(file.server), view.address(wait.client)
    last = wait.ended.time if wait.ended is not None else None
    fh = view.sessions.handles.table.data[file.fh].hex()
    return view.shows(*hosts, wait.since.time, last) and view.shows_file(view.path(file.fh), fh)


def _reason(wait: Wait) -> str:
    return wait.ended.reason if wait.ended is not None else "still waiting"


def _took(wait: Wait, end: int) -> int:
    return (wait.ended.time if wait.ended is not None else end) - wait.since.time


def _ends(waits: list[Wait], end: int) -> Sheet:
    by_reason: dict[str, list[int]] = {}
    for wait in waits:
        by_reason.setdefault(_reason(wait), []).append(_took(wait, end))
    found = [
        {"ended": reason, "waits": len(times), "share": f"{100 * len(times) / len(waits):.0f} %"}
        | _spread(times)
        for reason, times in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    none = "Nobody waited for a lock."
    return Sheet("ends", f"What ended {len(waits):,} waits", ENDS, found, none, keys=END_KEYS)


def _lengths(waits: list[Wait], end: int) -> Sheet:
    """A histogram."""
    bins: Counter[int] = Counter()
    by: dict[str, Counter[int]] = {"callback": Counter(), "poll": Counter()}
    for wait in waits:
        at = sum(_took(wait, end) > edge * SECOND for edge in EDGES)
        bins[at] += 1
        if _reason(wait) in by:
            by[_reason(wait)][at] += 1
    most = max(bins.values(), default=1)
    found = [
        {
            "limit": round(EDGES[at] * SECOND) if at < len(EDGES) else None,
            "up_to": f"{EDGES[at]:g} s" if at < len(EDGES) else "more",
            "waits": bins[at],
            "by_callback": by["callback"][at],
            "by_poll": by["poll"][at],
            "bar": "#" * -(-BAR * bins[at] // most),
        }
        for at in range(min(bins, default=0), max(bins, default=-1) + 1)
    ]
    return Sheet("lengths", "How long they took", LENGTHS, found, "", keys=LENGTH_KEYS)


def _delays(waits: list[Wait]) -> Sheet:
    """From the moment nothing on the wire was in the way to the grant."""
    delays: dict[str, list[int]] = {}
    for wait in waits:
        for free in wait.frees:
            if free.how in ("callback", "poll"):
                delays.setdefault(free.how, []).append(free.end.time - free.place.time)
    found = [{"how": how, "locks": len(times)} | _spread(times) for how, times in sorted(delays.items())]
    return Sheet("delays", "From a release to the waiter's grant", DELAYS, found, "")


def _spread(times: list[int]) -> dict[str, int]:
    times = sorted(times)
    return {"shortest": times[0], "median": times[len(times) // 2], "longest": times[-1]}
