"""The loop of a live capture: read, look, tell.

In: a stream of capture bytes that goes on. Out: entries as findings become provable and when they are
resolved; the `Analysis` at the end.

Theory. The same engine as for a file takes in what there is. Between blocks, and when nothing comes, the
rules look at what is known as if the capture ended now (`sessions.supposed`), by the clock of the packets.
A look costs more the more is known; so the next one waits at least `REST` times as long as the last one
took, and longer while there is much left to read: nothing is lost for the sake of being early.

Never: waits for packets; keeps what `retention` drops.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from analyzer.capture.reader import Reader
from analyzer.engine import Analysis, Engine, capture_info
from analyzer.findings.catalogue import Key, judge
from analyzer.findings.rule import Finding
from analyzer.render.view import Filters
from analyzer.sessions.operations import LATELY
from analyzer.sessions.retention import Retention
from analyzer.sessions.supposed import as_if_over
from analyzer.sessions.world import Sessions
from analyzer.watch.clock import Clock
from analyzer.watch.diary import Diary, Entry
from analyzer.watch.ports import Ports
from analyzer.watch.pump import Pump
from analyzer.watch.relay import Place, cut, last_packet, seam

LOOK = 0.25  # seconds from one look of the rules to the next
REST = 2  # a look takes a third of the time at most
BEHIND = 8 << 20  # bytes unread from which reading comes first,
LATEST = 5.0  # but a look must not wait longer than this
FORGET = 10.0  # seconds from one forgetting to the next
COLLECT = 120.0  # ... from one search for garbage in circles to the next
HOUR = 3600 * 1_000_000_000  # ns


Found = list[tuple[Key, Finding]]


@dataclass(slots=True)
class Pace:
    """How fast packets come."""

    packets: int = 0
    since: float = 0.0
    rate: float = 0.0  # packets a second, over the last second or so

    def note(self, packets: int, now: float) -> None:
        """So many packets up to now."""
        if now - self.since >= 1:
            self.rate = (packets - self.packets) / (now - self.since)
            self.packets, self.since = packets, now


class Watch:
    """A live capture being analysed."""

    def __init__(
        self,
        stream: Pump,
        engine: Engine,
        filters: Filters | None = None,
        drops: Callable[[], int] = int,
        remember: int = HOUR,
    ) -> None:
        self.engine = engine
        self.retention = Retention(remember)
        self._filters = filters or Filters()
        floor = engine.front.room.floors[0]
        self.reader = Reader(stream, engine.memory, floor, engine.compiled, engine.faults)
        self.diary = Diary()
        self.pace = Pace(since=monotonic())
        self.cost = 0.0  # seconds the last look took
        self.analysis: Analysis | None = None  # at the end
        self.tells_drops: Callable[[], bool] = bool  # whether drops are known before the end
        self.ports: Ports | None = None  # those that the capture filter follows
        self._last: Place | None = None  # the last packet
        self._overlap: Place | None = None  # the last packet of the part before this one
        self._doubled = 0  # packets that came twice where one part overlaps another
        self._stream = stream
        self._drops = drops  # packets that the capturing program says it lost
        self._drops_told = self._drops_told_at = 0  # how many when the sessions were told, and when
        self._clock = Clock()
        self._next = self._latest = monotonic()
        self._next_forget = self._next + FORGET
        self._next_collection = self._next + COLLECT

    @property
    def sessions(self) -> Sessions:
        """What is known now."""
        return self.engine.sessions

    @property
    def now(self) -> int:
        """The time of the capture, ns since the epoch."""
        return max(self.sessions.end, self._clock.now())

    @property
    def packets(self) -> int:
        """Packets that came, each once."""
        return self.reader.frames - self._doubled

    @property
    def source(self) -> str:
        """What is watched."""
        return self._stream.path

    @property
    def behind(self) -> int:
        """Bytes that came and were not read yet."""
        return self._stream.waiting

    @property
    def drops(self) -> int:
        """Packets that were lost before they came here, as far as anybody says so."""
        return max(self._drops(), self.reader.drops)

    def entries(self) -> Iterator[list[Entry]]:
        """What is new after each look, often nothing; ends when the capture does, which may be far away."""
        while not self.reader.ended:
            rows = self.reader.read_block(self.engine.packets)
            if rows := self._news(rows):
                self.engine.feed(rows)
                self._clock.packets(self.sessions.end)
            now = monotonic()
            self.pace.note(self.packets, now)
            if now >= self._next and (self._stream.waiting < BEHIND or now >= self._latest):
                yield self._look(now)
        yield self._end()

    def begin_part(self, _name: str) -> None:
        """What comes now begins before what came up to now ended."""
        self._overlap = self._last
        self.reader.last_time = None  # packets of the overlap are no clock that goes backwards

    def _news(self, rows: int) -> int:
        """How many packets are left of a block without those that were seen before."""
        memory, packets = self.engine.memory, self.engine.packets
        if rows and self._overlap is not None:
            last = self._overlap
            if int(packets.time[rows - 1]) > last.time:
                self._overlap = None
            first = seam(memory, packets, rows, last)
            rows = cut(packets, rows, first)
            self._doubled += first
        if rows:
            packets.frame[:rows] -= self._doubled
            self._last = last_packet(memory, packets, rows)
        return rows

    def _look(self, begin: float) -> list[Entry]:
        """What can be said by now?"""
        found: Found = []
        now = self.now
        if now:
            self.engine.tell()
            self._tell_drops(now)
            with as_if_over(self.sessions, now):
                found = self._wanted(judge(self.sessions, goes_on=True))
        entries = self.diary.note(found, now, self.retention.known_since)
        if begin >= self._next_forget:
            self.retention.forget(self.sessions, now)
            self.engine.records.forget(now - LATELY)
            self._next_forget = begin + FORGET
            if begin >= self._next_collection:
                gc.collect()  # left to itself it would look through all that is kept far too often, or never
                self._next_collection = begin + COLLECT
        end = monotonic()
        self.cost = end - begin
        self._next = end + max(LOOK, REST * self.cost)
        self._latest = end + LATEST
        return entries

    def _end(self) -> list[Entry]:
        """The capture is over: the last word, the same as that of `analyze`."""
        now, engine = self.now, self.engine
        engine.finish(now)
        self._tell_drops(now)
        found = judge(engine.sessions)
        health = engine.health()
        health.dropped_by_capture = self.drops
        info = capture_info(self._stream.path, self.reader)
        info.packets = self.packets
        entries = self.diary.note(self._wanted(found), now, self.retention.known_since, patience=0)
        self.analysis = Analysis([info], health, engine.counts(), self.diary.told(found), engine.sessions)
        return entries

    def _tell_drops(self, now: int) -> None:
        """Tell the sessions when packets were lost: since it was last known that none was."""
        s, drops = self.sessions, self.drops
        if drops > self._drops_told:
            since = self._drops_told_at or s.start
            if s.drop_spans and s.drop_spans[-1][1] == since:  # and on they go
                since, _ = s.drop_spans.pop()
            s.drop_spans.append((since, now))
        if drops > self._drops_told or self.tells_drops():
            self._drops_told, self._drops_told_at = drops, now

    def _wanted(self, found: Found) -> Found:
        """What the user chose to hear of."""
        return [(key, finding) for key, finding in found if self._filters.wants(finding)]
