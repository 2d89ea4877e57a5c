"""An interface captured by one child after another, as one stream.

In: an interface, a filter, later another one. Out: a stream for a `Pump`; the names of the parts of which it
consists, and how much was dropped in all.

Theory. A capture program keeps the filter it was started with. So for another filter another one is started
beside it; when that one captures, and the kernel has handed over what it had for the first, the first is told
to stop, read to its end, and the second one read from its beginning. Both saw what passed meanwhile, which
shows twice; `seam` finds where the second one goes on from the first. What the new filter lets through and
the old one did not begins there, too.

A part begins as a file does: pcapng may hold several sections, and of a pcap the header is skipped.

Never: stops a child before another one captures; takes over from one that nobody told to stop.
"""

from __future__ import annotations

import time
from threading import Lock, Thread
from typing import NamedTuple, Self

import numpy as np

from analyzer.capture.source import Source
from analyzer.tables import Bytes, Packets
from analyzer.watch.pump import Begun
from analyzer.watch.tool import Child, Tool

LINGER = 0.5  # seconds in which the kernel hands over what it has: a capture program does not ask for it
AT_ONCE = 1_000_000  # ns within which two sockets are shown the same packet


class Relay:
    """The children that capture an interface, one after the other."""

    def __init__(self, tool: Tool, interface: str, capture_filter: str | None, begun: Begun) -> None:
        self.damage: str | None = None
        self.cut_short = False
        self.failed: str | None = None  # why a child for another filter could not be had
        self._tool = tool
        self._interface = interface
        self._begun = begun
        self._given = 0
        self._gone = 0  # packets dropped by those that stopped
        self._child = self._started(capture_filter)
        self._source: Source | None = None
        self._next: Child | None = None
        self._changing = False
        self._asked = False
        self._lock = Lock()

    def _started(self, capture_filter: str | None) -> Child:
        return Child(self._tool, self._interface, self._tool.command(self._interface, capture_filter))

    # -- another filter -------------------------------------------------------------------------

    def change(self, capture_filter: str | None) -> bool:
        """Capture with this filter from soon on; False where a change is under way, or did not go."""
        if self._changing or self._asked or self.failed is not None:
            return False
        self._changing = True
        Thread(target=self._change, args=(capture_filter,), name="lockscope-relay", daemon=True).start()
        return True

    def _change(self, capture_filter: str | None) -> None:
        follower = self._started(capture_filter)
        if not follower.ready():
            follower.stop()
            follower.wait()
            self.failed = follower.trouble or f"{self._tool.name} does not start"
            self._changing = False
            return
        time.sleep(LINGER)
        with self._lock:
            self._next = follower
            self._child.stop()
            if self._asked:
                follower.stop()

    def _take_over(self) -> bool:
        """Go on with the next child, where there is one."""
        with self._lock:
            follower, self._next = self._next, None
            if follower is None:
                return False
            self._child.wait()
            self._gone += self._child.drops
            self._child, self._source = follower, follower.source()
            self._changing = False
        _skip(self._source, self._tool.header)
        self._begun.append((self._given, "relay"))
        return True

    # -- what is pumped -------------------------------------------------------------------------

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view`; 0 at the end of the last child."""
        while self._source is not None:
            count = self._source.readinto(view)
            if count:
                self._given += count
                return count
            if not self._take_over():
                break
        return 0

    def __enter__(self) -> Self:
        self._source = self._child.source()
        return self

    def __exit__(self, *_: object) -> None:
        if self._source is not None:
            self._source.close()
            self.damage, self.cut_short = self._source.damage, self._source.cut_short

    # -- what is run ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask all to stop."""
        with self._lock:
            self._asked = True
            for child in (self._child, self._next):
                if child is not None:
                    child.stop()

    def wait(self) -> None:
        """Wait until all are gone."""
        with self._lock:
            children = [child for child in (self._child, self._next) if child is not None]
        for child in children:
            child.wait()

    def ask_drops(self) -> None:
        """Find out how many packets were dropped."""
        self._child.ask_drops()

    @property
    def tells_drops(self) -> bool:
        """Whether they are known while it runs."""
        return self._child.tells_drops

    @property
    def drops(self) -> int:
        """Packets that they say were lost."""
        return self._gone + self._child.drops

    @property
    def trouble(self) -> str | None:
        """Why it ended, where nobody asked it to."""
        return None if self._asked else self._child.trouble


def _skip(source: Source, count: int) -> None:
    """Step over the first bytes."""
    while count and (read := source.readinto(memoryview(bytearray(count)))):
        count -= read


class Place(NamedTuple):
    """The last packet of a part."""

    time: int
    data: bytes


def last_packet(memory: Bytes, packets: Packets, rows: int) -> Place:
    """The last of these packets."""
    row = rows - 1
    return Place(int(packets.time[row]), memory[int(packets.start[row]) : int(packets.stop[row])].tobytes())


def seam(memory: Bytes, packets: Packets, rows: int, last: Place) -> int:
    """How many of the first of these packets were seen when the part before ended with `last`.

    Where the packet itself is not among them, its time decides.
    """
    apart = np.abs(packets.time[:rows] - last.time)
    same = [
        row
        for row in np.flatnonzero(apart <= AT_ONCE).tolist()
        if memory[int(packets.start[row]) : int(packets.stop[row])].tobytes() == last.data
    ]
    if same:
        return min(same, key=lambda row: int(apart[row])) + 1
    earlier = np.flatnonzero(packets.time[:rows] <= last.time)
    return int(earlier[-1]) + 1 if len(earlier) else 0


def cut(packets: Packets, rows: int, first: int) -> int:
    """Leave the first packets of a table out; how many are left."""
    for column in packets:
        column[: rows - first] = column[first:rows]
    return rows - first
