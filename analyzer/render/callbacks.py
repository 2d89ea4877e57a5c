"""Who can call whom back: the paths of GRANTED callbacks, and where they end.

In: waits and offers of a `View`. Out: a sheet with a row per server and client.

Theory. A waiter learns that its turn has come by a callback, or by asking again. So each pair of hosts with a
wait or a callback has a path, and each wait is evidence for or against it: a callback that was taken, one
that was not answered or refused, a look-up or connection that failed before there was one, or a wait that
came to its end without any attempt.

Never: decides what is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analyzer.findings.callbacks import wall_before
from analyzer.render.sheet import Cell, Sheet
from analyzer.sessions.model import Place

if TYPE_CHECKING:
    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.model import Offer, Wait

CELLS = (
    Cell("server", "host"),
    Cell("client", "host"),
    Cell("waits", "int"),
    Cell("by_callback", "int"),
    Cell("by_poll", "int"),
    Cell("callbacks", "int"),
    Cell("accepted", "int"),
    Cell("refused", "int"),
    Cell("unanswered", "int"),
    Cell("last_good_time", "time", "last good"),
    Cell("last_bad_time", "time", "last bad"),
    Cell("path", "text"),
)
KEYS = (*CELLS, Cell("last_good_frame", "int"), Cell("last_bad_frame", "int"))


@dataclass(slots=True)
class Path:
    """What is known of the way from one server to one client."""

    waits: list[Wait] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)


def callback_paths(view: View) -> Sheet:
    """The callback path matrix."""
    paths: dict[tuple[int, int], Path] = {}
    for wait in view.sessions.ledger.waits:
        paths.setdefault((wait.file.server, wait.client), Path()).waits.append(wait)
    for offer in view.sessions.ledger.offers:
        ends = offer.operation.requester, offer.operation.responder
        paths.setdefault(ends, Path()).offers.append(offer)
    found = [
        _row(view, server, client, path)
        for (server, client), path in paths.items()
        if view.shows(view.address(server), view.address(client))
    ]
    none = "Nobody waited for a lock, and nobody was called back."
    return Sheet("paths", "Callback paths", CELLS, found, none, keys=KEYS)


def _row(view: View, server: int, client: int, path: Path) -> Row:
    good = [offer.accepted for offer in path.offers if offer.accepted is not None]
    bad = [offer for offer in path.offers if offer.accepted is None]
    ends = [wait.ended.reason for wait in path.waits if wait.ended is not None]
    refused = sum(offer.refused is not None for offer in bad)
    last_good = max(good, key=_time, default=None)
    verdict, last_bad = _verdict(view, path, bad, last_good)
    return {
        "server": view.address(server),
        "client": view.address(client),
        "waits": len(path.waits),
        "by_callback": ends.count("callback"),
        "by_poll": ends.count("poll"),
        "callbacks": len(path.offers),
        "accepted": len(good),
        "refused": refused,
        "unanswered": len(bad) - refused,
        "last_good_time": last_good.time if last_good is not None else None,
        "last_good_frame": last_good.frame if last_good is not None else None,
        "last_bad_time": last_bad.time if last_bad is not None else None,
        "last_bad_frame": last_bad.frame if last_bad is not None else None,
        "path": verdict,
    }


def _verdict(view: View, path: Path, bad: list[Offer], last_good: Place | None) -> tuple[str, Place | None]:
    """What was seen last of a path, good or bad: the failing step; and where anything bad was last seen."""
    seen: list[tuple[str, Place]] = []
    walls = (wall_before(view.sessions, wait) for wait in reversed(path.waits))
    wall = next((wall for wall in walls if wall is not None), None)
    if wall is not None:
        seen.append((wall.step, wall.last))
    for offer in bad:
        call, how = offer.operation.call, "refused" if offer.refused is not None else "not answered"
        seen.append((f"the last callback was {how}", Place(call.frame, call.time)))
    step, last_bad = max(seen, key=lambda one: _time(one[1]), default=("", None))
    if last_bad is not None and (last_good is None or last_good.time < last_bad.time):
        return step, last_bad
    if last_good is not None:
        return "callbacks arrive", last_bad
    was_due = any(wait.frees or _is_polled(wait) for wait in path.waits)
    return ("never tried" if was_due else "no callback was due"), None


def _is_polled(wait: Wait) -> bool:
    """Whether a waiter got the lock by asking again."""
    return wait.ended is not None and wait.ended.reason == "poll"


def _time(place: Place) -> int:
    return place.time
