"""The river: bytes in, sessions and findings out.

In: captures (paths), or blocks of packets. Out: an `Analysis`.

Theory. One `Engine` owns the stages and hands each what the one before made, block by block: the same
engine serves files, pipes and tests. Small captures run the kernels as plain Python, because compiling or
even loading compiled code would cost more; large ones run them compiled, and there the front is at work
before records, sessions and findings are imported.

Never: interprets a byte itself.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyzer import kernels
from analyzer.capture.find import find_captures
from analyzer.capture.merge import Merger, Places
from analyzer.capture.reader import Reader
from analyzer.capture.source import STDIN, open_source
from analyzer.faults import MEANING, Fault, Faults, new_faults
from analyzer.front import MOST_FLOWS, ROWS, Ahead, Delivery, Front, quick_switches
from analyzer.parameters import AUTO, DEFAULTS, Settings
from analyzer.protocols import procedure_label
from analyzer.records.events import Event
from analyzer.tables import Bytes, Messages

if TYPE_CHECKING:
    from analyzer.findings.rule import Finding
    from analyzer.sessions.world import Sessions

# Below the first size plain Python is quicker than loading compiled kernels, below the second it is
# quicker than compiling them (bytes; measured on captures of small calls).
ALWAYS_PLAIN = 1 << 20
PLAIN_WHEN_COLD = 8 << 20
PACKED = 8  # a compressed capture is taken for this many times its size


Tap = Callable[[Bytes, Messages, int, "Engine"], Callable[[], None] | None]
"""Called with memory, messages, their number and the engine, before the block is overwritten; what it
returns is called when the sessions know the block."""


@dataclass(slots=True)
class CaptureInfo:
    """What one capture file was."""

    path: str
    packets: int
    bytes: int
    start: int | None
    end: int | None
    link_types: list[int]
    complete: bool
    damage: str | None
    drops: int


@dataclass(slots=True)
class Health:
    """How much of the traffic was seen and understood."""

    frames: int = 0
    messages: int = 0
    orphan_replies: int = 0
    unanswered_calls: int = 0
    retransmissions: int = 0
    tcp_gaps: int = 0
    truncated_frames: int = 0
    dropped_by_capture: int = 0
    settled_locks: int = 0  # granted, given back and let go of
    faults: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)  # first frame of each fault
    meanings: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Analysis:
    """Everything known at the end of a capture."""

    captures: list[CaptureInfo]
    health: Health
    counts: dict[str, int]  # calls by procedure, every copy
    findings: list[Finding]
    sessions: Sessions


class Engine:
    """The stages in a row: `front` up to paired messages, then records and sessions."""

    def __init__(
        self,
        compiled: bool,
        server_model: str = AUTO,
        settings: Settings = DEFAULTS,
        flows: int = MOST_FLOWS,
        front: Front | None = None,
        whole: bool = True,
        names_only: bool = False,
    ) -> None:
        """`front` None: one of its own, of so many `flows`; `whole`: keep all locks; `names_only`: follow
        what names files, and no locks."""
        from analyzer.records.decode import Records
        from analyzer.sessions.world import Sessions

        self.compiled = compiled
        self.front = front or Front(compiled, new_faults(), flows=flows)
        self.faults: Faults = self.front.faults
        self.memory = self.front.memory
        self.packets = self.front.packets
        self.records = Records(compiled, self.faults, names_only)
        self.sessions = Sessions(self.records.handles, server_model, settings)
        self.sessions.faults = self.faults
        self.sessions.counts, self.sessions.first_frames = self.records.counts, self.records.first_frames
        self.whole = whole
        self.taps: list[Tap] = []
        self.places = Places()  # which capture each frame is of

    @property
    def frames(self) -> int:
        """Frames taken in so far."""
        return self.sessions.last_frame

    def feed(self, rows: int) -> None:
        """Take in the first `rows` packets of `self.packets`."""
        for delivery in self.front.block(rows):
            self.take(delivery)

    def finish(self, now: int = 0) -> None:
        """The capture is over; `now`: as long as that was watched, ns since the epoch."""
        for delivery in self.front.finish():
            self.take(delivery)
        self.sessions.end = max(self.sessions.end, now)
        self.close()

    def close(self) -> None:
        """Everything has been taken in."""
        from analyzer.sessions.sides import traffic, unseen

        self.tell()
        connections, streams = self.sessions.connections, self.front.assembler.streams
        connections.traffic = traffic(self.front.dissector.flows, streams)
        connections.unseen = unseen(streams)
        self.sessions.finish()

    def tell(self) -> None:
        """Let the sessions know what became of connections up to now, for rules that ask."""
        front = self.front
        self.sessions.tell(front.dissector.flows, front.assembler.streams, front.assembler.torn())

    def take(self, delivery: Delivery) -> None:
        """Decode the messages of a delivery, and take what they say into the sessions."""
        told = [tap(self.memory, delivery.messages, delivery.rows, self) for tap in self.taps]
        batch = self.records.decode(self.memory, delivery.messages, delivery.rows)
        s = self.sessions
        if not s.last_frame:
            s.start = delivery.start
        s.end = max(s.end, delivery.end)
        s.last_frame = max(s.last_frame, delivery.last_frame)
        s.hosts.table = delivery.hosts
        s.connections.forget(delivery.forgotten)
        s.handles.tell(batch.handles, batch.described)
        for host, name in batch.names:
            s.hosts.name(host, name)
        withheld = np.zeros(delivery.rows, np.bool_)
        if not self.whole:
            requests = self.records.requests(batch)
            withheld = s.withheld.take(requests, self.records.lives, delivery.rows)
        events = self.records.events(batch, withheld)
        if delivery.events:
            events = sorted(events + delivery.events, key=_frame)
        s.feed(events, batch.activity)
        if not self.whole:
            s.settled.look(s)
        for tell in told:
            if tell is not None:
                tell()

    def health(self) -> Health:
        """Counters up to now."""
        a, count, first = self.front.assembler, self.faults.count, self.faults.first_frame
        count[Fault.STATE_EVICTED] = self.sessions.evicted()
        met = [fault for fault in Fault if count[fault]]
        return Health(
            frames=self.frames,
            messages=a.messages,
            orphan_replies=a.orphan_replies,
            unanswered_calls=a.unanswered_calls(),
            retransmissions=a.retransmissions,
            tcp_gaps=int(count[Fault.TCP_GAP]),
            truncated_frames=int(count[Fault.FRAME_TRUNCATED]),
            settled_locks=self.sessions.settled.count,
            faults={fault.name.lower(): int(count[fault]) for fault in met},
            places={fault.name.lower(): int(first[fault]) for fault in met},
            meanings={fault.name.lower(): MEANING[fault] for fault in met},
        )

    def counts(self) -> dict[str, int]:
        """Calls by procedure, in order of label."""
        labelled: dict[str, int] = {}
        for kind, number in self.records.counts.items():
            label = procedure_label(*kind)
            labelled[label] = labelled.get(label, 0) + number
        return dict(sorted(labelled.items()))


def _frame(event: Event) -> int:
    return event.frame


def analyze(
    paths: Sequence[str],
    *,
    server_model: str = AUTO,
    settings: Settings = DEFAULTS,
    codes: Collection[str] | None = None,
    compiled: bool | None = None,
    on_compile: Callable[[], None] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    taps: Sequence[Tap] = (),
    whole: bool = True,
    names_only: bool = False,
) -> Analysis:
    """Analyse captures as one, in time order.

    `compiled` None lets the size decide. `on_compile` is called once if kernels must be compiled first,
    `on_progress` per block with bytes read and total (None for a pipe). `whole` False lets go of locks of
    which no rule has anything to say: findings are the same, memory does not grow with the capture, and
    tables of locks lack rows. `names_only` follows what names files, for taps, and finds nothing. Raises
    `AnalyzerError`.
    """
    found, skipped = find_captures(paths)
    size = unpacked_size(found)
    if compiled is None:
        compiled = worth_compiling(size)
    if compiled and on_compile is not None and not kernels.is_warm():
        on_compile()
    front = Front(compiled, new_faults(), 2 if compiled else 1, len(found))
    front.faults.count[Fault.NOT_A_CAPTURE] += len(skipped)
    sizes = [Path(path).stat().st_size for path in found if path != STDIN]
    total = sum(sizes) if len(sizes) == len(found) else None
    merger = Merger(found, front.memory, front.room, compiled, front.faults, ROWS)

    def deliveries() -> Iterator[Delivery]:
        for block in merger.blocks():
            yield from front.block(block.rows, block.packets)
            if on_progress is not None:
                on_progress(merger.bytes_read, total)
        yield from front.finish()

    with _no_collections(), ExitStack() as at_work:
        at_work.callback(kernels.forget_tables)
        delivered = deliveries()
        if compiled:  # the front works ahead, for kernels leave the interpreter to others
            at_work.enter_context(quick_switches())
            delivered = at_work.enter_context(closing(Ahead(delivered)))
        engine = Engine(compiled, server_model, settings, front=front, whole=whole, names_only=names_only)
        engine.taps.extend(taps)
        engine.places = merger.places
        if not names_only:
            from analyzer.findings.catalogue import evaluate

        for delivery in delivered:
            engine.take(delivery)
        engine.close()
        infos = [capture_info(one.reader.source.path, one.reader) for one in merger.opened]
        engine.sessions.drop_spans = [(one.start or 0, one.end or 0) for one in infos if one.drops]
        findings = [] if names_only else evaluate(engine.sessions, codes)
    health = engine.health()
    health.dropped_by_capture = sum(info.drops for info in infos)
    return Analysis(infos, health, engine.counts(), findings, engine.sessions)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No runs of the garbage collector: what is made here is kept, or is dropped and in no circle, and
    looking through it all took a third of the time of a capture with many locks."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def unpacked_size(paths: Sequence[str]) -> float:
    """About how many bytes captures have unpacked; infinite for a pipe."""
    size = 0
    for path in paths:
        if path == STDIN or not Path(path).is_file():
            return math.inf
        source = open_source(path, convert=False)
        size += (source.size or 0) * (PACKED if source.packed else 1)
        source.close()
    return size


def worth_compiling(size: float) -> bool:
    """Whether compiled kernels pay for captures of so many bytes."""
    return size > ALWAYS_PLAIN and (size > PLAIN_WHEN_COLD or kernels.is_warm())


def capture_info(path: str, reader: Reader) -> CaptureInfo:
    """What a capture was, as far as it was read."""
    return CaptureInfo(
        path,
        reader.frames,
        reader.bytes,
        reader.first_time,
        reader.last_time,
        reader.link_types,
        reader.complete,
        reader.damage,
        reader.drops,
    )
