"""Segments to runs: each byte of a stream once, in order.

In: TCP segments in capture order. Out: `run`, the next bytes of one stream, together with what
is known to be missing behind them; `repeats` and `holes` on the way.

Theory. In order is the fast path: the segment itself is the run. A segment that is old, wholly
or partly, is trimmed to what is new. One that is ahead leaves a hole and is stored. A hole waits
until the other side acknowledges past it: then the bytes existed and were not captured, which is
a gap and not a delay. Packets may be recorded slightly out of order, so a bare acknowledgement
is believed after 50 ms of packet time; one that comes with payload at once, for it may be the
reply that the bytes behind the hole are needed for. Where nobody acknowledges (one direction
captured), the hole is given up after 30 s. What ends a connection also ends in one of these,
or in `ENDING`. A gap, and the tail that the snaplen cut off, are runs without kept bytes: the
reader of the stream is told how much is missing, not only that something is.

A sequence number more than 64 MiB away is no segment of what went before: the connection goes
on elsewhere (the capture paused), and the stream with it, after a gap of unknown size.

Never: looks at payload; moves bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault, note
from analyzer.kernels import kernel
from analyzer.segments.serial import CIRCLE, distance
from analyzer.segments.store import (
    FOLLOWING,
    FRAME,
    KEPT,
    OFFSET,
    SIZE,
    START,
    TIME,
    new_chunks,
    release,
    store,
)
from analyzer.segments.streams import (
    ACKED,
    BASE,
    CHUNK_BYTES,
    CHUNKS,
    DUE,
    FIRST_CHUNK,
    GAP_BYTES,
    GAPS,
    HOLE_SLOT,
    ID,
    KNOWN,
    NEXT,
    REORDERED,
    REPEATED,
    REPLIED,
    SEGMENTS,
    SYN_SEEN,
    reset,
)
from analyzer.tables import ACK, RST, SYN, Holes, Repeats, new_table

# `run`: bytes memory[AT:KEPT_END], then END - KEPT_END bytes that are missing.
AT, KEPT_END, END, OFFSET_END, OWN_FRAME, DONE_FRAME, DONE_TIME, LOSS, BEGINS = range(9)
CUT, LOST = 1, 2  # LOSS: why bytes are missing; as in Messages.damage

# `state` of the reassembly
IDS, OPEN_HOLES, DEADLINE, STREAM, RUNNING, SKIPPING, ARRIVED, TAKEN, REPEAT_ROWS, HOLE_ROWS = range(10)

NEVER = 1 << 62
ACK_PATIENCE = 50_000_000  # ns
PATIENCE = 30_000_000_000
ENOUGH_BYTES = 256 << 10  # behind an acknowledged hole: wait no longer
FAR = 1 << 26
ELSEWHERE = 1 << 27  # stands for a gap of unknown size; more than any fragment is long
TCP_GAP = int(Fault.TCP_GAP)
TCP_BUFFER_FULL = int(Fault.TCP_BUFFER_FULL)


class Reassembly(NamedTuple):
    """All state of TCP reassembly but the streams."""

    chunks: NDArray[np.int64]
    waiting: NDArray[np.int64]  # streams with a hole, in no order
    run: NDArray[np.int64]
    state: NDArray[np.int64]
    limits: NDArray[np.int64]  # chunks and bytes per stream
    repeats: Repeats
    holes: Holes


def new_reassembly(chunks: int, stream_chunks: int, stream_bytes: int) -> Reassembly:
    """Nothing seen yet; the tables of repeats and holes get their room later."""
    state = np.zeros(10, np.int64)
    state[DEADLINE], state[STREAM] = NEVER, -1
    return Reassembly(
        new_chunks(chunks),
        np.zeros(chunks + 1, np.int64),
        np.zeros(9, np.int64),
        state,
        np.array([stream_chunks, stream_bytes], np.int64),
        new_table(Repeats, 0),
        new_table(Holes, 0),
    )


@kernel
def give_id(streams: Any, state: Any, stream: Any) -> None:
    """Begin a life of a stream and of its other side."""
    state[IDS] += 2
    streams[stream, ID] = int(state[IDS])
    streams[stream ^ 1, ID] = int(state[IDS]) - 1


@kernel
def arrive(streams: Any, tcp: Any, stream: Any, flags: Any, ack: Any, size: Any) -> None:
    """What a segment says of the other side's stream."""
    if flags & RST:
        for ended in (stream, stream ^ 1):
            streams[ended, REPLIED] = NEVER
            schedule(streams, tcp, ended)
    peer = stream ^ 1
    if not flags & ACK or int(streams[peer, KNOWN]) == 0:
        return
    ahead = distance((int(streams[peer, BASE]) + int(streams[peer, NEXT])) & CIRCLE, ack)
    if ahead > FAR:
        return
    offset = int(streams[peer, NEXT]) + ahead
    if offset > int(streams[peer, ACKED]):
        streams[peer, ACKED] = offset
    if size > 0 and offset > int(streams[peer, REPLIED]):
        streams[peer, REPLIED] = offset
    if int(streams[peer, HOLE_SLOT]) > 0:
        schedule(streams, tcp, peer)


@kernel
def schedule(streams: Any, tcp: Any, stream: Any) -> None:
    """Say until when the first hole of a stream may still be filled."""
    if int(streams[stream, HOLE_SLOT]) == 0:
        return
    chunk = int(streams[stream, FIRST_CHUNK])
    end = int(tcp.chunks[chunk, OFFSET])
    due = int(tcp.chunks[chunk, TIME])
    if int(streams[stream, REPLIED]) < end:
        if int(streams[stream, ACKED]) < end:
            due += PATIENCE
        elif int(streams[stream, CHUNK_BYTES]) <= ENOUGH_BYTES:
            due += ACK_PATIENCE
    streams[stream, DUE] = due
    tcp.state[DEADLINE] = min(int(tcp.state[DEADLINE]), due)


@kernel
def give_up(streams: Any, tcp: Any, stream: Any) -> None:
    """The first hole of a stream is due, whatever the time is."""
    streams[stream, DUE] = -NEVER
    tcp.state[DEADLINE] = -NEVER


@kernel
def settle(streams: Any, tcp: Any, stream: Any) -> None:
    """Enter a stream in the list of those with a hole, or take it out."""
    state = tcp.state
    slot = int(streams[stream, HOLE_SLOT])
    if int(streams[stream, FIRST_CHUNK]) > 0:
        if slot == 0:
            state[OPEN_HOLES] += 1
            tcp.waiting[int(state[OPEN_HOLES])] = stream
            streams[stream, HOLE_SLOT] = int(state[OPEN_HOLES])
        schedule(streams, tcp, stream)
    elif slot > 0:
        last = int(tcp.waiting[int(state[OPEN_HOLES])])
        tcp.waiting[slot] = last
        streams[last, HOLE_SLOT] = slot
        streams[stream, HOLE_SLOT] = 0
        state[OPEN_HOLES] -= 1


@kernel
def next_run(
    memory: Any, segments: Any, row: Any, streams: Any, tcp: Any, frame: Any, time: Any, faults: Any
) -> Any:
    """Set up the next run that row `row` brings about; False when it brings no more.

    `row` -1 stands for no segment at all: only what is due at `time` comes out.
    """
    state = tcp.state
    while True:
        stream = int(state[STREAM])
        if stream >= 0:
            if drained(streams, tcp, stream, frame, time):
                state[RUNNING] = stream
                return True
            settle(streams, tcp, stream)
            state[STREAM] = -1
        if time >= int(state[DEADLINE]):
            stream = due_stream(streams, tcp, time)
            if stream >= 0:
                chunk = int(streams[stream, FIRST_CHUNK])
                gap(streams, tcp, stream, int(tcp.chunks[chunk, OFFSET]), chunk, frame, time, faults)
                state[STREAM] = state[RUNNING] = stream
                state[SKIPPING] = 1
                return True
        if row < 0 or int(state[TAKEN]) == 1:
            return False
        if taken(memory, segments, row, streams, tcp, faults):
            state[RUNNING] = state[STREAM]
            return True


@kernel
def drained(streams: Any, tcp: Any, stream: Any, frame: Any, time: Any) -> Any:
    """Make the first chunk of a stream the run, if it is its turn.

    A chunk that waited is complete with the frame that filled the hole; one behind a gap was
    complete when it came.
    """
    chunks = tcp.chunks
    while int(streams[stream, FIRST_CHUNK]) > 0:
        chunk = int(streams[stream, FIRST_CHUNK])
        old = int(streams[stream, NEXT]) - int(chunks[chunk, OFFSET])
        if old < 0:
            return False
        start, kept, size = int(chunks[chunk, START]), int(chunks[chunk, KEPT]), int(chunks[chunk, SIZE])
        own, own_time = int(chunks[chunk, FRAME]), int(chunks[chunk, TIME])
        release(streams, chunks, stream)
        if old < size:
            if int(tcp.state[SKIPPING]) == 1:
                set_run(streams, tcp.run, stream, start + old, kept - old, size - old, own, own, own_time)
            else:
                set_run(streams, tcp.run, stream, start + old, kept - old, size - old, own, frame, time)
            return True
    return False


@kernel
def set_run(
    streams: Any,
    run: Any,
    stream: Any,
    start: Any,
    kept: Any,
    size: Any,
    own_frame: Any,
    frame: Any,
    time: Any,
) -> None:
    """The next `size` bytes of a stream are the run."""
    streams[stream, NEXT] += size
    run[AT] = start
    run[KEPT_END] = start + max(0, kept)
    run[END] = start + size
    run[OFFSET_END] = int(streams[stream, NEXT])
    run[OWN_FRAME] = own_frame
    run[DONE_FRAME] = frame
    run[DONE_TIME] = time
    run[LOSS] = CUT
    run[BEGINS] = start


@kernel
def gap(
    streams: Any, tcp: Any, stream: Any, offset: Any, chunk: Any, frame: Any, time: Any, faults: Any
) -> None:
    """The bytes up to `offset` are lost: a run of nothing, noticed with `chunk` (or this frame)."""
    if chunk > 0:
        frame = int(tcp.chunks[chunk, FRAME])
        time = int(tcp.chunks[chunk, TIME])
    size = offset - int(streams[stream, NEXT])
    set_run(streams, tcp.run, stream, 0, 0, size, frame, frame, time)
    tcp.run[LOSS] = LOST
    known = size if size < ELSEWHERE else -1
    note(faults, TCP_GAP, frame)
    streams[stream, GAPS] += 1
    streams[stream, GAP_BYTES] += max(0, known)
    row = int(tcp.state[HOLE_ROWS])
    if row < len(tcp.holes.frame):
        tcp.holes.frame[row] = frame
        tcp.holes.time[row] = time
        tcp.holes.flow[row] = stream >> 1
        tcp.holes.side[row] = stream & 1
        tcp.holes.bytes[row] = known
        tcp.state[HOLE_ROWS] = row + 1


@kernel
def due_stream(streams: Any, tcp: Any, time: Any) -> Any:
    """The stream whose hole was due first, or -1 and a new deadline."""
    best, first = -1, NEVER
    for slot in range(1, int(tcp.state[OPEN_HOLES]) + 1):
        stream = int(tcp.waiting[slot])
        due = int(streams[stream, DUE])
        if due < first or (due == first and stream < best):
            best, first = stream, due
    if best >= 0 and first <= time:
        return best
    tcp.state[DEADLINE] = first
    return -1


@kernel
def taken(memory: Any, segments: Any, row: Any, streams: Any, tcp: Any, faults: Any) -> Any:
    """Take the segment of `row` into its stream; whether there is a run now."""
    state = tcp.state
    stream = int(segments.flow[row]) * 2 + int(segments.side[row])
    flags, size = int(segments.flags[row]), int(segments.size[row])
    seq, frame, time = int(segments.seq[row]), int(segments.frame[row]), int(segments.time[row])
    state[TAKEN] = 1
    if flags & SYN:
        if int(streams[stream, KNOWN]) == 0:
            streams[stream, KNOWN] = 1
            streams[stream, SYN_SEEN] = 1
            streams[stream, BASE] = (seq + 1) & CIRCLE
        return False  # data on a SYN (TCP Fast Open) is sent again where it counts
    if size == 0 or flags & RST:
        return False
    if int(streams[stream, KNOWN]) == 0:
        streams[stream, KNOWN] = 1
        streams[stream, BASE] = seq
    expected = int(streams[stream, NEXT])
    ahead = distance((int(streams[stream, BASE]) + expected) & CIRCLE, seq)
    start, kept = int(segments.start[row]), int(segments.kept[row])
    if ahead > FAR or ahead < -FAR:
        return elsewhere(streams, tcp, stream, seq, frame, time, faults)
    if ahead > 0:
        return early(memory, streams, tcp, stream, expected + ahead, start, kept, size, frame, time, faults)
    streams[stream, SEGMENTS] += 1
    if ahead < 0:
        first = expected + ahead
        if first >= 0 and not (size == 1 and ahead == -1):  # else before our time; a keepalive probe
            repeated(streams, tcp, stream, first, size, frame, time)
        if size <= -ahead:
            return False
    state[STREAM] = stream
    state[SKIPPING] = 0
    set_run(streams, tcp.run, stream, start - ahead, kept + ahead, size + ahead, frame, frame, time)
    return True


@kernel
def elsewhere(streams: Any, tcp: Any, stream: Any, seq: Any, frame: Any, time: Any, faults: Any) -> Any:
    """The connection went on out of sight; give up its holes, one at a time, then follow it."""
    tcp.state[TAKEN] = 0
    if int(streams[stream, FIRST_CHUNK]) > 0:
        give_up(streams, tcp, stream)
        return False
    gap(streams, tcp, stream, int(streams[stream, NEXT]) + ELSEWHERE, 0, frame, time, faults)
    streams[stream, BASE] = (seq - int(streams[stream, NEXT])) & CIRCLE
    streams[stream, ACKED] = -1
    streams[stream, REPLIED] = -1
    tcp.state[STREAM] = stream
    return True


@kernel
def early(
    memory: Any,
    streams: Any,
    tcp: Any,
    stream: Any,
    offset: Any,
    start: Any,
    kept: Any,
    size: Any,
    frame: Any,
    time: Any,
    faults: Any,
) -> Any:
    """Store a segment that is ahead; where there is no room, the hole before it is given up."""
    limits = tcp.limits
    if (
        int(streams[stream, CHUNKS]) >= int(limits[0])
        or int(streams[stream, CHUNK_BYTES]) + size > int(limits[1])
        or int(tcp.chunks[0, FOLLOWING]) == 0
    ):
        note(faults, TCP_BUFFER_FULL, frame)
        tcp.state[TAKEN] = 0
        if int(streams[stream, FIRST_CHUNK]) > 0:
            give_up(streams, tcp, stream)
            return False
        gap(streams, tcp, stream, offset, 0, frame, time, faults)
        tcp.state[STREAM] = stream
        return True
    streams[stream, SEGMENTS] += 1
    streams[stream, REORDERED] += 1
    if store(memory, streams, tcp.chunks, stream, offset, start, kept, size, frame, time, faults):
        repeated(streams, tcp, stream, offset, size, frame, time)
    settle(streams, tcp, stream)
    return False


@kernel
def repeated(streams: Any, tcp: Any, stream: Any, offset: Any, size: Any, frame: Any, time: Any) -> None:
    """A segment brought bytes seen before."""
    streams[stream, REPEATED] += 1
    row = int(tcp.state[REPEAT_ROWS])
    if row < len(tcp.repeats.frame):
        tcp.repeats.frame[row] = frame
        tcp.repeats.time[row] = time
        tcp.repeats.flow[row] = stream >> 1
        tcp.repeats.side[row] = stream & 1
        tcp.repeats.start[row] = offset
        tcp.repeats.end[row] = offset + size
        tcp.state[REPEAT_ROWS] = row + 1


@kernel
def forget_stream(streams: Any, tcp: Any, stream: Any) -> None:
    """End the life of a stream."""
    while int(streams[stream, FIRST_CHUNK]) > 0:
        release(streams, tcp.chunks, stream)
    settle(streams, tcp, stream)
    reset(streams, stream)
