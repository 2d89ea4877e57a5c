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

from analyzer.faults import Fault, note
from analyzer.kernels import kernel
from analyzer.messages.arena import BLOCK
from analyzer.messages.header import clear, read_call, read_reply
from analyzer.messages.pairing import UDP_CALLER, take_call, take_reply
from analyzer.messages.recognition import is_call, is_open, is_reply, word
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
    write,
)
from analyzer.segments.reassembly import (
    ARRIVED,
    AT,
    CUT,
    DONE_FRAME,
    DONE_TIME,
    END,
    NEVER,
    RUNNING,
    TAKEN,
    arrive,
    give_id,
    next_run,
)
from analyzer.segments.streams import ID, SYN_SEEN
from analyzer.tables import TCP, UDP

PORTMAP_PORT, NFS_PORT = 111, 2049
FRAME_TRUNCATED = int(Fault.FRAME_TRUNCATED)


@kernel
def assemble(
    memory: Any,
    segments: Any,
    row: Any,
    rows: Any,
    ending: Any,
    messages: Any,
    flows: Any,
    streams: Any,
    parsers: Any,
    partials: Any,
    tcp: Any,
    calls: Any,
    arena: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """Take segments `row` to `rows` until they end or `messages` is full: (next row, messages).

    With `ending` there are no segments, and all that waits comes out.
    """
    n = 0
    capacity = len(messages.frame)
    state, run = tcp.state, tcp.run
    block = int(arena[BLOCK])
    frame, time = -1, NEVER
    while n < capacity and (row < rows or ending):
        if not ending:
            frame, time = int(segments.frame[row]), int(segments.time[row])
            if int(segments.flags[row]) < 0:
                if datagram(
                    memory, segments, row, flows, streams, parsers, tcp, calls, head_only, programs, m, faults
                ):
                    client = int(m[DST]) << 16 | int(m[DPORT])
                    if int(m[REPLY]) == 0:
                        client = int(m[SRC]) << 16 | int(m[SPORT])
                    pair(memory, calls, UDP_CALLER + client, m, block, faults)
                    write(messages, n, m)
                    n += 1
                row += 1
                continue
            if int(state[ARRIVED]) == 0:
                state[ARRIVED] = 1
                state[TAKEN] = 0
                greet(segments, row, streams, tcp)
        if int(run[AT]) >= int(run[END]):
            if not next_run(memory, segments, -1 if ending else row, streams, tcp, frame, time, faults):
                state[ARRIVED] = 0
                row += 1
                if ending:
                    break
                continue
            meet(streams, parsers, int(state[RUNNING]))
        stream = int(state[RUNNING])
        caller, peer = int(streams[stream, ID]), int(streams[stream ^ 1, ID])
        m[FRAME] = run[DONE_FRAME]
        if next_record(
            memory, parsers, stream, run, arena, partials, calls, peer, head_only, programs, m, faults
        ):
            m[TIME] = run[DONE_TIME]
            parsers[stream, CARRIES] = 1
            address(flows, stream >> 1, stream & 1, TCP, m)
            m[XID] = word(memory, int(m[START]))
            m[REPLY] = word(memory, int(m[START]) + 4)
            pair(memory, calls, peer if int(m[REPLY]) == 1 else caller, m, block, faults)
            write(messages, n, m)
            n += 1
    return row, n


@kernel
def greet(segments: Any, row: Any, streams: Any, tcp: Any) -> None:
    """What comes with a TCP segment before its payload."""
    stream = int(segments.flow[row]) * 2 + int(segments.side[row])
    if int(streams[stream, ID]) == 0:
        give_id(streams, tcp.state, stream)
    arrive(
        streams,
        tcp,
        stream,
        int(segments.flags[row]),
        int(segments.ack[row]),
        int(segments.size[row]),
    )


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
def address(flows: Any, flow: Any, side: Any, transport: Any, m: Any) -> None:
    """Who sent the message to whom."""
    m[FLOW] = flow
    m[SIDE] = side
    m[TRANSPORT] = transport
    if side == 0:
        m[SRC], m[SPORT] = int(flows.host0[flow]), int(flows.port0[flow])
        m[DST], m[DPORT] = int(flows.host1[flow]), int(flows.port1[flow])
    else:
        m[SRC], m[SPORT] = int(flows.host1[flow]), int(flows.port1[flow])
        m[DST], m[DPORT] = int(flows.host0[flow]), int(flows.port0[flow])


@kernel
def datagram(
    memory: Any,
    segments: Any,
    row: Any,
    flows: Any,
    streams: Any,
    parsers: Any,
    tcp: Any,
    calls: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """Whether a UDP datagram is an RPC message, which is then in hand."""
    at, kept, size = int(segments.start[row]), int(segments.kept[row]), int(segments.size[row])
    if kept < 8:
        return False
    flow, side = int(segments.flow[row]), int(segments.side[row])
    stream = flow * 2 + side
    reply, xid = word(memory, at + 4), word(memory, at)
    if reply > 1:
        return False
    address(flows, flow, side, UDP, m)
    client = UDP_CALLER + (int(m[DST]) << 16 | int(m[DPORT]))
    if reply == 0:
        if not is_call(memory, at, kept, size, True, programs):
            return False
    elif not is_open(calls, client, xid):
        carried = int(parsers[stream, CARRIES]) + int(parsers[stream ^ 1, CARRIES]) > 0
        by_port = int(m[SPORT]) == PORTMAP_PORT or int(m[SPORT]) == NFS_PORT
        if not (carried or by_port) or not is_reply(memory, at, kept, size):
            return False
    if int(streams[stream, ID]) == 0:
        give_id(streams, tcp.state, stream)
    parsers[stream, CARRIES] = 1
    m[FRAME] = m[FIRST_FRAME] = int(segments.frame[row])
    m[TIME] = int(segments.time[row])
    m[XID], m[REPLY] = xid, reply
    limit = keep_limit(memory, at, kept, calls, client, head_only) if size > HEAD else RECORD_LIMIT
    m[DAMAGE] = HEAD_DAMAGE if limit < size else 0
    if kept < size and kept < limit:
        m[DAMAGE] = int(m[DAMAGE]) | CUT
        note(faults, FRAME_TRUNCATED, int(m[FRAME]))
    m[START], m[KEPT], m[SIZE], m[STREAM_END] = at, min(kept, limit), size, -1
    return True


@kernel
def pair(memory: Any, calls: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Read the header of the message in hand and find its partner."""
    clear(m)
    if int(m[REPLY]) == 0:
        read_call(memory, m, faults)
        take_call(memory, calls, caller, m, block, faults)
    else:
        take_reply(calls, caller, m, block, faults)
        read_reply(memory, m, faults)
