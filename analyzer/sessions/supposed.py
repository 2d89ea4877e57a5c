"""What would be known if the capture ended now.

In: sessions that go on, and a time. Out: the same sessions, as they would stand at the end, for a while.

Theory. Rules look at sessions that are over: an UNLOCK that was never answered stands as unanswered, a wait
that lasts is one that lasted to the end. A live capture has no end, so every look at it supposes one and
takes it back afterwards, exactly: what comes next finds the ledgers as the packets left them. So a live
capture and `analyze` on what it has seen up to now say the same.

Never: feeds anything while it supposes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import End, File, Lock, Owner, Place
from analyzer.sessions.operations import Operation
from analyzer.sessions.world import Sessions


@contextmanager
def as_if_over(s: Sessions, now: int) -> Iterator[None]:
    """Suppose that the capture ends now (ns since the epoch; never before its last packet)."""
    end, s.end = s.end, max(s.end, now)
    before = _Before(s.ledger)
    s.ledger.finish(Place(s.last_frame, s.end))
    try:
        yield
    finally:
        before.restore(s.ledger)
        s.end = end


Piece = tuple[int, int, Lock]


@dataclass(slots=True)
class _FileBefore:
    """What the end of a capture changes in a file."""

    file: File
    pending: list[Operation]
    held: dict[Owner, set[Piece]]  # of those who wait for the answer to an UNLOCK
    ends: list[tuple[Lock, End | None]]

    def restore(self) -> None:
        """Take from the server what the end gave it back."""
        self.file.pending.update(dict.fromkeys(self.pending))
        for owner, before in self.held.items():
            for start, end, lock in self.file.held.of(owner):
                if (start, end, lock) not in before:
                    self.file.held.remove(owner, start, end)
        for lock, server_end in self.ends:
            lock.server_end = server_end


def _before(file: File) -> _FileBefore:
    removed = [lock for operation in file.pending for _, _, lock in operation.removed]
    owners = {operation.owner for operation in file.pending if operation.owner is not None}
    return _FileBefore(
        file,
        list(file.pending),
        {owner: set(file.held.of(owner)) for owner in owners},
        [(lock, lock.server_end) for lock in removed],
    )


class _Before:
    """What the end of a capture changes in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._files = [_before(file) for file in ledger.files.values() if file.pending]
        self._waits = [
            (wait, wait.free_since, wait.freed_by, wait.tested, len(wait.frees))
            for wait in ledger.waits
            if wait.free_since is not None
        ]
        self._unlocks = (len(ledger.unlocks), ledger.unlocks.dropped)

    def restore(self, ledger: Ledger) -> None:
        """Take the end back."""
        for before in self._files:
            before.restore()
        for wait, free_since, freed_by, tested, frees in self._waits:
            del wait.frees[frees:]
            wait.free_since, wait.freed_by, wait.tested = free_since, freed_by, tested
        count, ledger.unlocks.dropped = self._unlocks
        del ledger.unlocks[count:]
