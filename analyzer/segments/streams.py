"""What is known of each TCP byte stream: one row per flow and side.

In: rows of flows. Out: `streams`, one int64 row per stream (flow * 2 + side).

Theory. A stream is a row and not a set of columns, because one segment touches most of a row:
two cache lines. Offset 0 is the first payload byte where the SYN was captured, else the first
byte seen. UDP flows have rows too, of which only ID is used. ID is unique to one life of a row,
so that what others keep by it (open calls) dies with the life when the row is used again.

Never: sees a payload byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel
from analyzer.tables import Streams

(
    ID,  # unique number of this life of the row, 0: never used
    KNOWN,  # BASE is known
    SYN_SEEN,  # ... from the opening SYN
    BASE,  # sequence number of offset 0
    NEXT,  # offset of the first byte not yet handed on
    ACKED,  # highest offset that the peer acknowledged, -1 none
    REPLIED,  # highest offset acknowledged by a segment that carried payload, -1 none
    SEGMENTS,  # with payload
    REPEATED,  # of them, those with bytes seen before
    REORDERED,  # of them, those ahead of a hole
    GAPS,
    GAP_BYTES,
    FIRST_CHUNK,  # list of segments ahead of a hole, in order of offset; 0 none
    LAST_CHUNK,
    CHUNKS,
    CHUNK_BYTES,
    HOLE_SLOT,  # place in the list of streams with a hole, 0 none
    DUE,  # time at which the hole is taken for a gap
    HELD,  # offset of the other side that its first chunk waits for, 0 none
    WAITED,  # such an offset that was waited for in vain
) = range(20)
WIDTH = 20


def new_streams(rows: int) -> NDArray[np.int64]:
    """Streams never used."""
    streams = np.zeros((rows, WIDTH), np.int64)
    streams[:, ACKED] = streams[:, REPLIED] = -1
    return streams


def report(streams: NDArray[np.int64]) -> Streams:
    """The public columns of `streams`, as views."""
    chosen = (NEXT, ACKED, SEGMENTS, REPEATED, REORDERED, GAPS, GAP_BYTES)
    return Streams(*(streams[:, column] for column in chosen))


@kernel
def reset(streams: Any, stream: Any) -> None:
    """Forget all of a stream but its place in lists, which their owners clear."""
    for column in range(WIDTH):
        streams[stream, column] = 0
    streams[stream, ACKED] = -1
    streams[stream, REPLIED] = -1
