"""Segments that arrived ahead of a hole.

In: a piece of a stream and its offset. Out: chunks, in order of offset, without overlap.

Theory. A sorted list per stream, in one table of chunks for all. A chunk only points at its
bytes: within a block they stay where they were read, and the end of the block moves them.
The first copy of a byte wins (as in most stacks; RFC 9293 3.10.7.4 leaves it open), so a new
segment fills only the room between the chunks that are there; where it says something else
than they do, that is a fault worth seeing, for this is how an inspector is deceived.

Never: grows; decides when to give up waiting.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault, note
from analyzer.kernels import kernel
from analyzer.segments.streams import CHUNK_BYTES, CHUNKS, FIRST_CHUNK, LAST_CHUNK

# Columns of `chunks`. Row 0 is no chunk: 0 ends a list, and its FOLLOWING heads the free list.
# WAITING has nothing to do with the chunk of the row: down the column stand the streams that
# have a hole, of which there are no more than chunks.
OFFSET, START, KEPT, SIZE, FRAME, TIME, FOLLOWING, WAITING = range(8)

TCP_BUFFER_FULL = int(Fault.TCP_BUFFER_FULL)
TCP_OVERLAP_CONFLICT = int(Fault.TCP_OVERLAP_CONFLICT)


def new_chunks(count: int) -> NDArray[np.int64]:
    """Room for `count` chunks, all free."""
    chunks = np.zeros((count + 1, 8), np.int64)
    chunks[:-1, FOLLOWING] = np.arange(1, count + 1)
    return chunks


@kernel
def store(
    memory: Any,
    streams: Any,
    chunks: Any,
    stream: Any,
    offset: Any,
    start: Any,
    kept: Any,
    size: Any,
    frame: Any,
    time: Any,
    faults: Any,
) -> Any:
    """Keep what is new of a segment; whether some of it was there already."""
    repeated = False
    at = offset
    end = offset + size
    before = 0
    after = int(streams[stream, FIRST_CHUNK])
    last = int(streams[stream, LAST_CHUNK])
    if last > 0 and int(chunks[last, OFFSET]) + int(chunks[last, SIZE]) <= at:
        before = last
        after = 0
    while at < end:
        while after > 0 and int(chunks[after, OFFSET]) + int(chunks[after, SIZE]) <= at:
            before = after
            after = int(chunks[after, FOLLOWING])
        if after > 0 and int(chunks[after, OFFSET]) <= at:
            repeated = True
            stop = min(end, int(chunks[after, OFFSET]) + int(chunks[after, SIZE]))
            if differs(memory, chunks, after, at, stop, start + at - offset, kept - (at - offset)):
                note(faults, TCP_OVERLAP_CONFLICT, frame)
            at = stop
            continue
        stop = end
        if after > 0:
            stop = min(end, int(chunks[after, OFFSET]))
        chunk = int(chunks[0, FOLLOWING])
        if chunk == 0:
            note(faults, TCP_BUFFER_FULL, frame)
            return repeated
        chunks[0, FOLLOWING] = int(chunks[chunk, FOLLOWING])
        chunks[chunk, OFFSET] = at
        chunks[chunk, START] = start + at - offset
        chunks[chunk, SIZE] = stop - at
        chunks[chunk, KEPT] = max(0, min(stop - at, kept - (at - offset)))
        chunks[chunk, FRAME] = frame
        chunks[chunk, TIME] = time
        chunks[chunk, FOLLOWING] = after
        if before > 0:
            chunks[before, FOLLOWING] = chunk
        else:
            streams[stream, FIRST_CHUNK] = chunk
        if after == 0:
            streams[stream, LAST_CHUNK] = chunk
        streams[stream, CHUNKS] += 1
        streams[stream, CHUNK_BYTES] += stop - at
        before = chunk
        at = stop
    return repeated


@kernel
def differs(memory: Any, chunks: Any, chunk: Any, at: Any, stop: Any, start: Any, kept: Any) -> Any:
    """Whether stream bytes `at` to `stop`, captured at `start`, differ from those of the chunk."""
    into = at - int(chunks[chunk, OFFSET])
    count = min(stop - at, kept, int(chunks[chunk, KEPT]) - into)
    first = int(chunks[chunk, START]) + into
    for i in range(count):  # noqa: SIM110 (numba knows no generators)
        if int(memory[first + i]) != int(memory[start + i]):
            return True
    return False


@kernel
def release(streams: Any, chunks: Any, stream: Any) -> None:
    """Free the first chunk of a stream."""
    chunk = int(streams[stream, FIRST_CHUNK])
    following = int(chunks[chunk, FOLLOWING])
    streams[stream, FIRST_CHUNK] = following
    if following == 0:
        streams[stream, LAST_CHUNK] = 0
    streams[stream, CHUNKS] -= 1
    streams[stream, CHUNK_BYTES] -= int(chunks[chunk, SIZE])
    chunks[chunk, FOLLOWING] = int(chunks[0, FOLLOWING])
    chunks[0, FOLLOWING] = chunk
