"""As things stood at a time: who held, who waited and behind whom, who had what mounted.

In: a `View` and a time (None: the end of the capture). Out: sheets of locks, waits and mounts.

Theory. What is known is known from the whole capture, also what only came out later: an UNLOCK that turned
out to be refused freed nothing at any time. A lock stands at a time that its two ends enclose, on the server
and on the client each for itself, so a leak is one only from the UNLOCK on. Between a restart of the server
and the reclaim the server holds nothing.

Never: says of a time what a report of the end says, where the two differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.render import rows
from analyzer.render.said import extent, said
from analyzer.render.sheet import OF_RANGE, Cell, Sheet, of_table
from analyzer.render.times import clock
from analyzer.sessions.ranges import EOF

if TYPE_CHECKING:
    from analyzer.render.rows import Row
    from analyzer.render.view import View
    from analyzer.sessions.model import End, File, Lock, Wait

HELD = (
    Cell("lock", "int"),
    Cell("client", "host"),
    Cell("owner", "text"),
    *OF_RANGE,
    Cell("granted_time", "time", "granted"),
    Cell("granted_frame", "int", "frame"),
    Cell("state", "text"),
    Cell("heard_time", "time", "last heard"),
    Cell("waiters", "int"),
)
WAITING = (
    Cell("wait", "int"),
    Cell("client", "host"),
    Cell("owner", "text"),
    *OF_RANGE,
    Cell("since_time", "time", "since"),
    Cell("since_frame", "int", "frame"),
    Cell("waited", "duration"),
    Cell("polls", "int"),
    Cell("callbacks", "int"),
    Cell("behind", "list", "behind lock"),
)


LOCK_KEYS = (
    *of_table("locks"),
    Cell("state", "text"),
    Cell("heard_time", "time"),
    Cell("heard_frame", "int"),
    Cell("range", "text"),
)
WAIT_KEYS = (*of_table("waits"), Cell("behind", "list"))


class Moment:
    """The locks and waits that stand at a time."""

    def __init__(self, view: View, at: int | None) -> None:
        self.view = view
        self.time = view.sessions.end if at is None else at
        self.is_end = at is None
        self.words = "at the end" if at is None else f"at {clock(at)} UTC"
        ledger = view.sessions.ledger
        self.gaps = self._gaps()
        self.locks = [lock for lock in ledger.locks if self.state(lock) != "released"]
        self.waits = [wait for wait in ledger.waits if self._waits(wait)]
        self._by_file: dict[File, list[Lock]] = {}
        for lock in self.locks:
            self._by_file.setdefault(lock.file, []).append(lock)

    # -- what stands ----------------------------------------------------------------------------

    def state(self, lock: Lock) -> str:
        """held by both, leak (server only), lost (client only) or released, then."""
        served, believed = self.is_served(lock), self._is_believed(lock)
        if served:
            return "held" if believed else "leak"
        return "lost" if believed else "released"

    def is_served(self, lock: Lock) -> bool:
        """Whether the server holds it then."""
        if lock.granted.time > self.time or not self._before(lock.server_end):
            return False
        return not any(begin <= self.time < end for begin, end in self.gaps.get(lock, ()))

    def _is_believed(self, lock: Lock) -> bool:
        return lock.believed is not None and lock.believed.time <= self.time and self._before(lock.client_end)

    def _before(self, end: End | None) -> bool:
        return end is None or (not self.is_end and self.time < end.time)

    def _waits(self, wait: Wait) -> bool:
        return wait.since.time <= self.time and self._before(wait.ended)

    def _gaps(self) -> dict[Lock, list[tuple[int, int]]]:
        """From each restart that took a lock to the reclaim that brought it back."""
        reboots = self.view.sessions.reboots
        taken = [(notice.place.time, notice.freed) for notice in reboots.notices if notice.role == "server"]
        taken += [(grace.begin.time, grace.held) for grace in reboots.graces]
        gaps: dict[Lock, list[tuple[int, int]]] = {}
        for time, locks in taken:
            for lock in locks:
                back = [a.time for o in lock.reclaimed for a in o.answers if a.time > time]
                if back:
                    gaps.setdefault(lock, []).append((time, min(back)))
        return gaps

    def in_way(self, wait: Wait) -> list[Lock]:
        """What the server holds that keeps a waiter waiting."""
        return [
            lock
            for lock in self._by_file.get(wait.file, ())
            if lock.owner is not wait.owner
            and lock.start <= wait.end
            and lock.end >= wait.start
            and (lock.exclusive or wait.exclusive)
            and self.is_served(lock)
        ]

    # -- sheets ---------------------------------------------------------------------------------

    def held(self, quiet: bool = False) -> Sheet:
        """Who holds what; where nobody does, a quiet sheet says nothing."""
        none = "" if quiet else f"No locks {self.words}."
        note = "A svid is no process id on Linux: its clients count their lock owners."
        return Sheet("locks", f"Locks {self.words}", HELD, list(self._held()), none, note, LOCK_KEYS)

    def waiting(self, quiet: bool = False) -> Sheet:
        """Who waits behind whom."""
        none = "" if quiet else f"Nobody waits {self.words}."
        return Sheet("waits", f"Waits {self.words}", WAITING, list(self._waiting()), none, "", WAIT_KEYS)

    def _held(self) -> Iterator[Row]:
        waiters: dict[Lock, int] = {}
        for wait in self.waits:
            for lock in self.in_way(wait):
                waiters[lock] = waiters.get(lock, 0) + 1
        standing = {lock.number: lock for lock in self.locks}
        hosts = self.view.sessions.hosts
        for row in rows.locks(self.view, lambda lock: lock.number in standing):
            lock = standing[row["lock"]]
            frame, time = hosts.last_seen(lock.client)
            yield said(row) | {
                "range": self._left(lock),
                "state": self.state(lock),
                "heard_time": time or None,
                "heard_frame": frame or None,
                "waiters": waiters.get(lock, 0),
            }

    def _left(self, lock: Lock) -> str:
        """The bytes of a lock; at the end, those that no UNLOCK of a part took away."""
        pieces = lock.file.pieces(lock) if self.is_end else []
        return ", ".join(_extent(*piece) for piece in pieces or [(lock.start, lock.end)])

    def _waiting(self) -> Iterator[Row]:
        standing = {id(wait) for wait in self.waits}
        waits = self.view.sessions.ledger.waits
        for row in rows.waits(self.view, lambda wait: id(wait) in standing):
            wait = waits[row["wait"]]
            yield said(row) | {
                "waited": self.time - row["since_time"],
                "polls": sum(poll.call.time <= self.time for poll in wait.polls),
                "callbacks": sum(o.operation.call.time <= self.time for o in wait.offers),
                "behind": [lock.number for lock in self.in_way(wait)],
            }


def _extent(start: int, end: int) -> str:
    return extent(start, None if end == EOF else end).removeprefix("bytes ")
