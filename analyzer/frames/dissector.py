"""Packets to segments: the stage, and who makes room for it.

In: `Packets`. Out: `Segments`, `Controls`, `Notices`; `Hosts` and `Flows` grow along.

Theory. One kernel walks the packets of a block and stops where a table is full; the class
around it makes room and lets it go on. Tables double up to a limit. At the limit hosts are
left out, and flows are given up, half of them at once: closed ones first, then those that
were silent longest. That happens at the start of a feed only, never while segments that name
them are on their way: `forgotten` tells which, and whoever keeps state by flow must drop it
before using the segments of that feed.

A packet put together from fragments stays in memory while the feed that told it and the one after it
are looked at; then its room is used again.

Never: looks at a packet.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from analyzer.faults import Fault, Faults, note
from analyzer.frames.copies import new_recent
from analyzer.frames.dissect import FIN_SEEN, FLOWS_FULL, HOSTS_FULL, RST_SEEN, dissect
from analyzer.frames.flows import FLOWS, HOSTS, INDEXED, NEAR, SPARE, UNUSED, Book, FlowIndex, forget_near
from analyzer.frames.fragments import DONE, FRAME, FREE, LATER_SEEN, OLDEST, READY, Fragments, leave_list
from analyzer.index import new_slots, refill
from analyzer.kernels import compiled as twin
from analyzer.tables import Bytes, Controls, Flows, Hosts, Notices, Packets, Segments, grown, new_table

FIRST_ROOM = 1 << 10  # rows that the tables begin with
BOTH_FINS = FIN_SEEN | FIN_SEEN << 1
ALL_ONES = (1 << 64) - 1


class Dissector:
    """Dissects packets, and keeps every host and flow of the run.

    `hosts[:host_count]` and `flows[:flow_count]` are the rows used so far; the times and
    frames of a host are those of packets it sent, 0 as long as `packets` is 0. `forgotten`
    collects rows of flows that were given up and may come again as other flows.
    """

    def __init__(
        self,
        compiled: bool,
        faults: Faults,
        fragments: Fragments,
        max_hosts: int = 1 << 20,
        max_flows: int = 1 << 18,
        captures: int = 1,
    ) -> None:
        self.forgotten: list[int] = []
        self._compiled = compiled
        self._faults = faults
        self._max_hosts = max_hosts
        self._max_flows = max_flows
        self._fragments = fragments
        self._told = fragments.done[:0]  # slots of the feed before
        hosts, flows = min(FIRST_ROOM, max_hosts), min(FIRST_ROOM, max_flows)
        self._book = Book(
            hosts=new_table(Hosts, hosts),
            host_slots=new_slots(hosts),
            flows=new_table(Flows, flows),
            flow_index=FlowIndex(
                key0=np.zeros(flows, np.int64),
                key1=np.zeros(flows, np.int64),
                held=np.zeros(flows, np.int8),
                spare=np.zeros(flows, np.int32),
                slots=new_slots(flows),
            ),
            near=np.zeros(NEAR * 8, np.int64),
            counts=np.zeros(3, np.int64),
            recent=new_recent(captures),
        )

    @property
    def hosts(self) -> Hosts:
        """Every address."""
        return self._book.hosts

    @property
    def flows(self) -> Flows:
        """Every flow."""
        return self._book.flows

    @property
    def host_count(self) -> int:
        """Rows of `hosts` in use."""
        return int(self._book.counts[HOSTS])

    @property
    def flow_count(self) -> int:
        """Rows of `flows` that are or were in use."""
        return int(self._book.counts[FLOWS])

    def address(self, host: int) -> str:
        """The canonical text of an address: RFC 5952, IPv4-mapped as IPv4."""
        high, low = int(self.hosts.high[host]), int(self.hosts.low[host])
        if high == 0 and low >> 32 == 0xFFFF:
            return str(ipaddress.IPv4Address(low & 0xFFFFFFFF))
        return str(ipaddress.IPv6Address((high & ALL_ONES) << 64 | low & ALL_ONES))

    def feed(
        self,
        memory: Bytes,
        packets: Packets,
        first_row: int,
        rows: int,
        segments: Segments,
        controls: Controls,
        notices: Notices,
    ) -> tuple[int, int, int, int]:
        """Dissect packets[first_row:rows]: the next row, and the rows of each output.

        Where the next row is not `rows`, an output was full or flows have to be given up:
        use what came, then feed again from there.
        """
        run = twin(dissect) if self._compiled else dissect
        # plain Python reads bytes from a memoryview twice as fast as from an array
        view: Any = memory if self._compiled else memory.data
        filled = np.zeros(3, np.int64)
        self._free_slots()
        if self._flows_in_use() >= self._max_flows:
            self._forget_flows(int(packets.frame[first_row]) if first_row < rows else 0)
        row = first_row
        while True:
            final = len(self.hosts.high) >= self._max_hosts
            row, why = run(
                view,
                packets,
                row,
                rows,
                self._book,
                segments,
                controls,
                notices,
                filled,
                final,
                self._fragments,
                self._faults,
            )
            if why == HOSTS_FULL:
                self._grow_hosts()
            elif why == FLOWS_FULL and len(self.flows.host0) < self._max_flows:
                self._grow_flows()
            else:
                return int(row), int(filled[0]), int(filled[1]), int(filled[2])

    def finish(self) -> bool:
        """No more packets come. Whether one more feed, of none, has to tell what waited."""
        slots, state = self._fragments.slots, self._fragments.state
        if int(state[READY]) >= 0:
            return True
        while (slot := int(state[OLDEST])) >= 0:
            self._call(leave_list, self._fragments, slot)
            if not state[LATER_SEEN]:
                state[READY] = slot
                return True
            note(self._faults, Fault.FRAGMENT_INCOMPLETE, int(slots[slot, FRAME]))
        return False

    def _free_slots(self) -> None:
        """Slots of the feed before the last are used again."""
        state, free = self._fragments.state, int(self._fragments.state[FREE])
        self._fragments.free[free : free + len(self._told)] = self._told
        state[FREE] += len(self._told)
        self._told = self._fragments.done[: int(state[DONE])].copy()
        state[DONE] = 0

    def _flows_in_use(self) -> int:
        return int(self._book.counts[FLOWS]) - int(self._book.counts[SPARE])

    def _grow_hosts(self) -> None:
        capacity = min(2 * len(self.hosts.high), self._max_hosts)
        hosts = grown(self.hosts, capacity)
        slots = new_slots(capacity)
        self._call(refill, slots, hosts.high, hosts.low, np.arange(self.host_count), self.host_count)
        self._book = self._book._replace(hosts=hosts, host_slots=slots)

    def _grow_flows(self) -> None:
        capacity = min(2 * len(self.flows.host0), self._max_flows)
        more = capacity - len(self.flows.host0)
        old = self._book.flow_index
        index = FlowIndex(
            key0=np.pad(old.key0, (0, more)),
            key1=np.pad(old.key1, (0, more)),
            held=np.pad(old.held, (0, more)),
            spare=np.pad(old.spare, (0, more)),
            slots=new_slots(capacity),
        )
        self._book = self._book._replace(flows=grown(self.flows, capacity), flow_index=index)
        self._index_flows()

    def _index_flows(self) -> None:
        index = self._book.flow_index
        rows = np.flatnonzero(index.held == INDEXED)
        self._call(refill, index.slots, index.key0, index.key1, rows, len(rows))

    def _forget_flows(self, frame: int) -> None:
        """Give up half of the flows, and start afresh on finding the others."""
        index, counts = self._book.flow_index, self._book.counts
        rows = np.flatnonzero(index.held != UNUSED)
        state = self.flows.state[rows]
        closed = (state & RST_SEEN != 0) | (state & BOTH_FINS == BOTH_FINS) | (index.held[rows] != INDEXED)
        order = np.lexsort((self.flows.last_time[rows], ~closed))
        gone = rows[order[: (len(rows) + 1) // 2]]
        index.held[gone] = UNUSED
        spare = int(counts[SPARE])
        index.spare[spare : spare + len(gone)] = gone
        counts[SPARE] += len(gone)
        self._index_flows()
        self._call(forget_near, self._book.near)
        self.forgotten.extend(gone.tolist())
        note(self._faults, Fault.FLOWS_EVICTED, frame)
        self._faults.count[Fault.FLOWS_EVICTED] += len(gone) - 1

    def _call(self, function: Any, *arguments: Any) -> None:
        (twin(function) if self._compiled else function)(*arguments)
