"""Runs a laboratory's capture through the engine and keeps what the record stage hands on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import open_source
from analyzer.engine import Engine
from analyzer.records.events import Activity, Call, Event, Reply
from analyzer.tables import Packets
from tests.findings.lab import Lab

E = TypeVar("E")
CALL_FIELDS = (
    *("serial", "frame", "time", "src", "dst", "sport", "dport", "program", "version", "procedure", "args"),
    *("fault", "damage", "retransmit_of", "uid", "machine", "flavor", "xid", "stream_end"),
)
HANDLES = ("fh", "directory", "to_directory")


def feed_in_blocks(engine: Engine, path: Path, rows: int) -> None:
    """Feed a capture to an engine, `rows` packets at a time."""
    source = open_source(str(path))
    floor = len(engine.memory) - LEAST_REGION
    reader = Reader(source, engine.memory, floor, engine.compiled, engine.faults)
    while count := reader.read_block(engine.packets):
        read = Packets._make(column.copy() for column in engine.packets)
        for at in range(0, count, rows):
            part = min(rows, count - at)
            for name, column in engine.packets._asdict().items():
                column[:part] = getattr(read, name)[at : at + part]
            engine.feed(part)
    engine.finish()
    source.close()


class Stream:
    """Events and activity of a capture, read in blocks of `rows` packets."""

    def __init__(self, lab: Lab, rows: int = 1 << 16, compiled: bool = False) -> None:
        self.events: list[Event] = []
        self.activity: list[tuple[int, ...]] = []
        self.engine = Engine(compiled)
        feed = self.engine.sessions.feed

        def listen(events: Iterable[Event], activity: Activity) -> None:
            kept = list(events)
            self.events += kept
            self.activity += zip(*(column.tolist() for column in activity), strict=True)
            asked = [(event, event.args) for event in kept if isinstance(event, Call)]
            feed(kept, activity)
            for call, args in asked:  # the sessions keep less of them than the records gave
                call.args = args

        self.engine.sessions.feed = listen  # type: ignore[method-assign]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stream.pcap"
            lab.world.write(path)
            feed_in_blocks(self.engine, path, rows)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def address(self, host: int) -> str:
        """The address of a host row."""
        return self.engine.sessions.hosts.address(host)

    def plain(self) -> list[tuple[Any, ...]]:
        """Everything as plain values, handles as their bytes, for comparison between runs."""
        rows = [(*row[:5], self.handle(row[5]), *row[6:]) for row in self.activity]
        return [self._plain(event) for event in self.events] + rows

    def handle(self, row: int) -> bytes:
        """The handle of a row of the handle table."""
        return self.engine.records.handles.data[row] if row >= 0 else b""

    def _plain(self, event: Event) -> tuple[Any, ...]:
        if isinstance(event, Call):
            return ("call", *(getattr(event, name) for name in CALL_FIELDS))
        if isinstance(event, Reply):
            return (
                "reply",
                event.frame,
                event.time,
                event.call.serial,
                event.status,
                event.result,
                event.low,
            )
        if isinstance(event, tuple):
            return (type(event).__name__, *event)
        values = {name: getattr(event, name) for name in type(event).__slots__}
        values |= {name: self.handle(values[name]) for name in HANDLES if name in values}
        return (type(event).__name__, *values.values())
