"""What happens seldom, once before a capture begins.

In: nothing. Out: kernels that are ready.

Theory. A kernel is loaded, or compiled where that was never done, when it is first called. For those that
make room where there are too many connections that is after minutes or weeks: then packets would have to
wait for seconds, and memory would rise by the 100 MB of a compiler. So a front with room for two connections
is shown more than that, and thrown away.

Never: leaves a trace.
"""

from __future__ import annotations

import struct

from analyzer.faults import new_faults
from analyzer.front import FLOOR, Front
from analyzer.tables import SYN

CONNECTIONS = 6
LIMIT = 2
ETHERNET, IPV4, TCP = 1, 0x0800, 6
PACKET = 54  # bytes


def rehearse(compiled: bool = True) -> int:
    """Let a front make room; how many connections it gave up."""
    front = Front(compiled, new_faults(), flows=LIMIT)
    packets = front.packets
    for row in range(CONNECTIONS):
        start = FLOOR + row * PACKET
        front.memory[start : start + PACKET] = list(_opening(row))
        packets.time[row], packets.frame[row] = row + 1, row + 1
        packets.start[row], packets.stop[row] = start, start + PACKET
        packets.wire[row], packets.link[row], packets.file[row] = PACKET, ETHERNET, 0
    forgotten = [flow for delivery in front.block(CONNECTIONS) for flow in delivery.forgotten]
    front.assembler.unanswered_calls()
    return len(forgotten)


def _opening(number: int) -> bytes:
    """A SYN from one of several hosts."""
    hosts = struct.pack(">4B4B", 10, 0, 0, number + 2, 10, 0, 0, 1)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, number, 0, 64, TCP, 0) + hosts
    return (
        bytes(12)
        + struct.pack(">H", IPV4)
        + ip
        + struct.pack(">HHIIBBHHH", 900, 2049, 1, 0, 0x50, SYN, 0, 0, 0)
    )
