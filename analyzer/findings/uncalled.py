"""Waiters whose lock came free and who were not called: what the server did about it, and for how long.

In: waits, callbacks, port look-ups, connections. Out: the stretch in which a callback was due, and what shows
that it was.

Theory. A range is free of a waiter's view when the last lock in its way is released. Then a lock server calls
back within seconds, or another waiter had its turn. Where it did not even look up a port, it does not know
of the waiter (any more).

Never: yields a case.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple, TypeVar

from analyzer.findings.rule import POSSIBLE, PROBABLE, Confidence, seconds
from analyzer.parameters import window
from analyzer.protocols.nlm import NLM
from analyzer.sessions.connections import Connection
from analyzer.sessions.model import Free, Place, Wait
from analyzer.sessions.reboots import Lookup
from analyzer.sessions.world import Sessions

CALLBACK_WINDOW = window(
    "callback-after-release",
    10,
    "from the release of the last conflicting lock to the callback: lookup, connection, a retry",
)
BEFORE_RELEASE = window("callback-before-release", 1, "a callback may stand before the UNLOCK it follows")
STILL_WAITING = window("still-waiting", 35, "one poll period of a Linux waiter (30 s) and some")
AFTER_WAIT = window("callback-after-wait", 60, "a server goes on trying after the waiter has gone")
NFS_PORT = 2049
LOOKED_INTO = 64  # port look-ups, and connections, that were tried for one waiter
T = TypeVar("T")


class Silence(NamedTuple):
    """A stretch in which a waiter could have been served and was not called."""

    free: Free
    shown: str  # what shows that the range was free
    confidence: Confidence

    def due(self, s: Sessions) -> int:
        """When a waiter that still waits has waited for long enough (ns), 0 where it waits no more."""
        return self.free.place.time + s.settings[STILL_WAITING] if self.free.how == "open" else 0

    @property
    def frames(self) -> list[int]:
        """What freed the range, what ended the stretch, who found it free."""
        freed, tested = self.free.by, self.free.tested
        return [
            *(freed.frames if freed else ()),
            self.free.end.frame,
            *(tested.frames if tested else ()),
        ]


def attempts(s: Sessions, wait: Wait, since: int) -> tuple[list[Lookup], list[Connection]]:
    """What the server did to reach a waiter: port look-ups and connections."""
    until = (wait.ended.time if wait.ended else s.end) + s.settings[AFTER_WAIT]
    server, client = wait.file.server, wait.client
    lookups = s.reboots.lookups_between(server, client, NLM, since, until)
    connections = [c for c in s.connections.attempts(server, client, since, until) if c.port != NFS_PORT]
    return _ends_of(lookups), _ends_of(connections)


def _ends_of(tried: list[T]) -> list[T]:
    """The first and the last of many: they tell as much, and a crowd of waiters shares one path."""
    return tried if len(tried) <= LOOKED_INTO else tried[: LOOKED_INTO // 2] + tried[-LOOKED_INTO // 2 :]


def silence_after(s: Sessions, wait: Wait, since: int = 0) -> Silence | None:
    """The first stretch that began after `since`, in which a waiter was due to be called and was not."""
    for free in wait.frees:
        shown = _missed(s, free) if free.by is not None and free.place.time >= since else None
        if shown is None:
            continue
        tried = free.place.time - s.settings[BEFORE_RELEASE]
        offered = any(offer.operation.call.time >= tried for offer in wait.offers)
        if not offered and not any(attempts(s, wait, tried)):
            return Silence(free, *shown)
    return None


def _missed(s: Sessions, free: Free) -> tuple[str, Confidence] | None:
    """Whether a stretch without a callback was long enough, and what shows that one was due."""
    stretch = free.end.time - free.place.time
    if stretch < s.settings[CALLBACK_WINDOW]:
        return None
    if free.how == "poll":
        return f"it got it by its own poll {seconds(stretch)} later", PROBABLE
    if free.how == "open" and (free.tested is None or stretch >= s.settings[STILL_WAITING]):
        return f"it still waits {seconds(stretch)} later, when the capture ends", PROBABLE
    if free.how in ("cancel", "unlock"):
        return f"it gave up {seconds(stretch)} later", POSSIBLE
    if free.how == "taken":
        return f"another client was given it {seconds(stretch)} later", POSSIBLE
    if free.how == "open" and free.tested is not None:
        return f"another client's TEST (frame {free.tested.call.frame}) found it free", POSSIBLE
    return None


def accepted_places(wait: Wait) -> list[tuple[int, Place]]:
    """When callbacks for a wait were sent, and where the first of these and all later ones was accepted."""
    sent = (
        (offer.operation.call.time, offer.accepted) for offer in wait.offers if offer.accepted is not None
    )
    backwards = sorted(sent, reverse=True)
    first = accumulate((place for _, place in backwards), min)
    return [(time, place) for (time, _), place in zip(backwards, first, strict=True)][::-1]


def first_after(accepted: list[tuple[int, Place]], time: int) -> Place | None:
    """Where the first of the callbacks that were sent after this was accepted."""
    at = bisect_right(accepted, time, key=itemgetter(0))
    return accepted[at][1] if at < len(accepted) else None
