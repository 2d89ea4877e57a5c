"""Blocks of a classic pcap file to packets.

In: bytes in `memory`. Out: rows of `Packets`, and how far the bytes were understood.

Theory. A file is a header of 24 bytes and records of a header and the captured bytes
(draft-ietf-opsawg-pcap). The magic number tells the byte order, the unit of the fraction
of a second, and whether record headers carry eight bytes more (the "modified" pcap of
Kuznetzov's patch). A record whose captured length is beyond what any libpcap writes is no
record: from there on nothing in the file can be trusted.

Never: reads, waits, copies packet bytes.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from analyzer.kernels import kernel

HEADER = 24
MOST_CAPTURED = 0x40000  # libpcap's MAXIMUM_SNAPLEN

# what stopped a framing kernel
MORE, FULL, DAMAGED, GROW = 0, 1, 2, 3


class PcapForm(NamedTuple):
    """How the records of one file are written."""

    big: int  # 1: big-endian
    scale: int  # nanoseconds per unit of the fraction
    head: int  # bytes of a record header
    link: int


_MAGIC = {
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),
}


def is_pcap(head: bytes) -> bool:
    """Whether a file that begins with these four bytes is a classic pcap."""
    return int.from_bytes(head[:4], "big") in _MAGIC or int.from_bytes(head[:4], "little") in _MAGIC


def read_header(header: bytes) -> PcapForm:
    """The form of a file from its first 24 bytes.

    The upper bits of the link type field tell the length of frame check sequences; those
    trail the frame and are cut off with Ethernet's padding, by the length of the IP packet.
    """
    big = int.from_bytes(header[:4], "big") in _MAGIC
    order: Literal["big", "little"] = "big" if big else "little"
    scale, head = _MAGIC[int.from_bytes(header[:4], order)]
    return PcapForm(int(big), scale, head, int.from_bytes(header[20:24], order) & 0xFFFF)


@kernel
def word(memory: Any, at: Any, big: Any) -> Any:
    """An unsigned 32-bit number in the byte order of the file."""
    a, b = int(memory[at]) & 0xFF, int(memory[at + 1]) & 0xFF  # the mask: signed for numba, too
    c, d = int(memory[at + 2]) & 0xFF, int(memory[at + 3]) & 0xFF
    if big:
        return (a << 24) | (b << 16) | (c << 8) | d
    return (d << 24) | (c << 16) | (b << 8) | a


@kernel
def half(memory: Any, at: Any, big: Any) -> Any:
    """An unsigned 16-bit number in the byte order of the file."""
    a, b = int(memory[at]) & 0xFF, int(memory[at + 1]) & 0xFF
    if big:
        return (a << 8) | b
    return (b << 8) | a


@kernel
def frame_pcap(memory: Any, at: Any, stop: Any, form: Any, packets: Any, first_frame: Any) -> Any:
    """Rows of the whole records in memory[at:stop]: (rows, where it stopped, why)."""
    times, starts, stops = packets.time, packets.start, packets.stop
    wires, links, frames = packets.wire, packets.link, packets.frame
    big, scale, head, link = form.big, form.scale, form.head, form.link
    room = len(times)
    rows = 0
    while at + head <= stop:
        if rows == room:
            return rows, at, FULL
        kept = word(memory, at + 8, big)
        if kept > MOST_CAPTURED:
            return rows, at, DAMAGED
        if at + head + kept > stop:
            break
        times[rows] = word(memory, at, big) * 1_000_000_000 + word(memory, at + 4, big) * scale
        starts[rows] = at + head
        stops[rows] = at + head + kept
        wires[rows] = max(kept, word(memory, at + 12, big))
        links[rows] = link
        frames[rows] = first_frame + rows
        rows += 1
        at += head + kept
    return rows, at, MORE
