"""Writes small captures, byte by byte, in every dialect a test may want."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

MICRO, NANO, MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
SECOND = 1_000_000_000


class Packet(NamedTuple):
    """What a test puts into a capture."""

    data: bytes
    time: int = 1_700_000_000 * SECOND
    wire: int | None = None

    @property
    def size(self) -> int:
        return len(self.data) if self.wire is None else self.wire


def some_packets(count: int = 5) -> list[Packet]:
    """Packets of different lengths, a second and a bit apart."""
    return [
        Packet(bytes([n]) * (n * 7 % 50), (1_700_000_000 + n) * SECOND + n * 1000, 60) for n in range(count)
    ]


def pcap_header(order: str = "<", magic: int = MICRO, link: int = 1, snaplen: int = 262144) -> bytes:
    return struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)


def pcap_record(packet: Packet, order: str = "<", magic: int = MICRO) -> bytes:
    seconds, rest = divmod(packet.time, SECOND)
    unit = 1 if magic == NANO else 1000
    head = struct.pack(order + "IIII", seconds, rest // unit, len(packet.data), packet.size)
    if magic == MODIFIED:
        head += struct.pack(order + "IHBB", 1, 0x0800, 0, 0)
    return head + packet.data


def pcap(packets: Iterable[Packet], order: str = "<", magic: int = MICRO, link: int = 1) -> bytes:
    records = (pcap_record(packet, order, magic) for packet in packets)
    return pcap_header(order, magic, link) + b"".join(records)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body = padded(body)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def options(pairs: Sequence[tuple[int, bytes]], order: str = "<") -> bytes:
    out = b"".join(struct.pack(order + "HH", code, len(value)) + padded(value) for code, value in pairs)
    return out + bytes(4) if pairs else b""


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(
    link: int = 1, snaplen: int = 0, pairs: Sequence[tuple[int, bytes]] = (), order: str = "<"
) -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options(pairs, order), order)


def enhanced(packet: Packet, number: int = 0, ticks: int | None = None, order: str = "<") -> bytes:
    ticks = packet.time // 1000 if ticks is None else ticks
    head = struct.pack(
        order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), packet.size
    )
    return block(6, head + padded(packet.data), order)


def simple(packet: Packet, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", packet.size) + packet.data, order)


def obsolete(packet: Packet, number: int = 0, order: str = "<") -> bytes:
    ticks = packet.time // 1000
    head = struct.pack(
        order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(packet.data), packet.size
    )
    return block(2, head + packet.data, order)


def statistics(number: int, ifdrop: int, osdrop: int, order: str = "<") -> bytes:
    pairs = [(5, struct.pack(order + "Q", ifdrop)), (7, struct.pack(order + "Q", osdrop))]
    return block(5, struct.pack(order + "III", number, 0, 0) + options(pairs, order), order)


def pcapng(packets: Iterable[Packet], order: str = "<", link: int = 1) -> bytes:
    return (
        section(order)
        + interface(link, order=order)
        + b"".join(enhanced(packet, order=order) for packet in packets)
    )
