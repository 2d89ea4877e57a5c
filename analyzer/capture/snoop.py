"""Blocks of a Sun snoop file to packets.

In: bytes in `memory`. Out: rows of `Packets`, and how far the bytes were understood.

Theory. What Solaris records (RFC 1761): a header of 16 bytes and records of six words, the captured bytes
and padding, all big-endian. A record tells its own length, which includes the padding. Link types are
numbers of their own; those that nobody has a use for here stay apart from pcap's.

Never: reads, waits, copies packet bytes.
"""

from __future__ import annotations

from typing import Any

from analyzer.capture.pcap import DAMAGED, FULL, MORE, MOST_CAPTURED, word
from analyzer.kernels import kernel

HEADER = 16
MAGIC = b"snoop\0\0\0"
VERSION = 2
HEAD = 24  # bytes of a record before the packet
MOST_RECORD = MOST_CAPTURED + 1024
DROPS = 12  # where in it the packets lost so far are counted

# datalink types (RFC 1761 4) to LINKTYPE_ values
LINKS = {0: 1, 2: 6, 4: 1, 8: 10}
UNKNOWN = 1 << 16  # added to the others


def is_snoop(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a snoop file."""
    return head.startswith(MAGIC) and len(head) >= HEADER and int.from_bytes(head[8:12], "big") == VERSION


def read_link(header: bytes) -> int:
    """The link type of a file from its header."""
    link = int.from_bytes(header[12:16], "big")
    return LINKS.get(link, UNKNOWN + link)


@kernel
def frame_snoop(memory: Any, at: Any, stop: Any, link: Any, packets: Any, first_frame: Any) -> Any:
    """Rows of the whole records in memory[at:stop]: (rows, where it stopped, why)."""
    rows = 0
    while at + HEAD <= stop:
        if rows == len(packets.time):
            return rows, at, FULL
        kept, length = word(memory, at + 4, 1), word(memory, at + 8, 1)
        if length < HEAD + kept or length > MOST_RECORD:
            return rows, at, DAMAGED
        if at + length > stop:
            break
        packets.time[rows] = word(memory, at + 16, 1) * 1_000_000_000 + word(memory, at + 20, 1) * 1000
        packets.start[rows] = at + HEAD
        packets.stop[rows] = at + HEAD + kept
        packets.wire[rows] = max(kept, word(memory, at, 1))
        packets.link[rows] = link
        packets.frame[rows] = first_frame + rows
        rows += 1
        at += length
    return rows, at, MORE
