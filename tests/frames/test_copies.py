"""Packets that the capture shows twice, and what only looks like them."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from analyzer.frames.copies import AT_ONCE, AT_ONCE_ELSEWHERE
from tests.frames.packets import (
    A6,
    ACK,
    B6,
    SYN,
    A,
    Lab,
    ethernet,
    fragments4,
    fragments6,
    ip4,
    ip6,
    tcp,
    udp,
)

BOTH = pytest.mark.parametrize("compiled", [False, True])
T = 10**12


def cooked(packet: bytes) -> bytes:
    return bytes(14) + struct.pack(">H", 0x0800 if packet[0] >> 4 == 4 else 0x86DD) + packet


def hop(packet: bytes) -> bytes:
    """One router further: TTL and header checksum."""
    return packet[:8] + b"\x3f" + packet[9:10] + b"\x12\x34" + packet[12:]


SEGMENT = ip4(tcp(b"some record", seq=5), 6)
DATAGRAM = ip4(udp(b"xid!" + bytes(40)))
TWICE = {
    "segment": [ethernet(SEGMENT)] * 2,
    "segment, IPv6": [ethernet(ip6(tcp(b"some record"), 6), 0x86DD)] * 2,
    "SYN": [ethernet(ip4(tcp(flags=SYN), 6))] * 2,
    "acknowledgement": [ethernet(ip4(tcp(), 6))] * 2,
    "datagram": [ethernet(DATAGRAM)] * 2,
    "datagram, IPv6": [ethernet(ip6(udp(b"xid!" + bytes(40))), 0x86DD)] * 2,
    "one tagged": [ethernet(SEGMENT), ethernet(SEGMENT, tags=[0x8100])],
    "before and behind a router": [ethernet(DATAGRAM), ethernet(hop(DATAGRAM))],
    "one in GRE": [ethernet(SEGMENT), ethernet(ip4(b"\0\0\x08\0" + SEGMENT, 47, "192.0.2.1", "192.0.2.2"))],
}


@BOTH
@pytest.mark.parametrize("name", TWICE)
def test_trap_12_a_copy_within_a_millisecond_is_counted_and_passed_over(name: str, compiled: bool) -> None:
    lab = Lab(compiled)
    first, copy = TWICE[name]
    assert len(lab.feed(first, time=T)) == 1
    assert lab.feed(copy, time=T + AT_ONCE) == []
    assert lab.feed(copy, time=T - 1000) == [], "clocks of two capturing processors"
    assert lab.met == {"FRAME_DUPLICATED": 2}
    assert lab.dissector.hosts.packets[0] == 1


@BOTH
@pytest.mark.parametrize("captures", [1, 2])
@pytest.mark.parametrize("name", TWICE)
def test_trap_12_the_capture_of_the_other_host_has_it_too(name: str, captures: int, compiled: bool) -> None:
    """Clocks of hosts are milliseconds apart; what is sent again is in both captures, and later."""
    lab = Lab(compiled, captures=captures)
    first, copy = TWICE[name]
    assert len(lab.feed(first, time=T, file=0)) == 1
    assert lab.feed(copy, time=T + AT_ONCE_ELSEWHERE, file=1) == []
    assert lab.met == {"FRAME_DUPLICATED": 1}
    assert len(lab.feed(first, time=T + 2 * AT_ONCE_ELSEWHERE, file=0)) == 1
    assert lab.feed(copy, time=T + 3 * AT_ONCE_ELSEWHERE, file=1) == []
    assert len(lab.feed(copy, time=T + 5 * AT_ONCE_ELSEWHERE, file=2)) == 1


@BOTH
def test_trap_29_a_capture_on_any_shows_what_a_bridge_forwards_twice(compiled: bool) -> None:
    lab = Lab(compiled)
    packets = [ip4(tcp(bytes([n]) * 9, seq=9 * n), 6) for n in range(20)]
    for n, packet in enumerate(packets):
        lab.feed(cooked(packet), link=113, time=T + 20_000 * n)
        if n % 4 == 3:  # copies come in bursts
            for late in range(n - 3, n + 1):
                lab.feed(cooked(packets[late]), link=113, time=T + 20_000 * n + late)
    assert [row.data[0] for row in lab.seen] == list(range(20))
    assert lab.met == {"FRAME_DUPLICATED": 20}


@BOTH
@pytest.mark.parametrize("split", [fragments4, fragments6])
@pytest.mark.parametrize("burst", [False, True])
def test_trap_12_fragments_twice_are_one_datagram(split: Any, burst: bool, compiled: bool) -> None:
    data = bytes(4000)
    kind = 0x0800 if split is fragments4 else 0x86DD
    pieces = [ethernet(piece, kind) for piece in split(udp(data), 1480, 2960)]
    order = pieces + pieces if burst else [piece for piece in pieces for _ in range(2)]
    lab = Lab(compiled)
    for n, piece in enumerate(order):
        lab.feed(piece, time=T + 1000 * n)
    lab.finish()
    assert [row.size for row in lab.seen] == [4000]
    assert lab.met == {"FRAME_DUPLICATED": 3}


@BOTH
@pytest.mark.parametrize(
    ("first", "other", "apart"),
    [
        (SEGMENT, SEGMENT, AT_ONCE + 1),  # a retransmission that keeps its number, as some systems send it
        (SEGMENT, ip4(tcp(b"some record", seq=5), 6), 1000),  # another identification: sent again
        (DATAGRAM, ip4(udp(b"xid!" + bytes(40))), 1000),
        (ip4(tcp(b"a", seq=1), 6, ident=9), ip4(tcp(b"b", seq=2), 6, ident=9), 1000),
        (ip6(udp(b"xid1" + bytes(40))), ip6(udp(b"xid2" + bytes(40))), 1000),
        (ip6(udp(b"xid1" + bytes(40))), ip6(udp(b"xid1" + bytes(44))), 1000),
        (ip6(udp(b"xid1")), ip6(udp(b"xid1"), source=B6, target=A6), 1000),
        (ip6(tcp(), 6), ip6(tcp(), 6), 1000),  # the third of these asks for a fast retransmission
        (ip6(tcp(flags=ACK | SYN), 6), ip6(tcp(flags=SYN), 6), 1000),
    ],
)
def test_what_is_no_copy(first: bytes, other: bytes, apart: int, compiled: bool) -> None:
    lab = Lab(compiled)
    kind = 0x0800 if first[0] >> 4 == 4 else 0x86DD
    lab.feed(ethernet(first, kind), time=T)
    lab.feed(ethernet(other, kind), time=T + apart)
    assert len(lab.seen) == 2
    assert lab.met == {}
    assert lab.dissector.address(0) in (A, A6)
