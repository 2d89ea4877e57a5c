"""TCP, UDP and ICMP: fields, cut and contradictory headers, unreachable notices."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from tests.frames.packets import A6, ACK, B6, FIN, RST, SYN, A, B, Lab, ethernet, ip4, ip6, tcp, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])


@BOTH
def test_every_field_of_a_tcp_segment(compiled: bool) -> None:
    frame = ethernet(ip4(tcp(b"data", 65535, 1, 0xFFFFFFFF, 0x80000001, 0x18, bytes(40)), 6))
    (seen,) = Lab(compiled).feed(frame)
    assert seen == (1, (A, 65535, B, 1), 6, 0, 0, 0x18, 0xFFFFFFFF, 0x80000001, b"data", 4)


@BOTH
def test_every_field_of_a_datagram(compiled: bool) -> None:
    (seen,) = Lab(compiled).feed(ethernet(ip6(udp(b"data", 1, 65535)), 0x86DD))
    assert seen == (1, (A6, 1, B6, 65535), 17, 0, 0, -1, 0, 0, b"data", 4)


@BOTH
def test_empty_payloads_are_segments_too(compiled: bool) -> None:
    seen = Lab(compiled).feed(ethernet(ip4(tcp(), 6)), ethernet(ip4(udp(b""))))
    assert [(row.transport, row.data, row.size) for row in seen] == [(6, b"", 0), (17, b"", 0)]


@BOTH
@pytest.mark.parametrize(
    ("frame", "size", "met"),
    [
        (ethernet(ip4(udp(b"12345678", length=12))), 4, {}),
        (ethernet(ip4(udp(b"12345678", length=99))), 8, {"FRAME_MALFORMED": 1}),
        (ethernet(ip4(udp(b"12345678", length=7))), None, {"FRAME_MALFORMED": 1}),
        (ethernet(ip4(b"1234567")), None, {"FRAME_MALFORMED": 1}),
        (ethernet(ip4(tcp(b"12345678", offset=4), 6)), None, {"FRAME_MALFORMED": 1}),
        (ethernet(ip4(tcp(b"12345678", offset=8), 6)), None, {"FRAME_MALFORMED": 1}),
        (ethernet(ip4(tcp(b"12345678", offset=7), 6)), 0, {}),
        (ethernet(ip4(tcp()[:19], 6)), None, {"FRAME_MALFORMED": 1}),
    ],
)
def test_lengths_that_contradict_each_other(frame: bytes, size: int | None, met: Any, compiled: bool) -> None:
    lab = Lab(compiled)
    seen = lab.feed(frame)
    assert [row.size for row in seen] == ([] if size is None else [size])
    assert lab.met == met
    assert lab.dissector.hosts.packets[0] == 1


@BOTH
@pytest.mark.parametrize("options", [b"", bytes(12)])
def test_a_snaplen_cuts_a_segment_anywhere(options: bytes, compiled: bool) -> None:
    frame = ethernet(ip4(tcp(b"12345678", options=options), 6))
    head = 14 + 20 + 20 + len(options)
    for cut in range(14 + 20, len(frame)):
        lab = Lab(compiled)
        seen = lab.feed(frame[:cut], wire=len(frame))
        assert lab.met == {"FRAME_TRUNCATED": 1}
        if cut < 14 + 20 + 14:
            assert seen == []
        else:
            assert (seen[0].data, seen[0].size) == (b"12345678"[: max(0, cut - head)], 8)


@BOTH
def test_controls_are_the_segments_that_begin_and_end_connections(compiled: bool) -> None:
    lab = Lab(compiled)
    lab.feed(
        ethernet(ip4(tcp(seq=9, flags=SYN), 6)),
        ethernet(ip4(tcp(b"", 2049, 700, 50, 10, SYN | ACK), 6, B, A)),
        ethernet(ip4(tcp(b"x", seq=10), 6)),
        ethernet(ip4(tcp(seq=11, flags=FIN | ACK), 6)),
        ethernet(ip4(tcp(b"", 2049, 700, 51, 12, RST), 6, B, A)),
    )
    assert lab.control_rows == [(1, 0, 0, 2), (2, 0, 1, 18), (4, 0, 0, 17), (5, 0, 1, 4)]


def unreachable(quote: bytes, kind: int = 3, code: int = 3) -> bytes:
    return struct.pack(">BBHI", kind, code, 0, 0) + quote


@BOTH
@pytest.mark.parametrize(
    ("frame", "notice"),
    [
        (
            ethernet(ip4(unreachable(ip4(udp(b"call"))[:28]), 1, "10.9.9.9", A)),
            ("10.9.9.9", A, 3, B, 111, 17),
        ),
        (ethernet(ip4(unreachable(ip4(tcp(), 6), code=13), 1, B, A)), (B, A, 13, B, 2049, 6)),
        (ethernet(ip4(unreachable(ip4(tcp(), 6)[:22], code=1), 1, B, A)), (B, A, 1, B, -1, 6)),
        (ethernet(ip4(unreachable(ip4(b"x" * 8, fragment=9)), 1, B, A)), (B, A, 3, B, -1, 17)),
        (
            ethernet(ip6(unreachable(ip6(udp(b"call")), 1, 4), 58, B6, A6), 0x86DD),
            (B6, A6, 104, B6, 111, 17),
        ),
    ],
)
def test_unreachable_notices(frame: bytes, notice: Any, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(frame) == []
    assert (lab.notice_rows, lab.met) == ([(1, *notice)], {})
    assert lab.dissector.hosts.packets[: lab.dissector.host_count].sum() == 1


@BOTH
@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ip4(unreachable(ip4(udp(b"x")), 8, 0), 1)),
        ethernet(ip4(unreachable(ip4(b"x" * 8, 50)), 1)),
        ethernet(ip4(unreachable(ip4(udp(b"x"))[:19]), 1)),
        ethernet(ip4(unreachable(b"\x65" + bytes(40)), 1)),
        ethernet(ip4(unreachable(b"")[:7], 1)),
        ethernet(ip6(unreachable(ip6(udp(b"x")), 2, 0), 58), 0x86DD),
        ethernet(ip6(unreachable(ip4(udp(b"x")), 3, 3), 1), 0x86DD)[:60],
    ],
)
def test_what_is_no_unreachable_notice(frame: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(frame) == []
    assert lab.notice_rows == []
