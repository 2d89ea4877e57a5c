"""A capture that arrives piece by piece, as its packets were sent.

In: a capture file. Out: a stream whose bytes come up to a time that the test sets, and no further.

Never: waits.
"""

from __future__ import annotations

import struct
from pathlib import Path

from analyzer.capture.reader import Reader
from analyzer.engine import Engine
from analyzer.front import ARENA
from tests.watch.replay import frames

SECOND = 1_000_000_000
HEAD = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)


class Stepped:
    """A stream of a classic pcap with ns, which stops where the test says."""

    waiting = 0

    def __init__(self, capture: Path) -> None:
        self.path = "-"
        self.damage: str | None = None
        self.cut_short = False
        self.packets = frames(str(capture))
        self.begin, self.end = self.packets[0][0], max(time for time, _ in self.packets)
        self.over = False
        self._bytes = bytearray(HEAD)
        self._sent = self._given = 0

    def until(self, time: int) -> bytes:
        """Let packets come up to this time, in their order; the whole capture up to here."""
        while self._sent < len(self.packets) and self.packets[self._sent][0] <= time:
            at, data = self.packets[self._sent]
            self._bytes += struct.pack("<IIII", *divmod(at, SECOND), len(data), len(data)) + data
            self._sent += 1
        self.over = self._sent == len(self.packets)
        return bytes(self._bytes)

    def readinto(self, view: memoryview) -> int | None:
        """What has come."""
        count = min(len(view), len(self._bytes) - self._given)
        if not count:
            return 0 if self.over else None
        view[:count] = self._bytes[self._given : self._given + count]
        self._given += count
        return count


class Paced(Stepped):
    """A stream that lets a stretch of time pass whenever it is asked for more than there is."""

    def __init__(self, capture: Path, step: int) -> None:
        super().__init__(capture)
        self._step = step
        self.now = self.begin

    def readinto(self, view: memoryview) -> int | None:
        """What has come; where nothing is left, time goes on."""
        count = super().readinto(view)
        if count is None:
            self.now += self._step
            self.until(self.now)
        return count


class Fed:
    """An engine that is fed up to a time."""

    def __init__(self, capture: Path) -> None:
        self.stream = Stepped(capture)
        self.engine = Engine(compiled=False)
        self.reader = Reader(self.stream, self.engine.memory, ARENA, False, self.engine.faults)

    def until(self, time: int) -> bytes:
        """Feed packets up to this time; the whole capture up to here."""
        capture = self.stream.until(time)
        while rows := self.reader.read_block(self.engine.packets):
            self.engine.feed(rows)
        return capture
