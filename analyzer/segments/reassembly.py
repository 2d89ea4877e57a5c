"""Segments to runs: each byte of a stream once, in order.

In: TCP segments in capture order. Out: `run`, the next bytes of one stream, together with what
is known to be missing behind them; `repeats` and `holes` on the way.

Theory. In order is the fast path: the segment itself is the run. A segment that is old, wholly
or partly, is trimmed to what is new. One that is ahead leaves a hole and is stored. A hole waits
until the other side acknowledges past it: then the bytes existed and were not captured, which is
a gap and not a delay. Packets may be recorded slightly out of order, so a bare acknowledgement
is believed after 50 ms of packet time; one that comes with payload at once, for it may be the
reply that the bytes behind the hole are needed for. Where nobody acknowledges (one direction
captured), the hole is given up after 30 s. A segment with payload that acknowledges bytes of the
other side which did not come yet has overtaken them (several receive queues, clocks of several
hosts): it waits for them, 50 ms at most, so that no reply comes before its call. What ends a
connection also ends in one of these, or in `ENDING`. A gap, and the tail that the snaplen cut off,
are runs without kept bytes: the reader of the stream is told how much is missing, not only that
something is.

A sequence number more than 64 MiB away is no segment of what went before: the connection goes
on elsewhere (the capture paused), and the stream with it, after a gap of unknown size.

Never: looks at payload; moves bytes.
"""

from __future__ import annotations

from typing import Any

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
    WAITING,
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
    HELD,
    HOLE_SLOT,
    ID,
    KNOWN,
    NEXT,
    REORDERED,
    REPEATED,
    REPLIED,
    SEGMENTS,
    SYN_SEEN,
    WAITED,
    reset,
)
from analyzer.tables import ACK, RST, SYN, Holes, Repeats, new_table

# The state of the reassembly, `tcp`. First the run in hand: bytes memory[AT:KEPT_END], then
# END - KEPT_END bytes that are missing.
(
    AT,
    KEPT_END,
    END,
    OFFSET_END,
    OWN_FRAME,  # the frame that the bytes came in
    DONE_FRAME,  # the frame that made them readable
    DONE_TIME,
    LOSS,  # why bytes are missing, as in Messages.damage
    BEGINS,  # AT at first
    RUNNING,  # the stream
    SEG_STREAM,  # then the segment in hand, -1 none
    SEG_FLAGS,
    SEG_SEQ,
    SEG_ACK,
    SEG_START,
    SEG_KEPT,
    SEG_SIZE,
    SEG_FRAME,
    SEG_TIME,
    ARRIVED,  # 1: it has been looked at
    TAKEN,  # 1: its payload has been taken
    DRAINING,  # a stream whose chunks may have become readable, -1 none
    SKIPPING,  # 1: because of a gap
    IDS,  # then what lasts
    OPEN_HOLES,
    DEADLINE,  # no hole is due before
    LOG_ROWS,
    MOST_CHUNKS,
    MOST_BYTES,
    SEG_AWAITS,  # it acknowledges the other side up to this offset, which was not seen yet; else 0
) = range(30)
CUT, LOST = 1, 2  # LOSS

# Columns of `log`, where repeats and holes are written down together
LOG_KIND, LOG_FRAME, LOG_TIME, LOG_STREAM, LOG_START, LOG_END = range(6)
REPEAT, HOLE = 0, 1

NEVER = 1 << 62
ACK_PATIENCE = 50_000_000  # ns
PATIENCE = 30_000_000_000
ENOUGH_BYTES = 256 << 10  # behind an acknowledged hole: wait no longer
FAR = 1 << 26
ELSEWHERE = 1 << 27  # stands for a gap of unknown size; more than any fragment is long
TCP_GAP = int(Fault.TCP_GAP)
TCP_BUFFER_FULL = int(Fault.TCP_BUFFER_FULL)


def new_state(stream_chunks: int, stream_bytes: int) -> NDArray[np.int64]:
    """The state of a reassembly that has seen nothing."""
    tcp = np.zeros(30, np.int64)
    tcp[DEADLINE], tcp[DRAINING] = NEVER, -1
    tcp[MOST_CHUNKS], tcp[MOST_BYTES] = stream_chunks, stream_bytes
    return tcp


def new_log(rows: int) -> NDArray[np.int64]:
    """Room for `rows` repeats and holes."""
    return np.zeros((rows, 6), np.int64)


def repeats_of(log: NDArray[np.int64]) -> Repeats:
    """The repeats in a log."""
    rows = log[log[:, LOG_KIND] == REPEAT]
    table = new_table(Repeats, len(rows))
    _common(table, rows)
    table.start[:], table.end[:] = rows[:, LOG_START], rows[:, LOG_END]
    return table


def holes_of(log: NDArray[np.int64]) -> Holes:
    """The gaps in a log."""
    rows = log[log[:, LOG_KIND] == HOLE]
    table = new_table(Holes, len(rows))
    _common(table, rows)
    size = rows[:, LOG_END] - rows[:, LOG_START]
    table.bytes[:] = np.where(size < ELSEWHERE, size, -1)
    return table


def _common(table: Repeats | Holes, rows: NDArray[np.int64]) -> None:
    table.frame[:], table.time[:] = rows[:, LOG_FRAME], rows[:, LOG_TIME]
    table.flow[:], table.side[:] = rows[:, LOG_STREAM] >> 1, rows[:, LOG_STREAM] & 1


@kernel
def give_id(streams: Any, tcp: Any, stream: Any) -> None:
    """Begin a life of a stream and of its other side."""
    tcp[IDS] += 2
    streams[stream, ID] = int(tcp[IDS])
    streams[stream ^ 1, ID] = int(tcp[IDS]) - 1


@kernel
def arrive(streams: Any, chunks: Any, tcp: Any) -> None:
    """What the segment in hand says of the other side's stream."""
    stream, flags, size = int(tcp[SEG_STREAM]), int(tcp[SEG_FLAGS]), int(tcp[SEG_SIZE])
    if int(streams[stream, ID]) == 0:
        give_id(streams, tcp, stream)
    if flags & RST:
        for ended in (stream, stream ^ 1):
            streams[ended, REPLIED] = NEVER
            schedule(streams, chunks, tcp, ended)
    peer = stream ^ 1
    tcp[SEG_AWAITS] = 0
    if not flags & ACK or int(streams[peer, KNOWN]) == 0:
        return
    ahead = distance((int(streams[peer, BASE]) + int(streams[peer, NEXT])) & CIRCLE, int(tcp[SEG_ACK]))
    if ahead > FAR:
        return
    offset = int(streams[peer, NEXT]) + ahead
    if offset > int(streams[peer, ACKED]):
        streams[peer, ACKED] = offset
    if size > 0 and offset > int(streams[peer, REPLIED]):
        streams[peer, REPLIED] = offset
    if int(streams[peer, HOLE_SLOT]) > 0:
        schedule(streams, chunks, tcp, peer)
    elif ahead > 1 and size > 0:  # 1: a FIN, which no stream has a place for
        tcp[SEG_AWAITS] = offset


@kernel
def schedule(streams: Any, chunks: Any, tcp: Any, stream: Any) -> None:
    """Say until when the first hole of a stream may still be filled."""
    if int(streams[stream, HOLE_SLOT]) == 0:
        return
    chunk = int(streams[stream, FIRST_CHUNK])
    end = int(chunks[chunk, OFFSET])
    due = int(chunks[chunk, TIME])
    if int(streams[stream, HELD]) > 0:
        due += ACK_PATIENCE
    elif int(streams[stream, REPLIED]) < end:
        if int(streams[stream, ACKED]) < end:
            due += PATIENCE
        elif int(streams[stream, CHUNK_BYTES]) <= ENOUGH_BYTES:
            due += ACK_PATIENCE
    streams[stream, DUE] = due
    tcp[DEADLINE] = min(int(tcp[DEADLINE]), due)


@kernel
def give_up(streams: Any, tcp: Any, stream: Any) -> None:
    """The first hole of a stream is due, whatever the time is."""
    streams[stream, DUE] = -NEVER
    tcp[DEADLINE] = -NEVER


@kernel
def settle(streams: Any, chunks: Any, tcp: Any, stream: Any) -> None:
    """Enter a stream in the list of those with a hole, or take it out."""
    slot = int(streams[stream, HOLE_SLOT])
    if int(streams[stream, FIRST_CHUNK]) > 0:
        if slot == 0:
            tcp[OPEN_HOLES] += 1
            chunks[int(tcp[OPEN_HOLES]), WAITING] = stream
            streams[stream, HOLE_SLOT] = int(tcp[OPEN_HOLES])
        schedule(streams, chunks, tcp, stream)
    elif slot > 0:
        last = int(chunks[int(tcp[OPEN_HOLES]), WAITING])
        chunks[slot, WAITING] = last
        streams[last, HOLE_SLOT] = slot
        streams[stream, HOLE_SLOT] = 0
        tcp[OPEN_HOLES] -= 1


@kernel
def next_run(memory: Any, streams: Any, chunks: Any, tcp: Any, log: Any, faults: Any) -> Any:
    """Set up the next run that the segment in hand brings about; False when it brings no more.

    Without a segment only what is due by its time comes out.
    """
    frame, time = int(tcp[SEG_FRAME]), int(tcp[SEG_TIME])
    while True:
        stream = int(tcp[DRAINING])
        if stream >= 0:
            if drained(streams, chunks, tcp, stream, frame, time):
                tcp[RUNNING] = stream
                return True
            settle(streams, chunks, tcp, stream)
            tcp[DRAINING] = -1
            peer = stream ^ 1
            if int(streams[peer, HELD]) > 0 and int(streams[stream, NEXT]) >= int(streams[peer, HELD]):
                streams[peer, HELD] = 0
                tcp[DRAINING] = peer
                continue
        if time >= int(tcp[DEADLINE]):
            stream = due_stream(streams, chunks, tcp, time)
            if stream >= 0 and int(streams[stream, HELD]) > 0:
                streams[stream, WAITED] = int(streams[stream, HELD])
                streams[stream, HELD] = 0
                tcp[DRAINING] = stream
                tcp[SKIPPING] = 1
                continue
            if stream >= 0:
                chunk = int(streams[stream, FIRST_CHUNK])
                gap(streams, chunks, tcp, log, stream, int(chunks[chunk, OFFSET]), chunk, frame, time, faults)
                tcp[DRAINING] = tcp[RUNNING] = stream
                tcp[SKIPPING] = 1
                return True
        if int(tcp[SEG_STREAM]) < 0 or int(tcp[TAKEN]) == 1:
            return False
        if taken(memory, streams, chunks, tcp, log, faults):
            tcp[RUNNING] = tcp[DRAINING]
            return True


@kernel
def drained(streams: Any, chunks: Any, tcp: Any, stream: Any, frame: Any, time: Any) -> Any:
    """Make the first chunk of a stream the run, if it is its turn.

    A chunk that waited is complete with the frame that filled the hole; one behind a gap was
    complete when it came.
    """
    while int(streams[stream, FIRST_CHUNK]) > 0 and int(streams[stream, HELD]) == 0:
        chunk = int(streams[stream, FIRST_CHUNK])
        old = int(streams[stream, NEXT]) - int(chunks[chunk, OFFSET])
        if old < 0:
            return False
        start, kept, size = int(chunks[chunk, START]), int(chunks[chunk, KEPT]), int(chunks[chunk, SIZE])
        own, own_time = int(chunks[chunk, FRAME]), int(chunks[chunk, TIME])
        release(streams, chunks, stream)
        if old < size:
            if int(tcp[SKIPPING]) == 1:
                set_run(streams, tcp, stream, start + old, kept - old, size - old, own, own, own_time)
            else:
                set_run(streams, tcp, stream, start + old, kept - old, size - old, own, frame, time)
            return True
    return False


@kernel
def set_run(
    streams: Any,
    tcp: Any,
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
    tcp[AT] = start
    tcp[KEPT_END] = start + max(0, kept)
    tcp[END] = start + size
    tcp[OFFSET_END] = int(streams[stream, NEXT])
    tcp[OWN_FRAME] = own_frame
    tcp[DONE_FRAME] = frame
    tcp[DONE_TIME] = time
    tcp[LOSS] = CUT
    tcp[BEGINS] = start


@kernel
def gap(
    streams: Any,
    chunks: Any,
    tcp: Any,
    log: Any,
    stream: Any,
    offset: Any,
    chunk: Any,
    frame: Any,
    time: Any,
    faults: Any,
) -> None:
    """The bytes up to `offset` are lost: a run of nothing, noticed with `chunk` (or this frame)."""
    if chunk > 0:
        frame = int(chunks[chunk, FRAME])
        time = int(chunks[chunk, TIME])
    size = offset - int(streams[stream, NEXT])
    set_run(streams, tcp, stream, 0, 0, size, frame, frame, time)
    tcp[LOSS] = LOST
    note(faults, TCP_GAP, frame)
    streams[stream, GAPS] += 1
    streams[stream, GAP_BYTES] += size if size < ELSEWHERE else 0
    write_down(tcp, log, HOLE, stream, offset - size, offset, frame, time)


@kernel
def write_down(
    tcp: Any, log: Any, kind: Any, stream: Any, start: Any, end: Any, frame: Any, time: Any
) -> None:
    """A row of the log."""
    row = int(tcp[LOG_ROWS])
    if row < len(log):
        log[row, LOG_KIND] = kind
        log[row, LOG_FRAME] = frame
        log[row, LOG_TIME] = time
        log[row, LOG_STREAM] = stream
        log[row, LOG_START] = start
        log[row, LOG_END] = end
        tcp[LOG_ROWS] = row + 1


@kernel
def due_stream(streams: Any, chunks: Any, tcp: Any, time: Any) -> Any:
    """The stream whose hole was due first, or -1 and a new deadline."""
    best, first = -1, NEVER
    for slot in range(1, int(tcp[OPEN_HOLES]) + 1):
        stream = int(chunks[slot, WAITING])
        due = int(streams[stream, DUE])
        if due < first or (due == first and stream < best):
            best, first = stream, due
    if best >= 0 and first <= time:
        return best
    tcp[DEADLINE] = first
    return -1


@kernel
def taken(memory: Any, streams: Any, chunks: Any, tcp: Any, log: Any, faults: Any) -> Any:
    """Take the segment in hand into its stream; whether there is a run now."""
    stream, flags, size = int(tcp[SEG_STREAM]), int(tcp[SEG_FLAGS]), int(tcp[SEG_SIZE])
    seq, frame, time = int(tcp[SEG_SEQ]), int(tcp[SEG_FRAME]), int(tcp[SEG_TIME])
    tcp[TAKEN] = 1
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
    start, kept = int(tcp[SEG_START]), int(tcp[SEG_KEPT])
    if ahead > FAR or ahead < -FAR:
        return elsewhere(streams, chunks, tcp, log, stream, seq, frame, time, faults)
    if ahead > 0:
        return early(
            memory,
            streams,
            chunks,
            tcp,
            log,
            stream,
            expected + ahead,
            start,
            kept,
            size,
            frame,
            time,
            faults,
        )
    if ahead == 0 and int(tcp[SEG_AWAITS]) > int(streams[stream, WAITED]) and int(chunks[0, FOLLOWING]) > 0:
        streams[stream, HELD] = int(tcp[SEG_AWAITS])
        keep(memory, streams, chunks, tcp, log, stream, expected, start, kept, size, frame, time, faults)
        return False
    streams[stream, SEGMENTS] += 1
    if ahead < 0:
        first = expected + ahead
        if first >= 0 and not (size == 1 and ahead == -1):  # else before our time; a keepalive probe
            repeated(streams, tcp, log, stream, first, size, frame, time)
        if size <= -ahead:
            return False
    streams[stream, HELD] = 0
    tcp[DRAINING] = stream
    tcp[SKIPPING] = 0
    set_run(streams, tcp, stream, start - ahead, kept + ahead, size + ahead, frame, frame, time)
    return True


@kernel
def elsewhere(
    streams: Any, chunks: Any, tcp: Any, log: Any, stream: Any, seq: Any, frame: Any, time: Any, faults: Any
) -> Any:
    """The connection went on out of sight; give up its holes, one at a time, then follow it."""
    tcp[TAKEN] = 0
    if int(streams[stream, FIRST_CHUNK]) > 0:
        give_up(streams, tcp, stream)
        return False
    gap(streams, chunks, tcp, log, stream, int(streams[stream, NEXT]) + ELSEWHERE, 0, frame, time, faults)
    streams[stream, BASE] = (seq - int(streams[stream, NEXT])) & CIRCLE
    streams[stream, ACKED] = -1
    streams[stream, REPLIED] = -1
    tcp[DRAINING] = stream
    return True


@kernel
def early(
    memory: Any,
    streams: Any,
    chunks: Any,
    tcp: Any,
    log: Any,
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
    if (
        int(streams[stream, CHUNKS]) >= int(tcp[MOST_CHUNKS])
        or int(streams[stream, CHUNK_BYTES]) + size > int(tcp[MOST_BYTES])
        or int(chunks[0, FOLLOWING]) == 0
    ):
        note(faults, TCP_BUFFER_FULL, frame)
        tcp[TAKEN] = 0
        if int(streams[stream, FIRST_CHUNK]) > 0:
            give_up(streams, tcp, stream)
            return False
        gap(streams, chunks, tcp, log, stream, offset, 0, frame, time, faults)
        tcp[DRAINING] = stream
        return True
    if int(streams[stream, HELD]) == 0:
        streams[stream, REORDERED] += 1
    keep(memory, streams, chunks, tcp, log, stream, offset, start, kept, size, frame, time, faults)
    return False


@kernel
def keep(
    memory: Any,
    streams: Any,
    chunks: Any,
    tcp: Any,
    log: Any,
    stream: Any,
    offset: Any,
    start: Any,
    kept: Any,
    size: Any,
    frame: Any,
    time: Any,
    faults: Any,
) -> None:
    """Store a segment whose turn has not come."""
    streams[stream, SEGMENTS] += 1
    if store(memory, streams, chunks, stream, offset, start, kept, size, frame, time, faults):
        repeated(streams, tcp, log, stream, offset, size, frame, time)
    settle(streams, chunks, tcp, stream)


@kernel
def repeated(
    streams: Any, tcp: Any, log: Any, stream: Any, offset: Any, size: Any, frame: Any, time: Any
) -> None:
    """A segment brought bytes seen before."""
    streams[stream, REPEATED] += 1
    write_down(tcp, log, REPEAT, stream, offset, offset + size, frame, time)


@kernel
def forget_stream(streams: Any, chunks: Any, tcp: Any, stream: Any) -> None:
    """End the life of a stream."""
    while int(streams[stream, FIRST_CHUNK]) > 0:
        release(streams, chunks, stream)
    settle(streams, chunks, tcp, stream)
    reset(streams, stream)
