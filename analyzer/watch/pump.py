"""Bytes of a capture that is still being made, without waiting for more of them than there are.

In: something that opens what is read. Out: a `Stream` whose `readinto` gives up after a while.

Theory. Somebody must read a pipe while findings are made, or the capturing program falls behind and the
kernel drops packets: so a thread reads, and keeps what came until it is asked for. Packets that come one by
one are handed over together, a tick's worth at a time, for a block of one packet costs as much as one of
hundreds. The bytes that tell the format come first, and whole.

Never: keeps more than `MOST_WAITING` bytes (then the pipe fills, and its writer counts what it drops).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import Condition, Thread
from typing import Protocol

from analyzer.capture.pcap import HEADER
from analyzer.errors import AnalyzerError

Begun = deque[tuple[int, str]]
"""Names of files, and the offset in the stream at which each begins."""

MOST_WAITING = 64 << 20
PIECE = 1 << 20
ENOUGH = 4 << 20  # bytes that are worth a block at once
TICK = 0.1  # seconds


class Opened(AbstractContextManager["Opened"], Protocol):
    """What is pumped."""

    damage: str | None
    cut_short: bool

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view`, waiting for what comes; 0 at the end."""
        ...


class Pump:
    """A stream of bytes that arrive when they do."""

    def __init__(self, path: str, opened: Callable[[], Opened], begun: Begun | None = None) -> None:
        """`begun`: files that follow each other in the stream; none is mixed with the next."""
        self.path = path
        self.damage: str | None = None
        self.cut_short = False
        self.at_end = False  # the source has no more
        self.on_file: Callable[[str], object] = str  # told when a file begins, before its first byte is given
        self._begun: Begun = deque() if begun is None else begun
        self._given = 0
        self._opened = opened
        self._pieces: deque[memoryview] = deque()
        self._waiting = 0
        self._least = HEADER
        self._ended = False
        self._error: AnalyzerError | None = None
        self._change = Condition()
        Thread(target=self._work, name="lockscope-pump", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Bytes that were read and not yet asked for."""
        return self._waiting

    def readinto(self, view: memoryview) -> int | None:
        """Fill the front of `view`: how many bytes, 0 at the end, None where nothing came."""
        with self._change:
            self._change.wait_for(lambda: self._waiting >= ENOUGH or self._ended, TICK)
            if self._error is not None:
                raise self._error
            if self._waiting < self._least and not self._ended:
                return None
            self._least = 1
            filled = self._take(view)
            self._change.notify_all()
            return filled

    def _take(self, view: memoryview) -> int:
        while self._begun and self._begun[0][0] == self._given and self._waiting:
            self.on_file(self._begun.popleft()[1])
        room = min(len(view), self._begun[0][0] - self._given) if self._begun else len(view)
        filled = 0
        while self._pieces and filled < room:
            piece = self._pieces.popleft()
            count = min(len(piece), room - filled)
            view[filled : filled + count] = piece[:count]
            filled += count
            if count < len(piece):
                self._pieces.appendleft(piece[count:])
        self._waiting -= filled
        self._given += filled
        return filled

    def stop(self) -> None:
        """Read no more; what was read is still handed over."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def _work(self) -> None:
        try:
            with self._opened() as source:
                buffer = memoryview(bytearray(PIECE))
                while not self._ended:
                    count = source.readinto(buffer)
                    if not count:
                        self.at_end = True
                        break
                    self._keep(bytes(buffer[:count]))
                self.damage, self.cut_short = source.damage, source.cut_short
        except AnalyzerError as error:
            self._error = error
        self.stop()

    def _keep(self, data: bytes) -> None:
        with self._change:
            self._pieces.append(memoryview(data))
            self._waiting += len(data)
            if self._waiting >= ENOUGH:
                self._change.notify_all()
            self._change.wait_for(lambda: self._waiting < MOST_WAITING or self._ended)
