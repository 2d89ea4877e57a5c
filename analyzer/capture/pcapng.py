"""Blocks of a pcapng file to packets.

In: bytes in `memory`, and what the section has declared so far. Out: rows of `Packets`,
interfaces, and how far the bytes were understood.

Theory. A file is one or more sections, each in a byte order of its own, with interfaces
that are numbered from 0 in each section (draft-ietf-opsawg-pcapng). Time stamps count
units of the interface's own resolution, a power of 10 or of 2, from an offset of its own.
Every block tells its length at both ends, so damage shows at once. Blocks of no interest
are stepped over, and when they are large without ever standing in memory as a whole:
then the position returned lies beyond the bytes that are there.

Never: reads, waits, copies packet bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analyzer.capture.pcap import DAMAGED, FULL, GROW, MORE, MOST_CAPTURED, half, word
from analyzer.kernels import kernel
from analyzer.tables import I64

SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
ORDER_MAGIC, ORDER_MAGIC_SWAPPED = 0x1A2B3C4D, 0x4D3C2B1A

MOST_READ = MOST_CAPTURED + 0x10000  # a block that is looked into: a packet and its options
MOST_SKIPPED = 1 << 24  # a longer block is damage (Wireshark draws the line at 16 MiB, too)
MOST_INTERFACES = 1 << 16
LAST_SECOND = 9_223_372_035  # of the nanoseconds that 63 bits can count

# columns of `section`
BIG, COUNT, LAST_TIME, DROPS = 0, 1, 2, 3

# options (draft 3.5, 4.2, 4.6)
IF_TSRESOL, IF_TSOFFSET, ISB_IFDROP, ISB_OSDROP = 9, 14, 5, 7


class Interfaces(NamedTuple):
    """One row per interface of the current section."""

    link: I64
    snaplen: I64  # 0: no limit
    divide: I64  # units are divided by this first, where they are finer than we count,
    rate: I64  # then this many make a second
    offset: I64  # seconds to add
    drops: I64  # packets lost, as of its last statistics block


def new_interfaces(capacity: int, known: Interfaces | None = None) -> Interfaces:
    """Room for `capacity` interfaces, those already known among them."""
    table = Interfaces(*(np.zeros(capacity, np.int64) for _ in Interfaces._fields))
    for old, new in zip(known or (), table, strict=False):
        new[: len(old)] = old
    return table


def is_pcapng(head: bytes) -> bool:
    """Whether a file that begins with these four bytes may be a pcapng."""
    return head[:4] == b"\x0a\x0d\x0d\x0a"


@kernel
def frame_pcapng(
    memory: Any, at: Any, stop: Any, section: Any, interfaces: Any, packets: Any, first_frame: Any
) -> Any:
    """Rows of the whole blocks in memory[at:stop]: (rows, where it stopped, why)."""
    rows = 0
    while at + 12 <= stop:
        kind = word(memory, at, int(section[BIG]))
        if kind == SECTION:
            if word(memory, at + 8, 0) == ORDER_MAGIC:
                section[BIG] = 0
            elif word(memory, at + 8, 0) == ORDER_MAGIC_SWAPPED:
                section[BIG] = 1
            else:
                return rows, at, DAMAGED
        big = int(section[BIG])
        length = word(memory, at + 4, big)
        known = kind in (SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, PACKET)
        if length < 12 or length % 4 or length > MOST_SKIPPED or (known and length > MOST_READ):
            return rows, at, DAMAGED
        if length > MOST_READ:
            at += length
            continue
        if at + length > stop:
            break
        end = at + length - 4
        if word(memory, end, big) != length:
            return rows, at, DAMAGED
        if kind in (PACKET, OLD_PACKET, SIMPLE_PACKET):
            if rows == len(packets.time):
                return rows, at, FULL
            if not read_packet(memory, at + 8, end, kind, section, interfaces, packets, rows):
                return rows, at, DAMAGED
            packets.frame[rows] = first_frame + rows
            rows += 1
        elif kind == INTERFACE:
            if int(section[COUNT]) == len(interfaces.link):
                return rows, at, DAMAGED if int(section[COUNT]) >= MOST_INTERFACES else GROW
            if not read_interface(memory, at + 8, end, section, interfaces):
                return rows, at, DAMAGED
        elif kind == STATISTICS:
            read_statistics(memory, at + 8, end, section, interfaces)
        elif kind == SECTION:
            if length < 28 or half(memory, at + 12, big) != 1:
                return rows, at, DAMAGED
            for i in range(int(section[COUNT])):
                section[DROPS] += int(interfaces.drops[i])
            section[COUNT] = 0
        at += length
    return rows, at, MORE


@kernel
def read_packet(
    memory: Any, at: Any, end: Any, kind: Any, section: Any, interfaces: Any, packets: Any, row: Any
) -> Any:
    """Fill a row from the body of a packet block; whether the body makes sense."""
    big = int(section[BIG])
    interface, data, kept, wire, ticks = 0, at + 20, 0, 0, -1
    if kind == SIMPLE_PACKET:
        if at + 4 > end or int(section[COUNT]) == 0:
            return False
        data = at + 4
        wire = word(memory, at, big)
        kept = min(wire, end - data)
        if int(interfaces.snaplen[0]) > 0:
            kept = min(kept, int(interfaces.snaplen[0]))
    else:
        if data > end:
            return False
        interface = word(memory, at, big) if kind == PACKET else half(memory, at, big)
        # a time beyond 63 bits is hostile: its top bit is dropped
        ticks = ((word(memory, at + 4, big) & 0x7FFFFFFF) << 32) | word(memory, at + 8, big)
        kept = word(memory, at + 12, big)
        wire = word(memory, at + 16, big)
    if interface >= int(section[COUNT]) or kept > MOST_CAPTURED or data + kept > end:
        return False
    if ticks >= 0:  # a simple packet has no time: it takes that of the packet before it
        section[LAST_TIME] = nanoseconds(
            ticks,
            int(interfaces.divide[interface]),
            int(interfaces.rate[interface]),
            int(interfaces.offset[interface]),
        )
    packets.time[row] = int(section[LAST_TIME])
    packets.start[row] = data
    packets.stop[row] = data + kept
    packets.wire[row] = max(kept, wire)
    packets.link[row] = int(interfaces.link[interface])
    return True


@kernel
def nanoseconds(ticks: Any, divide: Any, rate: Any, offset: Any) -> Any:
    """A time stamp in ns since the epoch; 0 where that is no time that 63 bits can hold."""
    ticks //= divide
    seconds = ticks // rate
    if seconds > LAST_SECOND:
        return 0
    seconds += offset
    if seconds < 0 or seconds > LAST_SECOND:
        return 0
    return seconds * 1_000_000_000 + (ticks % rate) * 1_000_000_000 // rate


@kernel
def read_interface(memory: Any, at: Any, end: Any, section: Any, interfaces: Any) -> Any:
    """Enter an interface description; whether the body makes sense."""
    if at + 8 > end:
        return False
    big = int(section[BIG])
    row = int(section[COUNT])
    interfaces.link[row] = half(memory, at, big)
    interfaces.snaplen[row] = word(memory, at + 4, big)
    interfaces.divide[row] = 1
    interfaces.rate[row] = 1_000_000
    interfaces.offset[row] = 0
    interfaces.drops[row] = 0
    at += 8
    while at + 4 <= end:
        code, size = half(memory, at, big), half(memory, at + 2, big)
        if code == 0 or at + 4 + size > end:
            break
        if code == IF_TSRESOL and size == 1:
            set_resolution(interfaces, row, int(memory[at + 4]) & 0xFF)
        elif code == IF_TSOFFSET and size == 8:
            offset = long_word(memory, at + 4, big)
            if -(1 << 40) < offset < 1 << 40:
                interfaces.offset[row] = offset
        at += 4 + (size + 3) // 4 * 4
    section[COUNT] = row + 1
    return True


@kernel
def set_resolution(interfaces: Any, row: Any, code: Any) -> None:
    """if_tsresol: 10^-n seconds, or 2^-n with the top bit set."""
    base, least, power = 10, 9, code
    if code & 0x80:
        base, least, power = 2, 33, code & 0x7F  # 2^33 units times 10^9 still fit in 63 bits
    rate, divide = 1, 1
    for i in range(power):
        if i < least:
            rate *= base
        elif divide < 1 << 58:
            divide *= base
    interfaces.rate[row] = rate
    interfaces.divide[row] = divide


@kernel
def long_word(memory: Any, at: Any, big: Any) -> Any:
    """A signed 64-bit number in the byte order of the file."""
    high, low = word(memory, at, big), word(memory, at + 4, big)
    if not big:
        high, low = low, high
    if high >= 0x80000000:
        high -= 0x100000000
    return high * 0x100000000 + low


@kernel
def read_statistics(memory: Any, at: Any, end: Any, section: Any, interfaces: Any) -> None:
    """Remember how many packets an interface says it lost: a running count, so the last one holds."""
    big = int(section[BIG])
    if at + 12 > end or word(memory, at, big) >= int(section[COUNT]):
        return
    row = word(memory, at, big)
    drops = 0
    at += 12
    while at + 4 <= end:
        code, size = half(memory, at, big), half(memory, at + 2, big)
        if code == 0 or at + 4 + size > end:
            break
        if code in (ISB_IFDROP, ISB_OSDROP) and size == 8:
            drops += long_word(memory, at + 4, big) & 0xFFFFFFFFFF
        at += 4 + (size + 3) // 4 * 4
    interfaces.drops[row] = drops
