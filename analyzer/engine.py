"""The river: bytes in, sessions and findings out.

In: captures (paths), or blocks of packets. Out: an `Analysis`.

Theory. One `Engine` owns the stages and hands each its tables, block by block: the same engine serves
files, pipes and tests. Small captures run the kernels as plain Python, because compiling or even loading
compiled code would cost more; large ones run them compiled.

Never: interprets a byte itself.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from analyzer import kernels
from analyzer.capture.find import find_captures
from analyzer.capture.reader import Reader
from analyzer.capture.source import STDIN, Source, open_source
from analyzer.faults import MEANING, Fault, Faults, new_faults
from analyzer.findings.catalogue import evaluate
from analyzer.findings.rule import Finding
from analyzer.frames.dissector import Dissector
from analyzer.messages.assembler import Assembler
from analyzer.messages.row import new_messages
from analyzer.protocols import HEAD_ONLY, procedure_label
from analyzer.records.decode import Batch, Records
from analyzer.records.events import Control, Event, Hole, Repeat, Unreachable
from analyzer.sessions.world import Sessions
from analyzer.tables import Bytes, Controls, Messages, Notices, Packets, Segments, new_table

ARENA = 24 << 20
BLOCK = 4 << 20
ROWS = 1 << 16
CONTROL_ROWS = 1 << 14

# Below the first size plain Python is quicker than loading compiled kernels, below the second it is
# quicker than compiling them (bytes; measured on captures of small calls).
ALWAYS_PLAIN = 1 << 20
PLAIN_WHEN_COLD = 8 << 20
PACKED = 8  # a compressed capture is taken for this many times its size


Tap = Callable[[Bytes, Messages, int, "Engine"], None]
"""Called with memory, messages, their number and the engine, before the block is overwritten."""


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
    """Stages in a row, fed with blocks of packets that lie in `memory[ARENA:]`."""

    def __init__(self, compiled: bool, policy: str = "auto", block: int = BLOCK, arena: int = ARENA) -> None:
        self.compiled = compiled
        self.arena = arena
        self.memory = np.zeros(arena + block, np.uint8)
        self.faults: Faults = new_faults()
        self.packets = new_table(Packets, ROWS)
        self._segments = new_table(Segments, ROWS)
        self._controls = new_table(Controls, CONTROL_ROWS)
        self._notices = new_table(Notices, CONTROL_ROWS)
        self._messages = new_messages(ROWS)
        self.dissector = Dissector(compiled, self.faults)
        self.assembler = Assembler(
            compiled, self.faults, self.memory, arena, self.dissector.flows, np.array(HEAD_ONLY, np.int64)
        )
        self.records = Records(compiled, self.faults)
        self.sessions = Sessions(self.records.handles, policy)
        self.sessions.connections.acked = self.assembler.acked
        self.frames = 0
        self.taps: list[Tap] = []
        self.files: list[tuple[str, int]] = []  # captures in the order of reading, with their first frame

    def feed(self, rows: int) -> None:
        """Take in the first `rows` packets of `self.packets`."""
        if not rows:
            return
        s = self.sessions
        if not self.frames:
            s.start = int(self.packets.time[0])
        self.frames = s.last_frame = int(self.packets.frame[rows - 1])
        s.end = max(s.end, int(self.packets.time[:rows].max()))
        row = 0
        while row < rows:
            row, segments, controls, notices = self.dissector.feed(
                self.memory, self.packets, row, rows, self._segments, self._controls, self._notices
            )
            self._forget()
            self.assembler.flows = self.dissector.flows
            s.hosts.table = self.dissector.hosts
            extra = [*self._control_events(controls), *self._notice_events(notices)]
            at = 0
            while at < segments:
                at, count = self.assembler.feed(self.memory, self._segments, at, segments, self._messages)
                last = at >= segments
                self._deliver(count, [*extra, *self._stream_events()] if last else [])
            if not segments and extra:
                self._deliver(0, extra)
            self.assembler.end_block()

    def finish(self) -> None:
        """The capture is over."""
        self.assembler.flows = self.dissector.flows
        while count := self.assembler.finish(self._messages):
            self._deliver(count, [])
        self.sessions.hosts.table = self.dissector.hosts
        self.sessions.finish()

    def _deliver(self, count: int, extra: list[Event]) -> None:
        s = self.sessions
        for tap in self.taps:
            tap(self.memory, self._messages, count, self)
        batch: Batch = self.records.decode(self.memory, self._messages, count, s.ledger.locked.keys())
        for host, name in batch.names:
            s.hosts.name(host, name)
        events = batch.events
        if extra:
            events = sorted(events + extra, key=_frame)
        s.feed(events, batch.activity)

    def _forget(self) -> None:
        flows, self.dissector.forgotten = self.dissector.forgotten, []
        if flows:
            self.assembler.forget(flows)
            self.sessions.connections.forget(flows)

    def _control_events(self, count: int) -> Iterable[Event]:
        flows, c = self.dissector.flows, self._controls
        for i in range(count):
            flow, side = int(c.flow[i]), int(c.side[i])
            near = (int(flows.host0[flow]), int(flows.port0[flow]))
            far = (int(flows.host1[flow]), int(flows.port1[flow]))
            (src, sport), (dst, dport) = (near, far) if side == 0 else (far, near)
            yield Control(
                int(c.frame[i]), int(c.time[i]), flow, side, int(c.flags[i]), src, dst, sport, dport
            )

    def _notice_events(self, count: int) -> Iterable[Event]:
        n = self._notices
        for i in range(count):
            yield Unreachable(*(int(column[i]) for column in n))

    def _stream_events(self) -> Iterable[Event]:
        for row in zip(*(column.tolist() for column in self.assembler.repeats), strict=True):
            yield Repeat(*row)
        for row in zip(*(column.tolist() for column in self.assembler.holes), strict=True):
            yield Hole(*row)

    def health(self) -> Health:
        """Counters up to now."""
        a, count, first = self.assembler, self.faults.count, self.faults.first_frame
        met = [fault for fault in Fault if count[fault]]
        return Health(
            frames=self.frames,
            messages=a.messages,
            orphan_replies=a.orphan_replies,
            unanswered_calls=a.unanswered_calls(),
            retransmissions=a.retransmissions,
            tcp_gaps=int(count[Fault.TCP_GAP]),
            truncated_frames=int(count[Fault.FRAME_TRUNCATED]),
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
    policy: str = "auto",
    codes: Collection[str] | None = None,
    compiled: bool | None = None,
    on_compile: Callable[[], None] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
    taps: Sequence[Tap] = (),
) -> Analysis:
    """Analyse captures as one, in time order.

    `compiled` None lets the size decide. `on_compile` is called once if kernels must be compiled first,
    `on_progress` per block with bytes read and total (None for a pipe). Raises `AnalyzerError`.
    """
    found, skipped = find_captures(paths)
    if compiled is None:
        compiled = worth_compiling(found)
    if compiled and on_compile is not None and not kernels.is_warm():
        on_compile()
    engine = Engine(compiled, policy)
    engine.taps.extend(taps)
    engine.faults.count[Fault.NOT_A_CAPTURE] += len(skipped)
    sizes = [Path(path).stat().st_size for path in found if path != STDIN]
    total = sum(sizes) if len(sizes) == len(found) else None
    infos: list[CaptureInfo] = []
    done = 0
    with _rare_collections():
        for path in found:
            source = open_source(path)
            engine.files.append((path, engine.frames + 1))
            reader = Reader(source, engine.memory, engine.arena, compiled, engine.faults, engine.frames + 1)
            while rows := reader.read_block(engine.packets):
                engine.feed(rows)
                if on_progress is not None:
                    on_progress(done + source.bytes_read, total)
            done += source.bytes_read
            infos.append(_info(source, reader))
            source.close()
        engine.finish()
    health = engine.health()
    health.dropped_by_capture = sum(info.drops for info in infos)
    return Analysis(infos, health, engine.counts(), evaluate(engine.sessions, codes), engine.sessions)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Fewer runs of the garbage collector: nearly all that is made here is kept, and looking through it
    again and again took a third of the time of a capture with many locks."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def worth_compiling(paths: Sequence[str]) -> bool:
    """Whether compiled kernels pay for captures of this size."""
    size = 0
    for path in paths:
        if path == STDIN or not Path(path).is_file():
            return True
        source = open_source(path)
        size += (source.size or 0) * (PACKED if source.packed else 1)
        source.close()
    return size > ALWAYS_PLAIN and (size > PLAIN_WHEN_COLD or kernels.is_warm())


def _info(source: Source, reader: Reader) -> CaptureInfo:
    return CaptureInfo(
        source.path,
        reader.frames,
        reader.bytes,
        reader.first_time,
        reader.last_time,
        reader.link_types,
        reader.complete,
        reader.damage,
        reader.drops,
    )
