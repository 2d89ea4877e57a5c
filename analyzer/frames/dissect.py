"""The walk over a block of packets: every header from the link layer to TCP and UDP.

In: `Packets`. Out: rows of `Segments`, `Controls` and `Notices`; the book of hosts and flows
is kept up to date along the way.

Theory. The walk stops where an output table or the room for new hosts and flows ends, and
it does so before it touches the packet it stops at, so that it can go on there. Most
packets belong to a flow that was met a moment ago, and for these it makes one comparison
and no lookup; all that is rare stands in kernels of its own. A packet that a fragment has
completed is the next packet.

Never: keeps a payload byte, drops without counting.
"""

from __future__ import annotations

from typing import Any

from analyzer.faults import Fault, note
from analyzer.frames.copies import is_copy
from analyzer.frames.flows import FLOWS, HOSTS, SPARE, flow_row, host_row, near_entry
from analyzer.frames.fragments import DONE as TOLD
from analyzer.frames.fragments import (
    FRAME,
    LATER_SEEN,
    READY,
    SIZE,
    TIME,
    gather,
    no_more,
    put_together,
    take_ready,
)
from analyzer.frames.ip import FINE, FIRST, SHORT, WHOLE, ipv4, ipv6
from analyzer.frames.link import CUT, IPV4, UNKNOWN, find_ip
from analyzer.frames.transport import (
    ICMP,
    ICMPV6,
    LONG,
    read_checksum,
    read_tcp,
    read_udp,
    read_unreachable,
    read_xid,
)
from analyzer.frames.tunnels import innermost
from analyzer.kernels import kernel
from analyzer.tables import ACK, FIN, RST, SYN, TCP, UDP

# why the walk stopped
DONE, OUTPUT_FULL, HOSTS_FULL, FLOWS_FULL = 0, 1, 2, 3

LOW_BITS = (1 << 48) - 1  # of an address: what tells hosts that talk at the same time
HOSTS_AT_ONCE = 3  # that one packet can bring: an ICMP message's sender, receiver, and whom it is about

# bits of Flows.state; those of FIN and of payload are shifted by the side
SYN_SEEN, ANSWER_SEEN, FIN_SEEN, RST_SEEN, PAYLOAD_SEEN = 1, 2, 4, 16, 32


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
    under_way: Any,
    faults: Any,
) -> Any:
    """Dissect packets[row:rows]: (row it stopped at, why). `filled` counts rows of the three outputs."""
    hosts, flows, near, counts = book.hosts, book.flows, book.near, book.counts
    last_flow_frame, last_flow_time, state = flows.last_frame, flows.last_time, flows.state
    sent, last_frame, last_time = hosts.packets, hosts.last_frame, hosts.last_time
    pieces, ready = under_way.slots, under_way.state
    n, n_controls, n_notices = int(filled[0]), int(filled[1]), int(filled[2])
    most_hosts, most_flows, most_told = len(hosts.high), len(flows.host0), len(under_way.done)
    why = DONE
    while row < rows or int(ready[READY]) >= 0:
        if n == len(segments.frame) or n_controls == len(controls.frame) or n_notices == len(notices.frame):
            why = OUTPUT_FULL
            break
        if int(ready[TOLD]) == most_told:
            why = OUTPUT_FULL
            break
        if not hosts_final and int(counts[HOSTS]) + HOSTS_AT_ONCE > most_hosts:
            why = HOSTS_FULL
            break
        if int(counts[FLOWS]) - int(counts[SPARE]) >= most_flows:
            why = FLOWS_FULL
            break
        first_only = False
        if int(ready[READY]) < 0:
            start, stop = int(packets.start[row]), int(packets.stop[row])
            end = start + int(packets.wire[row])
            frame, time, file = int(packets.frame[row]), int(packets.time[row]), int(packets.file[row])
            kind, at = find_ip(memory, start, stop, int(packets.link[row]))
            row += 1
            if kind <= 0:
                if kind == UNKNOWN:
                    note(faults, Fault.UNKNOWN_LINK_TYPE, frame)
                elif kind == CUT:
                    note_short(faults, stop, end, frame)
                continue
            header = ipv4(memory, at, stop, end) if kind == IPV4 else ipv6(memory, at, stop, end)
        else:
            slot = take_ready(under_way)
            frame, time, file = int(pieces[slot, FRAME]), int(pieces[slot, TIME]), 0
            first_only = int(pieces[slot, SIZE]) < 0
            if first_only:
                note(faults, Fault.FRAGMENT_INCOMPLETE, frame)
            header, stop, end = put_together(memory, under_way, slot)
        if header[1] != TCP:
            header = innermost(memory, stop, header)
        look, protocol, at, size, piece, ident, high, low, to_high, to_low = header
        if look != FINE:
            if look == SHORT:
                note_short(faults, stop, end, frame)
            else:
                note(faults, Fault.FRAME_MALFORMED, frame)
            continue
        if at + size > end:
            note(faults, Fault.FRAME_MALFORMED, frame)
        stop = min(stop, at + size)

        if piece != WHOLE and not first_only:
            if piece == FIRST and no_more(under_way, True, ident, low, to_low):
                row -= 1  # what is ready comes before this packet
                continue
            who, what = -1 - (low & LOW_BITS), ((to_low & LOW_BITS) << 8) ^ ident
            if is_copy(book.recent, who, what, (size << 16) | piece, file, time):
                note(faults, Fault.FRAME_DUPLICATED, frame)
                continue
            kept = min(size, stop - at)
            gather(
                memory,
                under_way,
                faults,
                at,
                kept,
                size,
                protocol,
                piece,
                ident,
                high,
                low,
                to_high,
                to_low,
                frame,
                time,
            )
            if int(ready[READY]) < 0 and int(ready[LATER_SEEN]) == 1:  # else it is told, and counted then
                note_sender(hosts, book.host_slots, counts, faults, high, low, frame, time)
            continue
        sport, dport, seq, ack, flags, head = 0, 0, 0, 0, -1, 8
        if protocol not in (TCP, UDP):
            source = note_sender(hosts, book.host_slots, counts, faults, high, low, frame, time)
            if source >= 0 and protocol in (ICMP, ICMPV6):
                found = read_unreachable(memory, at, stop, size, protocol)
                if found[0] >= 0:
                    n_notices += tell_notice(
                        hosts,
                        book.host_slots,
                        counts,
                        faults,
                        notices,
                        n_notices,
                        frame,
                        time,
                        source,
                        to_high,
                        to_low,
                        found,
                    )
            continue
        if protocol == UDP and not first_only and no_more(under_way, False, ident, low, to_low):
            row -= 1
            continue
        if protocol == TCP:
            look, sport, dport, seq, ack, flags, head = read_tcp(memory, at, stop, size)
            size -= head
        else:
            look, sport, dport, size = read_udp(memory, at, stop, size, piece)
        if look != FINE:
            note(faults, Fault.FRAME_TRUNCATED if look == SHORT else Fault.FRAME_MALFORMED, frame)
            if look != LONG:
                note_sender(hosts, book.host_slots, counts, faults, high, low, frame, time)
                continue

        ends = (protocol << 32) | (sport << 16) | dport
        entry = near_entry(low, to_low, ends)
        opening = flags >= 0 and flags & (SYN | ACK) == SYN
        if (
            not opening
            and int(near[entry + 5]) > 0
            and int(near[entry + 1]) == low
            and int(near[entry + 3]) == to_low
            and int(near[entry + 4]) == ends
            and int(near[entry]) == high
            and int(near[entry + 2]) == to_high
        ):
            flow, side, source = int(near[entry + 5]) - 1, int(near[entry + 6]), int(near[entry + 7])
        else:
            source = host_row(hosts, book.host_slots, counts, high, low)
            target = host_row(hosts, book.host_slots, counts, to_high, to_low)
            if source < 0 or target < 0:
                note(faults, Fault.HOSTS_FULL, frame)
                continue
            flow, side = flow_row(
                flows, book.flow_index, counts, source, target, sport, dport, protocol, flags, seq, ack
            )
            if opening:  # it may be a new row, which the other direction's entry does not know
                near[near_entry(to_low, low, (protocol << 32) | (dport << 16) | sport) + 5] = 0
            near[entry], near[entry + 1], near[entry + 2], near[entry + 3] = high, low, to_high, to_low
            near[entry + 4], near[entry + 5], near[entry + 6], near[entry + 7] = ends, flow + 1, side, source
            if int(flows.first_frame[flow]) == 0:
                flows.first_frame[flow] = frame
                flows.first_time[flow] = time
            if int(sent[source]) == 0:
                hosts.first_frame[source] = frame
                hosts.first_time[source] = time
        if size > 0 or ident > 0 or (flags > 0 and flags & (SYN | FIN | RST)):
            what = (seq << 31) | (ack & 0x7FFFFFFF) if flags >= 0 else read_xid(memory, at + head, stop)
            which = ((flags & 0xFF) << 50) | (ident << 16) | read_checksum(memory, at, stop, flags)
            who = (flow << 21) | (side << 20) | (size & 0xFFFFF)
            if is_copy(book.recent, who, what, which, file, time):
                note(faults, Fault.FRAME_DUPLICATED, frame)
                continue
        sent[source] += 1
        last_frame[source] = frame
        last_time[source] = time
        last_flow_frame[flow] = frame
        last_flow_time[flow] = time
        if size > 0:
            state[flow] |= PAYLOAD_SEEN << side
        if flags > 0 and flags & (SYN | FIN | RST):
            state[flow] |= life_bits(flags, side)
            controls.frame[n_controls] = frame
            controls.time[n_controls] = time
            controls.flow[n_controls] = flow
            controls.side[n_controls] = side
            controls.flags[n_controls] = flags
            n_controls += 1
        at = min(at + head, stop)
        kept = min(size, stop - at)
        if kept < size and not first_only:
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
def note_sender(
    hosts: Any, slots: Any, counts: Any, faults: Any, high: Any, low: Any, frame: Any, time: Any
) -> Any:
    """Count a packet for the host that sent it: its row, -1 where there is no room."""
    row = host_row(hosts, slots, counts, high, low)
    if row < 0:
        note(faults, Fault.HOSTS_FULL, frame)
        return -1
    if int(hosts.packets[row]) == 0:
        hosts.first_frame[row] = frame
        hosts.first_time[row] = time
    hosts.packets[row] += 1
    hosts.last_frame[row] = frame
    hosts.last_time[row] = time
    return row


@kernel
def tell_notice(
    hosts: Any,
    slots: Any,
    counts: Any,
    faults: Any,
    notices: Any,
    row: Any,
    frame: Any,
    time: Any,
    source: Any,
    to_high: Any,
    to_low: Any,
    found: Any,
) -> Any:
    """Write a row of `Notices`; how many were written, 0 where the hosts have no room."""
    code, quoted, port, high, low = found
    target = host_row(hosts, slots, counts, to_high, to_low)
    about = host_row(hosts, slots, counts, high, low)
    if target < 0 or about < 0:
        note(faults, Fault.HOSTS_FULL, frame)
        return 0
    notices.frame[row] = frame
    notices.time[row] = time
    notices.source[row] = source
    notices.target[row] = target
    notices.kind[row] = code
    notices.host[row] = about
    notices.port[row] = port
    notices.transport[row] = quoted
    return 1


@kernel
def life_bits(flags: Any, side: Any) -> Any:
    """What a segment with SYN, FIN or RST adds to the state of its flow."""
    bits = 0
    if flags & SYN:
        bits |= ANSWER_SEEN if flags & ACK else SYN_SEEN
    if flags & FIN:
        bits |= FIN_SEEN << side
    if flags & RST:
        bits |= RST_SEEN
    return bits
