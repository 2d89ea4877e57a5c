"""A capture of every message that is declared: calls and replies of all procedures, over UDP.

In: `analyzer.protocols`. Out: a pcap. Each message is as full as can be, one for each arm of its unions, with
every number different (`tests.strategies.fullest`).

Never: asks the code under test for anything but its declarations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from analyzer.protocols import PROGRAMS
from analyzer.schema.program import CALL, REPLY, Procedure, Program
from tests.capture import files
from tests.frames.packets import ethernet, ip4, udp
from tests.strategies import fullest, joined_bytes

CLIENT, SERVER = "192.0.2.21", "192.0.2.1"
PORT, SERVER_PORT = 700, 2049
HEAD = struct.Struct(">10I")
ACCEPTED = struct.pack(">5I", 1, 0, 0, 0, 0)


def everything(programs: tuple[Program, ...] = PROGRAMS) -> bytes:
    """The capture."""
    packets = [
        files.Packet(data, second * files.SECOND)
        for second, data in enumerate(_frames(programs), 1_700_000_000)
    ]
    return files.pcap(packets)


def _frames(programs: tuple[Program, ...]) -> Iterator[bytes]:
    xid = 0x10000
    for program in programs:
        for procedure in program.procedures.values():
            calls, replies = (_bodies(procedure, direction) for direction in (CALL, REPLY))
            for number in range(max(len(calls), len(replies))):
                xid += 1
                head = HEAD.pack(xid, 0, 2, program.number, program.version, procedure.number, 0, 0, 0, 0)
                yield _datagram(CLIENT, SERVER, PORT, SERVER_PORT, head + calls[number % len(calls)])
                head = struct.pack(">I", xid) + ACCEPTED
                yield _datagram(SERVER, CLIENT, SERVER_PORT, PORT, head + replies[number % len(replies)])


def _bodies(procedure: Procedure, direction: int) -> list[bytes]:
    declared = procedure.body(direction)
    return [b""] if declared is None else [joined_bytes(tokens) for tokens in fullest(declared)]


def _datagram(source: str, target: str, sport: int, dport: int, body: bytes) -> bytes:
    return ethernet(ip4(udp(body, sport, dport), source=source, target=target))
