"""Builds packets layer by layer, and dissects them into plain Python values."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, NamedTuple

import numpy as np

from analyzer.faults import Fault, new_faults
from analyzer.frames.dissector import Dissector
from analyzer.frames.fragments import ROOM, new_fragments
from analyzer.tables import Controls, Notices, Packets, Segments, new_table

A, B = "10.0.0.1", "10.0.0.2"
A6, B6 = "fd77::21", "fd77::10"
SYN, FIN, RST, ACK = 2, 1, 4, 16
MEMORY_START = ROOM + 1000
APART = 2_000_000  # ns from frame to frame: no frame is a copy of another
IDENTS = itertools.count()  # every IPv4 packet is another one


def ethernet(body: bytes, kind: int = 0x0800, tags: Sequence[int] = ()) -> bytes:
    stack = b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    return bytes(12) + stack + struct.pack(">H", kind) + body


def ip4(
    body: bytes,
    protocol: int = 17,
    source: str = A,
    target: str = B,
    options: bytes = b"",
    total: int | None = None,
    fragment: int = 0,
    ident: int = 0,
) -> bytes:
    total = 20 + len(options) + len(body) if total is None else total
    ident = ident or next(IDENTS) % 65535 + 1
    version = 0x40 | (5 + len(options) // 4)
    head = struct.pack(">BBHHHBBH", version, 0, total, ident, fragment, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(target).packed + options + body


def ip6(
    body: bytes, protocol: int = 17, source: str = A6, target: str = B6, size: int | None = None
) -> bytes:
    size = len(body) if size is None else size
    head = struct.pack(">IHBB", 6 << 28, size, protocol, 64)
    return head + ip_address(source).packed + ip_address(target).packed + body


def fragments4(
    body: bytes, *cuts: int, protocol: int = 17, ident: int = 0, source: str = A, target: str = B
) -> list[bytes]:
    """The IPv4 fragments of an IP payload, cut at these offsets."""
    ident = ident or next(IDENTS) % 65535 + 1
    ends = [*cuts, len(body)]
    return [
        ip4(
            body[at:end],
            protocol,
            source,
            target,
            fragment=at // 8 | (0x2000 if end < len(body) else 0),
            ident=ident,
        )
        for at, end in zip([0, *cuts], ends, strict=True)
    ]


def fragments6(
    body: bytes, *cuts: int, protocol: int = 17, ident: int = 0, source: str = A6, target: str = B6
) -> list[bytes]:
    """The IPv6 fragments of the same."""
    ident = ident or next(IDENTS)
    out = []
    for at, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        head = struct.pack(">BBHI", protocol, 0, at | (end < len(body)), ident)
        out.append(ip6(head + body[at:end], 44, source, target))
    return out


def udp(body: bytes, sport: int = 700, dport: int = 111, length: int | None = None) -> bytes:
    return struct.pack(">HHHH", sport, dport, 8 + len(body) if length is None else length, 0) + body


def tcp(
    body: bytes = b"",
    sport: int = 700,
    dport: int = 2049,
    seq: int = 1000,
    ack: int = 0,
    flags: int = ACK,
    options: bytes = b"",
    offset: int | None = None,
) -> bytes:
    offset = 5 + len(options) // 4 if offset is None else offset
    return struct.pack(">HHIIBBHHH", sport, dport, seq, ack, offset << 4, flags, 100, 0, 0) + options + body


class Seen(NamedTuple):
    """A segment as the dissector told it."""

    frame: int
    ends: tuple[str, int, str, int]
    transport: int
    flow: int
    side: int
    flags: int
    seq: int
    ack: int
    data: bytes
    size: int


class Lab:
    """A dissector with its tables, fed packet lists."""

    def __init__(self, compiled: bool = False, outputs: int = 64, **limits: int) -> None:
        self.faults = new_faults()
        sizes = {name: limits.pop(name) for name in ("waiting", "done") if name in limits}
        self.dissector = Dissector(compiled, self.faults, new_fragments(0, **sizes), **limits)
        self.memory = np.zeros(MEMORY_START + (1 << 20), np.uint8)
        self.segments = new_table(Segments, outputs)
        self.controls = new_table(Controls, outputs)
        self.notices = new_table(Notices, outputs)
        self.frame = 0
        self.seen: list[Seen] = []
        self.control_rows: list[tuple[int, int, int, int]] = []
        self.notice_rows: list[tuple[int, str, str, int, str, int, int]] = []
        self.feeds = 0

    def feed(
        self, *frames: bytes, link: int = 1, wire: int | None = None, time: int = 0, file: int = 0
    ) -> list[Seen]:
        """Dissect frames captured in full, or cut from `wire` bytes; what came of them."""
        memory = self.memory
        packets = new_table(Packets, max(1, len(frames)))
        at = MEMORY_START
        for row, data in enumerate(frames):
            self.frame += 1
            memory[at : at + len(data)] = np.frombuffer(data, np.uint8)
            packets.start[row], packets.stop[row] = at, at + len(data)
            packets.wire[row] = len(data) if wire is None else wire
            packets.link[row], packets.frame[row] = link, self.frame
            packets.time[row], packets.file[row] = time or self.frame * APART, file
            at += len(data)
        return self.run(memory, packets, len(frames))

    def run(self, memory: Any, packets: Packets, rows: int) -> list[Seen]:
        before = len(self.seen)
        row = 0
        while row < rows:
            last = row
            row, n, n_controls, n_notices = self.dissector.feed(
                memory, packets, row, rows, self.segments, self.controls, self.notices
            )
            assert row > last or n, "every feed gets on"
            self.feeds += 1
            self._collect(memory, n, n_controls, n_notices)
        return self.seen[before:]

    def finish(self) -> list[Seen]:
        """No more packets come; what that brought to light."""
        before = len(self.seen)
        while self.dissector.finish():
            told = self.dissector.feed(
                self.memory, new_table(Packets, 1), 0, 0, self.segments, self.controls, self.notices
            )
            self._collect(self.memory, *told[1:])
        return self.seen[before:]

    def _collect(self, memory: Any, n: int, n_controls: int, n_notices: int) -> None:
        s, c, flows, address = self.segments, self.controls, self.dissector.flows, self.dissector.address
        for i in range(n):
            flow, side = int(s.flow[i]), int(s.side[i])
            ends = [
                (address(int(flows.host0[flow])), int(flows.port0[flow])),
                (address(int(flows.host1[flow])), int(flows.port1[flow])),
            ]
            (source, sport), (target, dport) = ends[side], ends[1 - side]
            start, kept = int(s.start[i]), int(s.kept[i])
            self.seen.append(
                Seen(
                    int(s.frame[i]),
                    (source, sport, target, dport),
                    int(flows.transport[flow]),
                    flow,
                    side,
                    int(s.flags[i]),
                    int(s.seq[i]),
                    int(s.ack[i]),
                    memory[start : start + kept].tobytes(),
                    int(s.size[i]),
                )
            )
            assert kept == len(self.seen[-1].data)
        for i in range(n_controls):
            self.control_rows.append((int(c.frame[i]), int(c.flow[i]), int(c.side[i]), int(c.flags[i])))
        for i in range(n_notices):
            t = self.notices
            self.notice_rows.append(
                (
                    int(t.frame[i]),
                    address(int(t.source[i])),
                    address(int(t.target[i])),
                    int(t.kind[i]),
                    address(int(t.host[i])),
                    int(t.port[i]),
                    int(t.transport[i]),
                )
            )

    @property
    def met(self) -> dict[str, int]:
        """Faults and how often."""
        return {Fault(i).name: int(n) for i, n in enumerate(self.faults.count) if n}
