"""The front of the river: packets to paired RPC messages, block by block.

In: blocks of packets that lie in memory. Out: `Delivery`s: messages, and what else happened on the wire.

Theory. Nearly all the work here is done by kernels, which leave the interpreter free, and nearly all
behind it is Python. So the front may run one delivery ahead, in a thread. For that everything a delivery
refers to exists twice: the region of memory that a block is read into, the table of messages, the slots
of packets made of fragments, and the halves of the arena. What belongs to a delivery stays as it is until
the next but one is asked for; that is all the two sides need to know of each other (`Ahead`).

Never: decodes a body.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import NamedTuple, TypeVar

import numpy as np

from analyzer.capture.merge import Room, slots_for
from analyzer.faults import Faults
from analyzer.frames.dissector import Dissector
from analyzer.frames.fragments import ROOM, new_fragments
from analyzer.messages.assembler import Assembler
from analyzer.messages.row import new_messages
from analyzer.protocols import HEAD_ONLY
from analyzer.records.events import Control, Event, Hole, Repeat, Unreachable
from analyzer.tables import Controls, Hosts, Messages, Notices, Packets, Segments, new_table

ARENA = 24 << 20  # bytes that outlive a block: unfinished records, early segments, open calls
BLOCK = 8 << 20
FLOOR = ARENA + ROOM  # between them: packets made of fragments
ROWS = 1 << 16
CONTROL_ROWS = 1 << 14
MOST_FLOWS = 1 << 18
STEPS_AHEAD = 2  # deliveries at once: one looked at, one being made
SWITCH = 0.0005  # seconds until a thread that computes in Python lets the other one go on

T = TypeVar("T")


class Delivery(NamedTuple):
    """What became of some packets."""

    messages: Messages
    rows: int
    events: list[Event]  # connections, retransmissions, holes: in no order with the messages
    hosts: Hosts
    forgotten: list[int]  # flow rows that mean another flow from here on
    start: int  # times of the first and last packet
    end: int
    last_frame: int


class Front:
    """Dissector and assembler with their tables. Packets are read into `memory[FLOOR:]`."""

    def __init__(
        self, compiled: bool, faults: Faults, regions: int = 1, captures: int = 1, flows: int = MOST_FLOWS
    ) -> None:
        self.faults = faults
        slots, size = slots_for(captures, BLOCK)
        self.memory = np.zeros(FLOOR + regions * slots * size, np.uint8)
        self.room = Room([FLOOR + i * slots * size for i in range(regions)], slots, size)
        self.packets = new_table(Packets, ROWS)
        self._segments = new_table(Segments, ROWS)
        self._controls = new_table(Controls, CONTROL_ROWS)
        self._notices = new_table(Notices, CONTROL_ROWS)
        self._messages = [new_messages(ROWS), new_messages(ROWS)]
        self.dissector = Dissector(compiled, faults, new_fragments(ARENA), max_flows=flows, captures=captures)
        self.assembler = Assembler(
            compiled, faults, self.memory, ARENA, self.dissector.flows, np.array(HEAD_ONLY, np.int64)
        )
        self._end = 0
        self._last_frame = 0

    def block(self, rows: int, packets: Packets | None = None) -> Iterator[Delivery]:
        """What becomes of the first `rows` packets of `packets`; at least one delivery."""
        if packets is not None:
            self.packets = packets
        times = self.packets.time[:rows]
        start, self._end = int(times[0]), int(times.max())
        self._last_frame = int(self.packets.frame[rows - 1])
        row = 0
        while row < rows:
            row = yield from self._feed(row, rows, start)

    def _feed(self, row: int, rows: int, start: int) -> Generator[Delivery, None, int]:
        """What becomes of packets `row` to `rows`, as far as one feed takes them."""
        row, segments, controls, notices = self.dissector.feed(
            self.memory, self.packets, row, rows, self._segments, self._controls, self._notices
        )
        forgotten, self.dissector.forgotten = self.dissector.forgotten, []
        self.assembler.forget(forgotten)
        self.assembler.flows = self.dissector.flows
        events = [*self._control_events(controls), *self._notice_events(notices)]
        at, last = 0, False
        while not last:
            messages = self._turn()
            at, count = self.assembler.feed(self.memory, self._segments, at, segments, messages)
            last = at >= segments
            if last:
                events += self._stream_events()
            yield self._delivery(messages, count, events if last else [], forgotten, start)
            forgotten = []
        self.assembler.end_block()
        return row

    def finish(self) -> Iterator[Delivery]:
        """What was still waiting when the capture ended."""
        while self.dissector.finish():
            yield from self._feed(0, 0, self._end)
        self.assembler.flows = self.dissector.flows
        while True:
            messages = self._turn()
            count = self.assembler.finish(messages)
            yield self._delivery(messages, count, [], [], self._end)
            if not count:
                return

    def _turn(self) -> Messages:
        """The table of messages that the last delivery does not hold."""
        self._messages.reverse()
        return self._messages[0]

    def _delivery(
        self, messages: Messages, count: int, events: list[Event], forgotten: list[int], start: int
    ) -> Delivery:
        hosts = self.dissector.hosts
        return Delivery(messages, count, events, hosts, forgotten, start, self._end, self._last_frame)

    def _control_events(self, count: int) -> Iterable[Event]:
        flows, c = self.dissector.flows, self._controls
        for i in range(count):
            flow, side = int(c.flow[i]), int(c.side[i])
            near = (int(flows.host0[flow]), int(flows.port0[flow]))
            far = (int(flows.host1[flow]), int(flows.port1[flow]))
            (src, sport), (dst, dport) = (near, far) if side == 0 else (far, near)
            yield Control(
                int(c.frame[i]), int(c.time[i]), flow, side, int(c.flags[i]), src, dst, sport, dport
            )

    def _notice_events(self, count: int) -> Iterable[Event]:
        n = self._notices
        for i in range(count):
            yield Unreachable(*(int(column[i]) for column in n))

    def _stream_events(self) -> Iterable[Event]:
        for row in zip(*(column.tolist() for column in self.assembler.repeats), strict=True):
            yield Repeat(*row)
        for row in zip(*(column.tolist() for column in self.assembler.holes), strict=True):
            yield Hole(*row)


class Ahead(Iterator[T]):
    """`items`, made in a thread while the one before is looked at, the first ones from now on.

    The next but one is begun only when the consumer is done with an item, that is, asks for another.
    What `items` raises is raised here. To be closed.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._done: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()
        self._free = Semaphore(STEPS_AHEAD)
        self._stopped = False
        self._is_out = False  # whether the consumer has an item
        self._thread = Thread(target=self._work, name="lockscope-front", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while self._free.acquire() and not self._stopped:
                item = next(self._items)
                self._done.put(([item], None))
        except StopIteration:
            self._done.put(([], None))
        except BaseException as error:  # noqa: BLE001 (raised again by the consumer)
            self._done.put(([], error))

    def __next__(self) -> T:
        """The next item."""
        if self._is_out:
            self._is_out = False
            self._free.release()
        got, error = self._done.get()
        if error is not None:
            raise error
        if not got:
            self._done.put(([], None))  # so it is asked again
            raise StopIteration
        self._is_out = True
        return got[0]

    def close(self) -> None:
        """No more items are wanted; the one in the making is waited for."""
        self._stopped = True
        self._free.release()
        self._thread.join()


@contextmanager
def quick_switches() -> Iterator[None]:
    """A kernel that is done must not wait 5 ms for the interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
