"""Writes under the lock of another client.

In: WRITEs and truncations of files that others lock, and how they ended. Out: `Intrusion`s.

Theory. NLM locks are advisory: the server lets everybody write. A write counts where an exclusive lock of
another client stood when it was called and still stood when it was answered well, for the call may be carried
out at any time between. Clients write in pages: where the written range leaves the locked one, up to a page
at either end may be bytes that nobody changed (a Linux client fills its page up). A client that has, or just
had, a lock of its own there is not an intruder: its cache may still be on its way.

Never: names a fault; a program may mean to write without a lock.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from analyzer.parameters import Settings, threshold, window
from analyzer.records.events import Done, Io
from analyzer.sessions.kept import Kept
from analyzer.sessions.ledger import Ledger
from analyzer.sessions.model import File, Lock
from analyzer.sessions.ranges import EOF
from analyzer.sessions.settled import Settled

PAGE = threshold("page", 4096, "bytes", "clients may write whole pages, whatever was changed in them")
WRITE_BACK = window("write-back", 30, "a Linux client has written what it changed (dirty_expire_centisecs)")
OPEN_KEPT = 4096
FRAMES_KEPT = 16


@dataclass(slots=True, eq=False)
class Intrusion:
    """What one client wrote while another one held a lock."""

    lock: Lock
    client: int
    first: Io
    last: Io
    frames: list[int]
    count: int = 0


class Intrusions:
    """Matches writes with the locks they were made under."""

    def __init__(self, ledger: Ledger, settled: Settled, settings: Settings) -> None:
        self.ledger = ledger
        self.settled = settled
        self.settings = settings
        self.found: Kept[Intrusion] = Kept()
        self._by_pair: dict[tuple[int, int], Intrusion] = {}
        self._open: OrderedDict[int, tuple[Io, list[Lock]]] = OrderedDict()

    def wrote(self, io: Io) -> None:
        """A client wrote to a file that others lock."""
        file = self.ledger.files.get(self.ledger.handles.canonical(io.fh))
        if file is None or not file.held:
            return
        locks = _in_the_way(file, io, self.settings[PAGE])
        write_back = self.settings[WRITE_BACK]
        lately = io.time - self.settled.until(io.client, file) < write_back  # whatever bytes that were
        if locks and not lately and not _entitled(file, io, write_back):
            self._open[io.serial] = (io, locks)
            if len(self._open) > OPEN_KEPT:
                self._open.popitem(last=False)

    def done(self, answer: Done) -> None:
        """A write was answered."""
        io, locks = self._open.pop(answer.serial, (None, []))
        if io is None or answer.status != 0:
            return
        for lock in locks:
            if lock.server_end is None and lock.client_end is None:
                self._keep(lock, io, answer.frame)

    def forget(self, limit: int) -> None:
        """What is older than `limit` is no longer added to."""
        self._by_pair = {pair: found for pair, found in self._by_pair.items() if found.last.time >= limit}

    def _keep(self, lock: Lock, io: Io, frame: int) -> None:
        key = (lock.number, io.client)
        found = self._by_pair.get(key)
        if found is None:
            found = Intrusion(lock, io.client, io, io, [])
            self.found.append(found)
            if len(self._by_pair) < self.found.limit:
                self._by_pair[key] = found
        found.last = io
        found.count += 1
        if len(found.frames) < FRAMES_KEPT:
            found.frames += (io.frame, frame)


def _last_byte(io: Io) -> int:
    """The last byte touched: a truncation reaches to the end of the file."""
    return EOF if io.kind == "SETATTR" else io.offset + max(io.count, 1) - 1


def _in_the_way(file: File, io: Io, page: int) -> list[Lock]:
    """Exclusive locks of others, in force on both sides, on bytes that were surely written."""
    first, last = io.offset, _last_byte(io)
    inner = (first, last) if io.kind == "SETATTR" else (first + page - 1, last - page + 1)

    def hit(low: int, high: int) -> bool:
        within = low <= first and last <= high
        return within or (inner[0] <= inner[1] and low <= inner[1] and high >= inner[0])

    return [
        lock
        for lock in file.held.overlapping(first, last)
        if lock.client != io.client
        and lock.exclusive
        and lock.believed is not None
        and lock.client_end is None
        and any(hit(*piece) for piece in file.pieces(lock))
    ]


def _entitled(file: File, io: Io, write_back: int) -> bool:
    """Whether the writer has a lock on these bytes, or had one until a moment ago."""
    first, last = io.offset, _last_byte(io)
    if any(lock.client == io.client for lock in file.believed.overlapping(first, last)):
        return True
    return any(
        owner.client == io.client and unlock.start <= last and unlock.end >= first
        for owner, unlocks in file.unlocks.items()
        for unlock in unlocks[-1:]
        if io.time - unlock.call.time < write_back
    )
