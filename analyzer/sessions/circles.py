"""Circles of waits: owners that wait for each other.

In: the ledger and a wait that has just begun. Out: the circle it closes, if it does.

Theory. A wait points at the owners of the locks in its way; an owner that waits itself points on. Only a new
wait can close a circle, so the search starts there, and goes from wait to wait through what stands in the way
now. An owner is known by the same key for all files of a server. What is granted, given up or released opens
the circle: it stood from its closing to the first end of one of its waits and locks.

Never: says that the owners are stuck; threads of one process share an owner.
"""

from __future__ import annotations

from dataclasses import dataclass

from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import Lock, Owner, Place, Wait

LONGEST = 16  # owners in a circle, and locks in the way of one wait: more are not looked at


@dataclass(slots=True, eq=False)
class Circle:
    """Waits of which each is behind a lock of the next one's owner."""

    waits: list[Wait]
    locks: list[Lock]  # the lock in the way of each
    closed: Place

    def stood(self, until: int) -> int:
        """How long it lasted, ns, at most to `until`."""
        ends = [wait.ended for wait in self.waits] + [lock.server_end for lock in self.locks]
        return min([until, *(end.time for end in ends if end is not None)]) - self.closed.time


def circle_of(ledger: Ledger, wait: Wait, place: Place) -> Circle | None:
    """The circle that a new wait closes."""
    seen: set[Owner] = set()

    def onward(at: Wait, path: list[tuple[Wait, Lock]]) -> list[tuple[Wait, Lock]] | None:
        in_way = at.file.held.conflicts(at.owner, at.start, at.end, at.exclusive)
        for lock in in_way[:LONGEST]:
            step = [*path, (at, lock)]
            if lock.owner is wait.owner:
                return step
            if lock.owner in seen or len(step) >= LONGEST:
                continue
            seen.add(lock.owner)
            for following in ledger.waiting.of_owner(lock.owner):
                found = onward(following, step)
                if found is not None:
                    return found
        return None

    found = onward(wait, [])
    return Circle([w for w, _ in found], [lock for _, lock in found], place) if found else None
