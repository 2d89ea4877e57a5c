"""Builds what the stage reads: RPC messages, records, segments, and runs it over them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analyzer.faults import Fault, Faults, new_faults
from analyzer.messages.assembler import LIMITS, Assembler, Limits
from analyzer.messages.pairing import LENGTH_OF, OPEN, list_of
from analyzer.messages.row import new_messages
from analyzer.tables import ACK, SYN, TCP, UDP, Flows, Messages, Segments, new_table

NFS, NLM, PORTMAP = 100003, 100021, 100000
SECOND = 1_000_000_000
HEAD_ONLY = np.array([(NFS, 3, 7, 0), (NFS, 3, 6, 1)], np.int64)
ISN = (1000, 5000)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def opaque(data: bytes) -> bytes:
    return words(len(data)) + data + bytes(-len(data) % 4)


def call(
    xid: int,
    program: int = NFS,
    version: int = 3,
    procedure: int = 1,
    args: bytes = b"",
    flavor: int = 0,
    cred: bytes = b"",
    rpcvers: int = 2,
) -> bytes:
    head = words(xid, 0, rpcvers, program, version, procedure, flavor)
    return head + opaque(cred) + words(0, 0) + args


def reply(xid: int, results: bytes = b"", status: int = 0, verifier: bytes = b"") -> bytes:
    return words(xid, 1, 0, 0) + opaque(verifier) + words(status) + results


def record(message: bytes, *cuts: int) -> bytes:
    """A record, in fragments cut at `cuts`."""
    ends = [*cuts, len(message)]
    starts = [0, *cuts]
    parts = [message[a:b] for a, b in zip(starts, ends, strict=True)]
    marks = [len(part) | (0x80000000 if i == len(parts) - 1 else 0) for i, part in enumerate(parts)]
    return b"".join(words(mark) + part for mark, part in zip(marks, parts, strict=True))


@dataclass
class Segment:
    flow: int
    side: int
    flags: int
    seq: int
    ack: int
    data: bytes
    time: int
    kept: int


@dataclass
class Script:
    """A capture to be: flows and segments, in order."""

    flows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    sent: dict[tuple[int, int], int] = field(default_factory=dict)
    clock: int = 1_700_000_000 * SECOND

    def flow(self, client: int = 0, server: int = 1, sport: int = 700, dport: int = 2049) -> int:
        """A TCP flow of which the beginning is not captured."""
        self.flows.append((client, server, sport, dport, TCP))
        row = len(self.flows) - 1
        self.sent[row, 0] = self.sent[row, 1] = 0
        return row

    def connect(self, client: int = 0, server: int = 1, sport: int = 700, dport: int = 2049) -> int:
        row = self.flow(client, server, sport, dport)
        self.raw(row, 0, ISN[0], b"", SYN)
        self.raw(row, 1, ISN[1], b"", SYN | ACK, ISN[0] + 1)
        return row

    def pair(self, client: int = 0, server: int = 1, sport: int = 800, dport: int = 111) -> int:
        """A UDP flow."""
        self.flows.append((client, server, sport, dport, UDP))
        return len(self.flows) - 1

    def raw(
        self, flow: int, side: int, seq: int, data: bytes, flags: int = ACK, ack: int = 0, kept: int = -1
    ) -> None:
        self.clock += 10_000
        kept = len(data) if kept < 0 else kept
        self.segments.append(
            Segment(flow, side, flags, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, data, self.clock, kept)
        )

    def at(
        self,
        flow: int,
        side: int,
        offset: int,
        data: bytes,
        acked: int | None = None,
        kept: int = -1,
        flags: int = 0,
    ) -> None:
        """A segment at a stream offset; `acked` acknowledges that offset of the other side."""
        ack = 0 if acked is None else ISN[1 - side] + 1 + acked
        flags |= 0 if acked is None else ACK
        self.raw(flow, side, ISN[side] + 1 + offset, data, flags, ack, kept)

    def send(self, flow: int, side: int, data: bytes, kept: int = -1) -> None:
        """The next bytes of a stream; acknowledges all of the other side."""
        self.at(flow, side, self.sent[flow, side], data, self.sent[flow, 1 - side], kept)
        self.sent[flow, side] += len(data)

    def skip(self, flow: int, side: int, data: bytes) -> None:
        """Bytes that are sent and not captured."""
        self.sent[flow, side] += len(data)

    def datagram(self, flow: int, side: int, data: bytes, kept: int = -1) -> None:
        self.raw(flow, side, 0, data, -1, 0, kept)

    def wait(self, seconds: float) -> None:
        self.clock += int(seconds * SECOND)


ROW_COLUMNS = [name for name in Messages._fields if name not in ("start", "cred", "body", "call_body")]


@dataclass
class Result:
    rows: list[dict[str, Any]]
    faults: Faults
    assembler: Assembler
    repeats: list[tuple[int, ...]]
    holes: list[tuple[int, ...]]

    def count(self, fault: Fault) -> int:
        return int(self.faults.count[fault])

    def faulty(self) -> set[str]:
        return {fault.name for fault in Fault if self.count(fault)}

    def calls(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["reply"] == 0]

    def replies(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["reply"] == 1]

    def bytes(self) -> list[bytes]:
        return [row["message"] for row in self.rows]


def run(
    script: Script,
    compiled: bool = False,
    block: int = 1 << 30,
    capacity: int = 64,
    limits: Limits = LIMITS,
    arena: int = 1 << 16,
    head_only: Any = HEAD_ONLY,
    cuts: set[int] | None = None,
    then: list[Segment] | None = None,
    forget: list[int] | None = None,
) -> Result:
    """Run a script in blocks of `block` segments (or cut at `cuts`) through a fresh assembler.

    `then` comes as the last block, before which the flows of `forget` are given to others.
    """
    flows = new_table(Flows, max(1, len(script.flows)))
    for row, (host0, host1, port0, port1, transport) in enumerate(script.flows):
        flows.host0[row], flows.host1[row] = host0, host1
        flows.port0[row], flows.port1[row] = port0, port1
        flows.transport[row] = transport
    faults = new_faults()
    blocks: list[list[Segment]] = [[]]
    for i, segment in enumerate(script.segments):
        if i and (i % block == 0 or (cuts is not None and i in cuts)):
            blocks.append([])
        blocks[-1].append(segment)
    if then is not None:
        blocks.append(then)
    room = max(sum(segment.kept for segment in part) for part in blocks)
    memory = np.zeros(arena + room, np.uint8)
    assembler = Assembler(compiled, faults, memory, arena, flows, head_only, limits=limits)
    messages = new_messages(capacity)
    result = Result([], faults, assembler, [], [])
    frame = 0
    for part in blocks:
        if part is then and forget is not None:
            assembler.forget(forget)
        segments = _fill(part, memory, arena, frame)
        frame += len(part)
        row = 0
        while row < len(part):
            row, count = assembler.feed(memory, segments, row, len(part), messages)
            result.rows += read(messages, count, memory)
        _collect(result)
        assembler.end_block()
        memory[arena:] = 0xEE
    while count := assembler.finish(messages):
        result.rows += read(messages, count, memory)
    _collect(result)
    return result


def _collect(result: Result) -> None:
    for table, rows in ((result.assembler.repeats, result.repeats), (result.assembler.holes, result.holes)):
        rows += zip(*(column.tolist() for column in table), strict=True)


def _fill(part: list[Segment], memory: Any, at: int, frame: int) -> Segments:
    segments = new_table(Segments, len(part))
    for i, segment in enumerate(part):
        memory[at : at + segment.kept] = np.frombuffer(segment.data[: segment.kept], np.uint8)
        segments.frame[i] = frame + i + 1
        segments.time[i], segments.flow[i], segments.side[i] = segment.time, segment.flow, segment.side
        segments.flags[i], segments.seq[i], segments.ack[i] = segment.flags, segment.seq, segment.ack
        segments.start[i], segments.kept[i], segments.size[i] = at, segment.kept, len(segment.data)
        at += segment.kept
    return segments


def read(messages: Messages, count: int, memory: Any) -> list[dict[str, Any]]:
    """Rows as dicts, with the bytes that their positions name."""
    rows = []
    for i in range(count):
        row: dict[str, Any] = {name: int(getattr(messages, name)[i]) for name in ROW_COLUMNS}
        row["message"] = _bytes(memory, int(messages.start[i]), row["kept"])
        row["body"] = _bytes(memory, int(messages.body[i]), row["body_kept"])
        row["cred"] = _bytes(memory, int(messages.cred[i]), row["cred_size"])
        row["call_body"] = _bytes(memory, int(messages.call_body[i]), row["call_body_kept"])
        rows.append(row)
    return rows


def _bytes(memory: Any, start: int, count: int) -> bytes:
    return b"" if start < 0 else memory[start : start + count].tobytes()


def open_calls(assembler: Assembler) -> int:
    """Copies of calls that wait for a reply now."""
    return int(assembler._calls[0, list_of(OPEN) + LENGTH_OF])
