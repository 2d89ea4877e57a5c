"""Every link layer gives the same datagram."""

from __future__ import annotations

import struct

import pytest

from tests.frames.packets import A6, B6, A, B, Lab, ethernet, ip4, ip6, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])
FOUR, SIX = ip4(udp(b"four")), ip6(udp(b"six6"))
SNAP4 = b"\xaa\xaa\x03\0\0\0\x08\x00" + FOUR
SNAP6 = b"\xaa\xaa\x03\0\0\0\x86\xdd" + SIX


def cooked(body: bytes, kind: int) -> bytes:
    return bytes(14) + struct.pack(">H", kind) + body


def cooked2(body: bytes, kind: int) -> bytes:
    return struct.pack(">H", kind) + bytes(18) + body


def snap(body: bytes, kind: int) -> bytes:
    return b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", kind) + body


def labels(body: bytes, count: int = 1) -> bytes:
    """MPLS labels 16, 17, ..., the last with the bottom-of-stack bit."""
    stack = [(16 + n) << 12 | (n == count - 1) << 8 | 64 for n in range(count)]
    return struct.pack(f">{count}I", *stack) + body


def pppoe(body: bytes, protocol: bytes = b"\0\x21") -> bytes:
    return struct.pack(">BBHH", 0x11, 0, 7, len(protocol) + len(body)) + protocol + body


TABLE = {
    "ethernet": (1, ethernet(FOUR)),
    "ethernet, IPv6": (1, ethernet(SIX, 0x86DD)),
    "VLAN": (1, ethernet(FOUR, tags=[0x8100])),
    "QinQ": (1, ethernet(SIX, 0x86DD, tags=[0x88A8, 0x8100])),
    "old QinQ, three tags": (1, ethernet(FOUR, tags=[0x9100, 0x9100, 0x8100])),
    "LLC": (1, ethernet(b"\x06\x06\x03" + FOUR, 3 + len(FOUR))),
    "SNAP": (1, ethernet(SNAP4, len(SNAP4))),
    "SNAP, IPv6": (1, ethernet(SNAP6, len(SNAP6))),
    "VLAN and SNAP": (1, ethernet(b"\0\7" + struct.pack(">H", len(SNAP4)) + SNAP4, 0x8100)),
    "SNAP and VLAN": (1, ethernet(snap(b"\0\7\x08\0" + FOUR, 0x8100), 12 + len(FOUR))),
    **{f"MPLS, {n} labels": (1, ethernet(labels(FOUR, n), 0x8847)) for n in (1, 2, 5)},
    "MPLS, IPv6, multicast": (1, ethernet(labels(SIX), 0x8848)),
    "MPLS pseudowire": (1, ethernet(labels(bytes(4) + ethernet(FOUR)), 0x8847)),
    "MPLS pseudowire without control word": (
        1,
        ethernet(labels(b"\x12" + ethernet(SIX, 0x86DD)[1:]), 0x8847),
    ),
    "MPLS link": (219, labels(FOUR, 2)),
    "PPPoE": (1, ethernet(pppoe(FOUR), 0x8864)),
    "PPPoE, IPv6, VLAN": (1, ethernet(pppoe(SIX, b"\0\x57"), 0x8864, tags=[0x8100])),
    "PPPoE, short protocol": (1, ethernet(pppoe(FOUR, b"\x21"), 0x8864)),
    "PPPoE, MPLS": (1, ethernet(pppoe(labels(FOUR), b"\x02\x81"), 0x8864)),
    "PPPoE link": (51, pppoe(FOUR)),
    "PPP": (9, b"\0\x21" + FOUR),
    "PPP, HDLC": (50, b"\xff\x03\0\x57" + SIX),
    "Cisco HDLC": (104, b"\x0f\0\x08\0" + FOUR),
    "FDDI": (10, b"\x50" + bytes(12) + SNAP4),
    "FDDI, IPv6": (10, b"\x57" + bytes(12) + SNAP6),
    "token ring": (6, bytes(14) + SNAP4),
    "token ring, routed": (6, bytes(8) + b"\x80" + bytes(5) + b"\xc6\0" + bytes(4) + SNAP4),
    "LLC link": (100, SNAP6),
    "cooked, LLC": (113, cooked(SNAP4, 4)),
    "bridged": (1, ethernet(ethernet(FOUR), 0x6558)),
    "cooked": (113, cooked(FOUR, 0x0800)),
    "cooked, IPv6": (113, cooked(SIX, 0x86DD)),
    "cooked, VLAN": (113, cooked(b"\0\x07\x08\0" + FOUR, 0x8100)),
    "cooked 2": (276, cooked2(FOUR, 0x0800)),
    "cooked 2, IPv6": (276, cooked2(SIX, 0x86DD)),
    **{f"raw {n}": (n, FOUR) for n in (101, 12, 14, 228)},
    **{f"raw {n}, IPv6": (n, SIX) for n in (101, 12, 14, 229)},
    **{f"null {order}": (0, struct.pack(order + "I", 2) + FOUR) for order in "<>"},
    **{f"loop {order}": (108, struct.pack(order + "I", 2) + FOUR) for order in "<>"},
    **{
        f"null {order}, AF_INET6 {family}": (0, struct.pack(order + "I", family) + SIX)
        for order in "<>"
        for family in (10, 24, 28, 30)
    },
}


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_link_layers(name: str, compiled: bool) -> None:
    """Trap 29."""
    link, frame = TABLE[name]
    lab = Lab(compiled)
    (seen,) = lab.feed(frame, link=link)
    if b"four" in frame:
        assert (seen.ends, seen.data) == ((A, 700, B, 111), b"four")
    else:
        assert (seen.ends, seen.data) == ((A6, 700, B6, 111), b"six6")
    assert lab.met == {}


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_every_prefix_is_a_truncated_frame(name: str, compiled: bool) -> None:
    link, frame = TABLE[name]
    for cut in range(len(frame)):
        lab = Lab(compiled)
        seen = lab.feed(frame[:cut], link=link, wire=len(frame))
        assert all(row.size == 4 and len(row.data) < 4 for row in seen), cut
        assert lab.met in ({"FRAME_TRUNCATED": 1}, {}), cut  # {}: cut inside an LLC header
        if len(frame) - cut <= 4:
            assert len(seen) == 1


@BOTH
@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (1, ethernet(bytes(28), 0x0806)),
        (1, ethernet(bytes(28), 0x0806, tags=[0x8100])),
        (1, ethernet(b"\x42\x42\x03" + bytes(40), 38)),
        (1, ethernet(b"\xaa\xaa\x03\0\0\x0c\x08\0" + FOUR, 8 + len(FOUR))),
        (1, ethernet(b"\x06\x06\x03" + FOUR, 0x88B5)),
        (113, cooked(bytes(28), 0x0806)),
        (101, b"\x50" + FOUR[1:]),
        (0, struct.pack("<I", 7) + FOUR),
        (10, b"\xc3" + bytes(12) + SNAP4),
        (9, b"\xc0\x21" + FOUR),
        (1, ethernet(pppoe(FOUR, b"\xc0\x21"), 0x8864)),
        (1, ethernet(snap(b"\x06\x06\x03" + FOUR, 3), 8)),
        (1, ethernet(labels(bytes(4) + ethernet(bytes(28), 0x0806)), 0x8847)),
    ],
)
def test_what_is_no_ip_is_passed_over(link: int, frame: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(frame, link=link) == []
    assert (lab.met, lab.dissector.host_count) == ({}, 0)


@BOTH
def test_an_unknown_link_type_is_counted_per_packet(compiled: bool) -> None:
    lab = Lab(compiled)
    lab.feed(ethernet(FOUR), ethernet(FOUR), link=147)
    assert lab.met == {"UNKNOWN_LINK_TYPE": 2}
    assert lab.faults.first_frame[2] == 1


@BOTH
def test_a_frame_too_short_for_its_header_is_malformed(compiled: bool) -> None:
    lab = Lab(compiled)
    lab.feed(b"\0" * 13, b"")
    assert lab.met == {"FRAME_MALFORMED": 2}
