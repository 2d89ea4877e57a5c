"""Tunnels: what the hosts at the ends sent is what counts."""

from __future__ import annotations

import struct

import pytest

from tests.frames.packets import A6, B6, A, B, Lab, ethernet, fragments4, ip4, ip6, tcp, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])
C, D = "192.0.2.1", "192.0.2.2"
FOUR, SIX = ip4(udp(b"four")), ip6(udp(b"six6"))
IP4, IP6, TEB = 0x0800, 0x86DD, 0x6558


def outer(body: bytes, protocol: int = 47) -> bytes:
    return ip4(body, protocol, C, D)


def gre(body: bytes, kind: int, flags: int = 0, optional: int = 0) -> bytes:
    return outer(struct.pack(">HH", flags, kind) + bytes(4 * optional) + body)


def vxlan(body: bytes, port: int = 4789, first: int = 8) -> bytes:
    return outer(udp(struct.pack(">B3xI", first, 99 << 8) + body, 50000, port), 17)


def geneve(body: bytes, kind: int = TEB, options: int = 0, first: int = 0) -> bytes:
    head = struct.pack(">BBHI", first | options, 0, kind, 99 << 8)
    return outer(udp(head + bytes(4 * options) + body, 50000, 6081), 17)


TABLE = {
    "IP in IP": outer(FOUR, 4),
    "IPv6 in IP": outer(SIX, 41),
    "IP in IPv6": ip6(FOUR, 4),
    "IPv6 in IPv6": ip6(SIX, 41),
    "Ethernet in IP": outer(b"\x30\0" + ethernet(FOUR), 97),
    "MPLS in IP": outer(struct.pack(">I", 16 << 12 | 1 << 8 | 64) + FOUR, 137),
    "GRE": gre(FOUR, IP4),
    "GRE, IPv6": gre(SIX, IP6),
    "GRE, key": gre(FOUR, IP4, 0x2000, 1),
    "GRE, checksum and sequence": gre(FOUR, IP4, 0x9000, 2),
    "GRE, all": gre(FOUR, IP4, 0xB000, 3),
    "GRE, bridged (NVGRE)": gre(ethernet(FOUR, tags=[0x8100]), TEB, 0x2000, 1),
    "ERSPAN I": gre(ethernet(FOUR), 0x88BE),
    "ERSPAN II": gre(bytes(8) + ethernet(SIX, IP6), 0x88BE, 0x1000, 1),
    "ERSPAN III": gre(bytes(12) + ethernet(FOUR), 0x22EB, 0x1000, 1),
    "ERSPAN III, subheader": gre(bytes(11) + b"\x01" + bytes(8) + ethernet(FOUR), 0x22EB, 0x1000, 1),
    "VXLAN": vxlan(ethernet(FOUR)),
    "VXLAN, IPv6, VLAN": vxlan(ethernet(SIX, IP6, tags=[0x8100])),
    "VXLAN of old Linux": vxlan(ethernet(FOUR), 8472),
    "GENEVE": geneve(ethernet(FOUR)),
    "GENEVE, options": geneve(ethernet(FOUR), options=5),
    "GENEVE, bare IPv6": geneve(SIX, IP6),
    "VXLAN in ERSPAN in MPLS in IP": outer(
        struct.pack(">I", 16 << 12 | 1 << 8 | 64)
        + gre(bytes(8) + ethernet(vxlan(ethernet(FOUR))), 0x88BE, 0x1000, 1),
        137,
    ),
}


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_trap_29_tunnels_are_unwrapped(name: str, compiled: bool) -> None:
    lab = Lab(compiled)
    packet = TABLE[name]
    (seen,) = lab.feed(ethernet(packet, IP6 if packet[0] >> 4 == 6 else IP4))
    if b"four" in packet:
        assert (seen.ends, seen.data) == ((A, 700, B, 111), b"four")
    else:
        assert (seen.ends, seen.data) == ((A6, 700, B6, 111), b"six6")
    assert lab.met == {}
    assert lab.dissector.host_count == 2, "the ends of the tunnel are no hosts of ours"


@BOTH
@pytest.mark.parametrize("name", TABLE)
def test_every_prefix_of_a_tunnel_is_read_as_far_as_it_goes(name: str, compiled: bool) -> None:
    frame = ethernet(TABLE[name], IP6 if TABLE[name][0] >> 4 == 6 else IP4)
    for cut in range(len(frame)):
        lab = Lab(compiled)
        seen = lab.feed(frame[:cut], wire=len(frame))
        inner = [row for row in seen if row.ends[1] == 700]
        assert all(row.size == 4 and len(row.data) < 4 for row in inner), cut
        assert set(lab.met) <= {"FRAME_TRUNCATED"}, cut
        if len(frame) - cut <= 4:
            assert len(inner) == 1


@BOTH
@pytest.mark.parametrize(
    ("packet", "ports"),
    [
        (vxlan(ethernet(FOUR), first=0), (50000, 4789)),
        (vxlan(ethernet(bytes(28), 0x0806)), (50000, 4789)),
        (vxlan(ethernet(FOUR), 4790), (50000, 4790)),
        (vxlan(ethernet(b"\x55" + FOUR[1:])), (50000, 4789)),
        (vxlan(ethernet(ip4(udp(b"four"), total=200))), (50000, 4789)),
        (geneve(ethernet(FOUR), first=0x40), (50000, 6081)),
        (geneve(FOUR, 0x0806), (50000, 6081)),
        (
            outer(udp(b"\x08\0\0\0\0\0\0\1" + bytes(40), 111, 4789), 17),
            (111, 4789),
        ),  # a reply to a call from there
    ],
)
def test_a_datagram_on_a_port_of_tunnels_may_be_none(packet: bytes, ports: tuple, compiled: bool) -> None:
    lab = Lab(compiled)
    (seen,) = lab.feed(ethernet(packet))
    assert (seen.ends, lab.met) == ((C, ports[0], D, ports[1]), {})


@BOTH
@pytest.mark.parametrize(
    "packet", [gre(FOUR, 0x0806), gre(FOUR, IP4, 0x4000), gre(FOUR, IP4, 1), gre(b"", 0)]
)
def test_gre_with_something_else_in_it(packet: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(ethernet(packet)) == []
    assert (lab.met, lab.dissector.address(0)) == ({}, C)


@BOTH
def test_nesting_ends_somewhere(compiled: bool) -> None:
    packet = FOUR
    for _ in range(8):
        packet = outer(packet, 4)
    (seen,) = Lab(compiled).feed(ethernet(packet))
    assert seen.data == b"four"
    lab = Lab(compiled)
    assert lab.feed(ethernet(outer(packet, 4))) == []
    assert lab.dissector.address(0) == C


@BOTH
def test_trap_28_fragments_inside_and_outside_of_a_tunnel(compiled: bool) -> None:
    lab = Lab(compiled)
    data = bytes(range(256)) * 8
    inside = [vxlan(ethernet(piece)) for piece in fragments4(udp(data), 1024)]
    whole = vxlan(ethernet(ip4(udp(data))))[20:]
    outside = fragments4(whole, 800, 1600, source=C, target=D)
    both = fragments4(vxlan(ethernet(fragments4(udp(data), 1024, ident=77)[0]))[20:], 800, source=C, target=D)
    rest = vxlan(ethernet(fragments4(udp(data), 1024, ident=77)[1]))
    seen = lab.feed(*map(ethernet, [*inside, *outside, *both, rest]))
    assert [(row.frame, row.ends, row.data) for row in seen] == [
        (n, (A, 700, B, 111), data) for n in (2, 5, 8)
    ]
    assert lab.met == {}


@BOTH
def test_tcp_in_a_tunnel_is_the_same_flow_as_outside(compiled: bool) -> None:
    seen = Lab(compiled).feed(ethernet(gre(ip4(tcp(b"a"), 6), IP4)), ethernet(ip4(tcp(b"b", seq=1001), 6)))
    assert [(row.flow, row.side, row.data) for row in seen] == [(0, 0, b"a"), (0, 0, b"b")]
