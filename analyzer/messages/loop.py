"""The loop over the segments of a block.

In: segments. Out: rows of `Messages`.

Theory. Everything below is a step that can be taken up where it was left, so the loop can stop
when the output is full. A TCP segment brings about runs (its own bytes, what it sets free, what
has become due meanwhile), a run brings about records, a record is a message. A datagram is a
message or nothing (RFC 5531 10: one message per datagram).

Never: keeps anything; its tables do.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernels import kernel
from analyzer.messages.arena import BLOCK
from analyzer.messages.header import clear, read_call, read_reply
from analyzer.messages.pairing import UDP_CALLER, take_call, take_reply
from analyzer.messages.recognition import is_call, is_open, is_reply
from analyzer.messages.records import (
    CARRIES,
    HEAD,
    HEAD_DAMAGE,
    LATE_TRIES,
    NEW,
    RECORD_LIMIT,
    SEARCHING,
    STEP,
    TRIES,
    UNMET,
    keep_limit,
    next_record,
)
from analyzer.messages.row import (
    DAMAGE,
    DPORT,
    DST,
    FIRST_FRAME,
    FLOW,
    FRAME,
    KEPT,
    REPLY,
    SIDE,
    SIZE,
    SPORT,
    SRC,
    START,
    STREAM_END,
    TIME,
    TRANSPORT,
    XID,
    put_row,
)
from analyzer.segments.reassembly import (
    ARRIVED,
    AT,
    CUT,
    DONE_FRAME,
    DONE_TIME,
    DRAINING,
    END,
    NEVER,
    OPEN_HOLES,
    RUNNING,
    SEG_ACK,
    SEG_FLAGS,
    SEG_FRAME,
    SEG_KEPT,
    SEG_SEQ,
    SEG_SIZE,
    SEG_START,
    SEG_STREAM,
    SEG_TIME,
    TAKEN,
    arrive,
    give_id,
    next_run,
)
from analyzer.segments.streams import ID, SYN_SEEN
from analyzer.tables import TCP, UDP
from analyzer.words import FETCHED, fetch, word

PORTMAP_PORT, NFS_PORT = 111, 2049


@kernel
def assemble(
    memory: Any,
    words: Any,
    segments: Any,
    row: Any,
    rows: Any,
    out: Any,
    m: Any,
    hosts0: Any,
    hosts1: Any,
    ports0: Any,
    ports1: Any,
    streams: Any,
    parsers: Any,
    chunks: Any,
    tcp: Any,
    log: Any,
    calls: Any,
    slots: Any,
    arena: Any,
    head_only: Any,
    programs: Any,
    faults: Any,
) -> Any:
    """Take segments `row` to `rows` until they end or `out` is full: (next row, messages).

    `m` is the message in hand.

    With `row` -1 the capture is over, and all that waits comes out.
    """
    n = 0
    ending = row < 0
    while n < out.shape[1] and (row < rows or ending):
        if int(tcp[ARRIVED]) == 0:
            if ending:
                no_segment(tcp)
            else:
                if row % FETCHED == 0:
                    m[XID] = fetch(words, segments.start, row)
                tcp[SEG_STREAM] = int(segments.flow[row]) * 2 + int(segments.side[row])
                tcp[SEG_FLAGS] = int(segments.flags[row])
                tcp[SEG_SEQ] = int(segments.seq[row])
                tcp[SEG_ACK] = int(segments.ack[row])
                tcp[SEG_START] = int(segments.start[row])
                tcp[SEG_KEPT] = int(segments.kept[row])
                tcp[SEG_SIZE] = int(segments.size[row])
                tcp[SEG_FRAME] = int(segments.frame[row])
                tcp[SEG_TIME] = int(segments.time[row])
                tcp[TAKEN] = 0
                if int(tcp[SEG_FLAGS]) < 0:
                    row += 1
                    address(hosts0, hosts1, ports0, ports1, int(tcp[SEG_STREAM]), UDP, m)
                    if datagram(words, streams, parsers, tcp, calls, slots, head_only, programs, m):
                        pair(words, calls, slots, client_of(m), m, int(arena[BLOCK]), faults)
                        put_row(out, n, m)
                        n += 1
                    continue
                arrive(streams, chunks, tcp)
            tcp[ARRIVED] = 1
        if int(tcp[AT]) >= int(tcp[END]):
            if not next_run(memory, streams, chunks, tcp, log, faults):
                tcp[ARRIVED] = 0
                row += 1
                if ending:
                    break
                continue
            meet(streams, parsers, int(tcp[RUNNING]))
        stream = int(tcp[RUNNING])
        m[FRAME], m[TIME] = int(tcp[DONE_FRAME]), int(tcp[DONE_TIME])
        peer = int(streams[stream ^ 1, ID])
        if next_record(
            memory, words, parsers, stream, tcp, arena, calls, slots, peer, head_only, programs, m, faults
        ):
            parsers[stream, CARRIES] = 1
            address(hosts0, hosts1, ports0, ports1, stream, TCP, m)
            m[XID], m[REPLY] = word(words, int(m[START])), word(words, int(m[START]) + 4)
            caller = peer if int(m[REPLY]) == 1 else int(streams[stream, ID])
            pair(words, calls, slots, caller, m, int(arena[BLOCK]), faults)
            put_row(out, n, m)
            n += 1
        elif int(tcp[TAKEN]) == 1 and int(tcp[OPEN_HOLES]) == 0 and not ending:
            tcp[DRAINING] = -1  # in order, as nearly always: done without asking for more runs
            tcp[ARRIVED] = 0
            row += 1
    return row, n


@kernel
def no_segment(tcp: Any) -> None:
    """No segment in hand, and all the time in the world gone by."""
    tcp[SEG_STREAM] = -1
    tcp[SEG_TIME] = NEVER


@kernel
def meet(streams: Any, parsers: Any, stream: Any) -> None:
    """The first bytes of a stream: from its beginning, or from somewhere."""
    if int(parsers[stream, STEP]) == UNMET:
        if int(streams[stream, SYN_SEEN]) == 1:
            parsers[stream, STEP] = NEW
        else:
            parsers[stream, STEP] = SEARCHING
            parsers[stream, TRIES] = LATE_TRIES


@kernel
def address(hosts0: Any, hosts1: Any, ports0: Any, ports1: Any, stream: Any, transport: Any, m: Any) -> None:
    """Who sent the message to whom."""
    flow, side = stream >> 1, stream & 1
    m[FLOW], m[SIDE], m[TRANSPORT] = flow, side, transport
    if side == 0:
        m[SRC], m[SPORT] = int(hosts0[flow]), int(ports0[flow])
        m[DST], m[DPORT] = int(hosts1[flow]), int(ports1[flow])
    else:
        m[SRC], m[SPORT] = int(hosts1[flow]), int(ports1[flow])
        m[DST], m[DPORT] = int(hosts0[flow]), int(ports0[flow])


@kernel
def client_of(m: Any) -> Any:
    """The caller of a message over UDP: host and port."""
    if int(m[REPLY]) == 1:
        return UDP_CALLER + (int(m[DST]) << 16 | int(m[DPORT]))
    return UDP_CALLER + (int(m[SRC]) << 16 | int(m[SPORT]))


@kernel
def datagram(
    words: Any,
    streams: Any,
    parsers: Any,
    tcp: Any,
    calls: Any,
    slots: Any,
    head_only: Any,
    programs: Any,
    m: Any,
) -> Any:
    """Whether the UDP datagram in hand is an RPC message, which is then written down."""
    at, kept, size = int(tcp[SEG_START]), int(tcp[SEG_KEPT]), int(tcp[SEG_SIZE])
    if kept < 8:
        return False
    stream = int(tcp[SEG_STREAM])
    xid, reply = word(words, at), word(words, at + 4)
    m[XID], m[REPLY] = xid, reply
    client = client_of(m)
    if reply == 0:
        if not is_call(words, at, kept, size, True, programs):
            return False
    elif reply > 1:
        return False
    elif not is_open(calls, slots, client, xid):
        carried = int(parsers[stream, CARRIES]) + int(parsers[stream ^ 1, CARRIES]) > 0
        by_port = int(m[SPORT]) == PORTMAP_PORT or int(m[SPORT]) == NFS_PORT
        if not (carried or by_port) or not is_reply(words, at, kept, size):
            return False
    if int(streams[stream, ID]) == 0:
        give_id(streams, tcp, stream)
    parsers[stream, CARRIES] = 1
    m[FRAME] = m[FIRST_FRAME] = int(tcp[SEG_FRAME])
    m[TIME] = int(tcp[SEG_TIME])
    limit = RECORD_LIMIT
    if size > HEAD:
        limit = keep_limit(words, at, kept, calls, slots, client, head_only)
    m[DAMAGE] = HEAD_DAMAGE if limit < size else 0
    if kept < size and kept < limit:
        m[DAMAGE] = int(m[DAMAGE]) | CUT
    m[START], m[KEPT], m[SIZE], m[STREAM_END] = at, min(kept, limit), size, -1
    return True


@kernel
def pair(words: Any, calls: Any, slots: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Read the header of the message in hand and find its partner."""
    clear(m)
    if int(m[REPLY]) == 0:
        read_call(words, m, faults)
        take_call(words, calls, slots, caller, m, block, faults)
    else:
        take_reply(calls, slots, caller, m, block, faults)
        read_reply(words, m, faults)
