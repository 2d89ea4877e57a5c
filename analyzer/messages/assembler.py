"""Segments to messages: the stage as the engine sees it.

In: `Segments` of a block, in capture order. Out: `Messages`, in the order of completion;
`repeats` and `holes` of the block; counters of streams and calls.

Theory. The class owns all that lives between segments (streams, parsers, calls, the arena) and
gives it to the kernels; a row of flows that is used again begins a new life with `forget`. All
of it is bounded: streams by the flows, the rest by the limits given here.

Never: touches a byte itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analyzer.faults import Faults
from analyzer.kernels import compiled as _compiled
from analyzer.messages.arena import new_arena
from analyzer.messages.loop import assemble
from analyzer.messages.pairing import (
    ORPHANS,
    REPLIES,
    RETRANSMITTED,
    SERIALS,
    UNANSWERED,
    count_unanswered,
    new_calls,
)
from analyzer.messages.records import LISTED, TORN_SINCE, TORN_UNTIL, new_parsers
from analyzer.messages.row import matrix_of, new_row
from analyzer.messages.survival import survive
from analyzer.segments.reassembly import (
    LOG_ROWS,
    forget_stream,
    holes_of,
    new_log,
    new_state,
    repeats_of,
)
from analyzer.segments.store import new_chunks
from analyzer.segments.streams import new_streams, report
from analyzer.tables import I64, Bytes, Flows, Holes, Messages, Repeats, Segments, Streams, new_table
from analyzer.words import views

# Programs of which a message is believed on sight: portmap, NFS, MOUNT, rquota, the local lock
# manager, NLM, NSM, NFS_ACL, NFS callback, and SGI's status callback.
PROGRAMS = np.array(
    [100000, 100003, 100005, 100011, 100020, 100021, 100024, 100227, 200048, 0x40000000], np.int64
)


class Limits(NamedTuple):
    """Bounds on what is kept."""

    calls: int = 1 << 17  # copies of calls, open or answered
    answered: int = 3 << 12  # ... answered: with some open ones they fit into an index of 32,768 slots
    chunks: int = 8192  # segments that wait behind holes, in all
    stream_chunks: int = 256  # ... of one stream
    stream_bytes: int = 1 << 20


LIMITS = Limits()


class Assembler:
    """TCP reassembly, record marking, RPC headers and the pairing of calls and replies."""

    def __init__(
        self,
        compiled: bool,
        faults: Faults,
        memory: Bytes,
        arena_size: int,
        flows: Flows,
        head_only: I64,
        programs: I64 = PROGRAMS,
        limits: Limits = LIMITS,
    ) -> None:
        """`head_only`: rows of (program, version, procedure, 0 call or 1 reply)."""
        self.flows = flows
        self._memory = memory
        self._faults = faults
        self._head_only = np.asarray(head_only, np.int64).reshape(-1, 4)
        self._programs = programs
        self._limits = limits
        self._assemble = _compiled(assemble) if compiled else assemble
        self._survive = _compiled(survive) if compiled else survive
        self._unanswered = _compiled(count_unanswered) if compiled else count_unanswered
        self._forget = _compiled(forget_stream) if compiled else forget_stream
        self._streams = new_streams(0)
        self._parsers = new_parsers(0)
        self._chunks = new_chunks(limits.chunks)
        self._tcp = new_state(limits.stream_chunks, limits.stream_bytes)
        self._log = new_log(0)
        self._calls, self._slots = new_calls(limits.calls, limits.answered)
        self._arena = new_arena(arena_size)
        self._message = new_row()
        self._is_compiled = compiled
        self._no_segments = new_table(Segments, 0)

    def feed(
        self, memory: Bytes, segments: Segments, first_row: int, rows: int, messages: Messages
    ) -> tuple[int, int]:
        """Take segments until `rows` or until `messages` is full: (next row, messages filled)."""
        if first_row >= rows:
            return first_row, 0
        self._make_room(int(segments.flow[first_row:rows].max()) + 1, rows - first_row)
        return self._run(memory, segments, first_row, rows, messages)

    def finish(self, messages: Messages) -> int:
        """The capture is over: what still waits behind holes. To be called until it returns 0."""
        self._make_room(0, 0)
        return self._run(self._memory, self._no_segments, -1, 0, messages)[1]

    def end_block(self) -> None:
        """The block is about to be overwritten: save what lives on."""
        self._survive(
            self._memory,
            self._arena,
            self._streams,
            self._parsers,
            self._chunks,
            self._tcp,
            self._calls,
        )
        self._tcp[LOG_ROWS] = 0

    def forget(self, flows: list[int]) -> None:
        """These rows of flows are given to others: their streams are no more."""
        for flow in flows:
            for stream in (2 * flow, 2 * flow + 1):
                if stream < len(self._streams):
                    self._forget(self._streams, self._chunks, self._tcp, stream)
                    self._parsers[stream, :LISTED] = 0

    @property
    def streams(self) -> Streams:
        """The counters of all streams: row * 2 + side."""
        return report(self._streams)

    @property
    def repeats(self) -> Repeats:
        """The segments of this block that carried bytes seen before."""
        return repeats_of(self._log[: int(self._tcp[LOG_ROWS])])

    @property
    def holes(self) -> Holes:
        """The gaps that came to light in this block."""
        return holes_of(self._log[: int(self._tcp[LOG_ROWS])])

    def torn(self) -> dict[int, tuple[int, int]]:
        """The flows from which whole records were lost, with the times of the first and the last loss."""
        found: dict[int, tuple[int, int]] = {}
        for stream in np.flatnonzero(self._parsers[: len(self._streams), TORN_SINCE]).tolist():
            since, until = (int(self._parsers[stream, column]) for column in (TORN_SINCE, TORN_UNTIL))
            before, after = found.get(stream // 2, (since, until))
            found[stream // 2] = min(since, before), max(until, after)
        return found

    def unanswered_calls(self) -> int:
        """Calls of which no copy was answered, up to now."""
        return int(self._calls[0, UNANSWERED]) + int(self._unanswered(self._calls))

    @property
    def calls(self) -> int:
        """Calls delivered, every copy."""
        return int(self._calls[0, SERIALS])

    @property
    def replies(self) -> int:
        """Replies delivered."""
        return int(self._calls[0, REPLIES])

    @property
    def messages(self) -> int:
        """Messages delivered."""
        return self.calls + self.replies

    @property
    def retransmissions(self) -> int:
        """Calls that were copies of an earlier one."""
        return int(self._calls[0, RETRANSMITTED])

    @property
    def orphan_replies(self) -> int:
        """Replies whose call was not captured."""
        return int(self._calls[0, ORPHANS])

    def _run(
        self, memory: Bytes, segments: Segments, row: int, rows: int, messages: Messages
    ) -> tuple[int, int]:
        self._memory = memory
        # plain Python reads bytes from a memoryview twice as fast as from an array
        view: Any = memory if self._is_compiled else memory.data
        next_row, count = self._assemble(
            view,
            views(memory)[1],
            segments,
            row,
            rows,
            matrix_of(messages),
            self._message,
            self.flows.host0,
            self.flows.host1,
            self.flows.port0,
            self.flows.port1,
            self._streams,
            self._parsers,
            self._chunks,
            self._tcp,
            self._log,
            self._calls,
            self._slots,
            self._arena,
            self._head_only,
            self._programs,
            self._faults,
        )
        return int(next_row), int(count)

    def _make_room(self, flows: int, rows: int) -> None:
        """Streams for `flows` flows, and a log for what `rows` more segments may bring."""
        have = len(self._streams)
        if 2 * flows > have:
            more = max(2 * flows, 2 * have, 64) - have
            self._streams = np.concatenate([self._streams, new_streams(more)])
            self._parsers = np.concatenate([self._parsers, new_parsers(more - 1)])
        # a segment is one repeat at most, and every hole has a chunk or a segment behind it
        wanted = int(self._tcp[LOG_ROWS]) + 2 * rows + self._limits.chunks
        if wanted > len(self._log):
            longer = new_log(2 * wanted)
            longer[: len(self._log)] = self._log
            self._log = longer
