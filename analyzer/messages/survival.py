"""What lives on when the block is overwritten.

In: the tables that point into memory. Out: the same, pointing into the other half of the arena.

Theory. Three kinds of bytes are still needed: pieces of records that are not complete, segments
that wait behind a hole, and the arguments of open calls. They are copied in this order, so that
what a decoder needs goes before what only explains a reply; of the arguments the newest go
first, and they leave half of the room to the records of the next block. What finds no room is
not kept: a chunk without bytes is a loss of known size, a call without arguments has none.

Never: drops a row.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernels import kernel
from analyzer.messages.arena import BLOCK, FLOOR, HALF, TOP, copy, swap
from analyzer.messages.pairing import ARGS, ARGS_BLOCK, ARGS_KEPT, BEFORE, LAST_OF, OPEN, list_of
from analyzer.messages.records import LISTED, P_KEPT, P_ROOM, P_START, PARTIAL
from analyzer.segments.reassembly import OPEN_HOLES
from analyzer.segments.store import FOLLOWING, KEPT, START, WAITING
from analyzer.segments.streams import FIRST_CHUNK


@kernel
def survive(memory: Any, arena: Any, streams: Any, parsers: Any, chunks: Any, tcp: Any, calls: Any) -> None:
    """Copy all that lives on, and begin a new block."""
    swap(arena)
    copy_records(memory, arena, parsers)
    for slot in range(1, int(tcp[OPEN_HOLES]) + 1):
        copy_chunks(memory, arena, streams, chunks, int(chunks[slot, WAITING]))
    copy_arguments(memory, arena, calls)


@kernel
def copy_records(memory: Any, arena: Any, parsers: Any) -> None:
    """Move the pieces of records; streams that have none any more leave the list."""
    count = 0
    for i in range(1, int(parsers[0, PARTIAL]) + 1):
        s = int(parsers[i, PARTIAL])
        kept = int(parsers[s, P_KEPT])
        if kept == 0:
            parsers[s, LISTED] = 0
            continue
        count += 1
        parsers[count, PARTIAL] = s
        start = copy(memory, arena, int(parsers[s, P_START]), kept)
        parsers[s, P_START] = start
        parsers[s, P_ROOM] = kept
    parsers[0, PARTIAL] = count


@kernel
def copy_chunks(memory: Any, arena: Any, streams: Any, chunks: Any, stream: Any) -> None:
    """Move the bytes of the segments that wait on a stream."""
    chunk = int(streams[stream, FIRST_CHUNK])
    while chunk > 0:
        start = copy(memory, arena, int(chunks[chunk, START]), int(chunks[chunk, KEPT]))
        if start < 0:
            chunks[chunk, KEPT] = 0
        else:
            chunks[chunk, START] = start
        chunk = int(chunks[chunk, FOLLOWING])


@kernel
def copy_arguments(memory: Any, arena: Any, calls: Any) -> None:
    """Move the arguments of the open calls, the newest first."""
    enough = int(arena[FLOOR]) + int(arena[HALF]) // 2
    block = int(arena[BLOCK])
    row = int(calls[0, list_of(OPEN) + LAST_OF])
    while row >= 0:
        start = -1
        kept = int(calls[row, ARGS_KEPT])
        if int(calls[row, ARGS_BLOCK]) == block - 1 and int(arena[TOP]) + kept <= enough:
            start = copy(memory, arena, int(calls[row, ARGS]), kept)
        if start >= 0:
            calls[row, ARGS] = start
            calls[row, ARGS_BLOCK] = block
        row = int(calls[row, BEFORE])
