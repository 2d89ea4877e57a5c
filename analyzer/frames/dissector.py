"""Packets to segments: every header from the link layer to TCP and UDP.

In: `Packets`. Out: `Segments`, `Controls`, `Notices`; `Hosts` and `Flows` grow along.

Theory. One kernel walks the packets of a block. It stops where an output table or the room
for new hosts and flows ends, before it touches the packet it stops at; the class around it
makes room and lets it go on. Rows of flows are given up only at the start of a feed, never
while segments that name them are on their way: `forgotten` tells which, and whoever keeps
state by flow must drop it before using the segments of that feed.

Never: keeps a payload byte, puts fragments together, drops without counting.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np

from analyzer.faults import Fault, Faults, note
from analyzer.frames.flows import (
    FLOWS,
    HOSTS,
    INDEXED,
    NEAR,
    SPARE,
    UNUSED,
    Book,
    flow_row,
    forget_near,
    host_row,
    near_entry,
)
from analyzer.frames.ip import FINE, LATER, SHORT, WHOLE, ipv4, ipv6
from analyzer.frames.link import CUT, IPV4, UNKNOWN, find_ip
from analyzer.frames.transport import ICMP, ICMPV6, LONG, read_tcp, read_udp, read_unreachable
from analyzer.index import new_slots, refill
from analyzer.kernels import compiled as twin
from analyzer.kernels import kernel
from analyzer.tables import (
    ACK,
    FIN,
    RST,
    SYN,
    TCP,
    UDP,
    Bytes,
    Controls,
    Flows,
    Hosts,
    Notices,
    Packets,
    Segments,
    grown,
    new_table,
)

# why the kernel stopped
DONE, OUTPUT_FULL, HOSTS_FULL, FLOWS_FULL = 0, 1, 2, 3

HOSTS_AT_ONCE = 3  # that one packet can bring: an ICMP message's sender, receiver, and whom it is about
BOTH_FINS = 12
ALL_ONES = (1 << 64) - 1


@kernel
def dissect(
    memory: Any,
    packets: Any,
    row: Any,
    rows: Any,
    book: Any,
    segments: Any,
    controls: Any,
    notices: Any,
    filled: Any,
    hosts_final: Any,
    faults: Any,
) -> Any:
    """Dissect packets[row:rows]: (row it stopped at, why). `filled` counts rows of the three outputs."""
    hosts, flows, near, counts = book.hosts, book.flows, book.near, book.counts
    last_flow_frame, last_flow_time, state = flows.last_frame, flows.last_time, flows.state
    sent, last_frame, last_time = hosts.packets, hosts.last_frame, hosts.last_time
    n, n_controls, n_notices = int(filled[0]), int(filled[1]), int(filled[2])
    most_hosts, most_flows = len(hosts.high), len(flows.host0)
    why = DONE
    while row < rows:
        if n == len(segments.frame) or n_controls == len(controls.frame) or n_notices == len(notices.frame):
            why = OUTPUT_FULL
            break
        if not hosts_final and int(counts[HOSTS]) + HOSTS_AT_ONCE > most_hosts:
            why = HOSTS_FULL
            break
        if int(counts[FLOWS]) - int(counts[SPARE]) >= most_flows:
            why = FLOWS_FULL
            break
        start, stop = int(packets.start[row]), int(packets.stop[row])
        end = start + int(packets.wire[row])
        frame, time = int(packets.frame[row]), int(packets.time[row])
        kind, at = find_ip(memory, start, stop, int(packets.link[row]))
        row += 1
        if kind <= 0:
            if kind == UNKNOWN:
                note(faults, Fault.UNKNOWN_LINK_TYPE, frame)
            elif kind == CUT:
                note_short(faults, stop, end, frame)
            continue
        header = ipv4(memory, at, stop, end) if kind == IPV4 else ipv6(memory, at, stop, end)
        look, protocol, at, size, piece, high, low, to_high, to_low = header
        if look != FINE:
            if look == SHORT:
                note_short(faults, stop, end, frame)
            else:
                note(faults, Fault.FRAME_MALFORMED, frame)
            continue
        if at + size > end:
            note(faults, Fault.FRAME_MALFORMED, frame)
        stop = min(stop, at + size)
        carried = protocol in (TCP, UDP)
        if carried and piece != WHOLE:
            note(faults, Fault.FRAGMENT_INCOMPLETE, frame)
        if not carried or piece == LATER:
            source = host_row(hosts, book.host_slots, counts, high, low)
            if source < 0:
                note(faults, Fault.HOSTS_FULL, frame)
                continue
            note_host(hosts, source, frame, time)
            if piece == WHOLE and protocol in (ICMP, ICMPV6):
                code, quoted, port, of_high, of_low = read_unreachable(memory, at, stop, size, protocol)
                if code >= 0:
                    target = host_row(hosts, book.host_slots, counts, to_high, to_low)
                    about = host_row(hosts, book.host_slots, counts, of_high, of_low)
                    if target < 0 or about < 0:
                        note(faults, Fault.HOSTS_FULL, frame)
                        continue
                    notices.frame[n_notices] = frame
                    notices.time[n_notices] = time
                    notices.source[n_notices] = source
                    notices.target[n_notices] = target
                    notices.kind[n_notices] = code
                    notices.host[n_notices] = about
                    notices.port[n_notices] = port
                    notices.transport[n_notices] = quoted
                    n_notices += 1
            continue
        if protocol == TCP:
            look, sport, dport, seq, ack, flags, head = read_tcp(memory, at, stop, size)
            size -= head
            at += head
        else:
            look, sport, dport, size = read_udp(memory, at, stop, size, piece)
            seq, ack, flags = 0, 0, -1
            at += 8
            if look == LONG:
                note(faults, Fault.FRAME_MALFORMED, frame)
                look = FINE
        if look != FINE:
            source = host_row(hosts, book.host_slots, counts, high, low)
            if source < 0:
                note(faults, Fault.HOSTS_FULL, frame)
            else:
                note_host(hosts, source, frame, time)
            if look == SHORT:
                note(faults, Fault.FRAME_TRUNCATED, frame)
            else:
                note(faults, Fault.FRAME_MALFORMED, frame)
            continue

        ends = (protocol << 32) | (sport << 16) | dport
        entry = near_entry(low, to_low, ends)
        opening = protocol == TCP and flags & (SYN | ACK) == SYN
        if (
            int(near[entry + 5]) > 0
            and int(near[entry + 1]) == low
            and int(near[entry + 3]) == to_low
            and int(near[entry + 4]) == ends
            and int(near[entry]) == high
            and int(near[entry + 2]) == to_high
            and not opening
        ):
            flow, side, source = int(near[entry + 5]) - 1, int(near[entry + 6]), int(near[entry + 7])
        else:
            source = host_row(hosts, book.host_slots, counts, high, low)
            target = host_row(hosts, book.host_slots, counts, to_high, to_low)
            if source < 0 or target < 0:
                note(faults, Fault.HOSTS_FULL, frame)
                continue
            flow, side = flow_row(book, source, target, sport, dport, protocol, flags, seq, ack)
            if opening:  # it may be a new row, which the other direction's entry does not know
                back = near_entry(to_low, low, (protocol << 32) | (dport << 16) | sport)
                near[back + 5] = 0
            near[entry] = high
            near[entry + 1] = low
            near[entry + 2] = to_high
            near[entry + 3] = to_low
            near[entry + 4] = ends
            near[entry + 5] = flow + 1
            near[entry + 6] = side
            near[entry + 7] = source
            if int(flows.first_frame[flow]) == 0:
                flows.first_frame[flow] = frame
                flows.first_time[flow] = time
            if int(sent[source]) == 0:
                hosts.first_frame[source] = frame
                hosts.first_time[source] = time
        sent[source] += 1
        last_frame[source] = frame
        last_time[source] = time
        last_flow_frame[flow] = frame
        last_flow_time[flow] = time
        bits = 0
        if size > 0:
            bits = 32 << side
        if flags > 0 and flags & (SYN | FIN | RST):
            if opening:
                bits |= 1
            elif flags & SYN:
                bits |= 2
            if flags & FIN:
                bits |= 4 << side
            if flags & RST:
                bits |= 16
            controls.frame[n_controls] = frame
            controls.time[n_controls] = time
            controls.flow[n_controls] = flow
            controls.side[n_controls] = side
            controls.flags[n_controls] = flags
            n_controls += 1
        state[flow] |= bits
        at = min(at, stop)
        kept = min(size, stop - at)
        if kept < size and piece == WHOLE:
            note(faults, Fault.FRAME_TRUNCATED, frame)
        segments.frame[n] = frame
        segments.time[n] = time
        segments.flow[n] = flow
        segments.side[n] = side
        segments.flags[n] = flags
        segments.seq[n] = seq
        segments.ack[n] = ack
        segments.start[n] = at
        segments.kept[n] = kept
        segments.size[n] = size
        n += 1
    filled[0], filled[1], filled[2] = n, n_controls, n_notices
    return row, why


@kernel
def note_short(faults: Any, stop: Any, end: Any, frame: Any) -> None:
    """A header does not fit in what was captured: cut by the snaplen, or never longer."""
    if stop < end:
        note(faults, Fault.FRAME_TRUNCATED, frame)
    else:
        note(faults, Fault.FRAME_MALFORMED, frame)


@kernel
def note_host(hosts: Any, row: Any, frame: Any, time: Any) -> None:
    """Count a packet that a host sent."""
    if int(hosts.packets[row]) == 0:
        hosts.first_frame[row] = frame
        hosts.first_time[row] = time
    hosts.packets[row] += 1
    hosts.last_frame[row] = frame
    hosts.last_time[row] = time


class Dissector:
    """Dissects packets, and keeps every host and flow of the run.

    `hosts[:host_count]` and `flows[:flow_count]` are the rows used so far; the times and
    frames of a host are those of packets it sent, 0 as long as `packets` is 0. `forgotten`
    collects rows of flows that were given up and may come again as other flows.
    """

    def __init__(
        self, compiled: bool, faults: Faults, max_hosts: int = 1 << 20, max_flows: int = 1 << 18
    ) -> None:
        self.forgotten: list[int] = []
        self._compiled = compiled
        self._faults = faults
        self._max_hosts = max_hosts
        self._max_flows = max_flows
        hosts, flows = min(1 << 10, max_hosts), min(1 << 10, max_flows)
        self._book = Book(
            hosts=new_table(Hosts, hosts),
            host_slots=new_slots(hosts),
            flows=new_table(Flows, flows),
            key0=np.zeros(flows, np.int64),
            key1=np.zeros(flows, np.int64),
            held=np.zeros(flows, np.int8),
            flow_slots=new_slots(flows),
            spare=np.zeros(flows, np.int32),
            near=np.zeros(NEAR * 8, np.int64),
            counts=np.zeros(3, np.int64),
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
        return str(ipaddress.IPv6Address(((high << 64) | (low & ALL_ONES)) & ((1 << 128) - 1)))

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
        if self._flows_in_use() >= self._max_flows:
            self._forget_flows(int(packets.frame[first_row]) if first_row < rows else 0)
        row = first_row
        while True:
            final = len(self.hosts.high) >= self._max_hosts
            row, why = run(
                view, packets, row, rows, self._book, segments, controls, notices, filled, final, self._faults
            )
            if why == HOSTS_FULL:
                self._grow_hosts()
            elif why == FLOWS_FULL and len(self.flows.host0) < self._max_flows:
                self._grow_flows()
            else:
                return int(row), int(filled[0]), int(filled[1]), int(filled[2])

    def _flows_in_use(self) -> int:
        return int(self._book.counts[FLOWS]) - int(self._book.counts[SPARE])

    def _grow_hosts(self) -> None:
        capacity = min(2 * len(self.hosts.high), self._max_hosts)
        hosts = grown(self.hosts, capacity)
        slots = new_slots(capacity)
        self._call(refill, slots, hosts.high, hosts.low, np.arange(self.host_count), self.host_count)
        self._book = self._book._replace(hosts=hosts, host_slots=slots)

    def _grow_flows(self) -> None:
        old = len(self.flows.host0)
        capacity = min(2 * old, self._max_flows)
        more = capacity - old
        self._book = self._book._replace(
            flows=grown(self.flows, capacity),
            key0=np.pad(self._book.key0, (0, more)),
            key1=np.pad(self._book.key1, (0, more)),
            held=np.pad(self._book.held, (0, more)),
            spare=np.pad(self._book.spare, (0, more)),
            flow_slots=new_slots(capacity),
        )
        self._index_flows()

    def _index_flows(self) -> None:
        rows = np.flatnonzero(self._book.held == INDEXED)
        self._call(refill, self._book.flow_slots, self._book.key0, self._book.key1, rows, len(rows))

    def _forget_flows(self, frame: int) -> None:
        """Give up half of the flows: closed ones first, those that were silent longest first."""
        book = self._book
        rows = np.flatnonzero(book.held != UNUSED)
        state = self.flows.state[rows]
        closed = (state & 16 != 0) | (state & BOTH_FINS == BOTH_FINS) | (book.held[rows] != INDEXED)
        order = np.lexsort((self.flows.last_time[rows], ~closed))
        gone = rows[order[: (len(rows) + 1) // 2]]
        book.held[gone] = UNUSED
        spare = int(book.counts[SPARE])
        book.spare[spare : spare + len(gone)] = gone
        book.counts[SPARE] += len(gone)
        self._index_flows()
        self._call(forget_near, book.near)
        self.forgotten.extend(gone.tolist())
        note(self._faults, Fault.FLOWS_EVICTED, frame)
        self._faults.count[Fault.FLOWS_EVICTED] += len(gone) - 1

    def _call(self, function: Any, *arguments: Any) -> None:
        (twin(function) if self._compiled else function)(*arguments)
