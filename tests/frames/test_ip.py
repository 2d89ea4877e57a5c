"""IP headers: lengths that count, extension headers, fragments, contradictions."""

from __future__ import annotations

import pytest

from tests.frames.packets import A, B, Lab, ethernet, ip4, ip6, tcp, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])
DATA = b"payload!"


def extension(kind: int, following: int, units: int = 0) -> bytes:
    """An IPv6 extension header: `units` beyond its first 8 bytes, counted as its kind counts."""
    step = 4 if kind == 51 else 8
    size = 8 + step * units
    return bytes([following, units]) + bytes(size - 2)


def chain(*kinds: int, units: int = 0, last: int = 17, body: bytes = b"") -> bytes:
    out = body or udp(DATA)
    following = last
    for kind in reversed(kinds):
        out = extension(kind, following, units) + out
        following = kind
    return ip6(out, following)


@BOTH
@pytest.mark.parametrize(
    "frame",
    [
        ethernet(ip4(udp(DATA)) + bytes(18)),
        ethernet(ip4(udp(DATA), options=bytes(40))),
        ethernet(ip4(udp(DATA), total=0)),
        ethernet(ip4(udp(DATA, length=0))),
        ethernet(ip4(udp(DATA), fragment=0x4000)),
        ethernet(ip6(udp(DATA)) + b"FCS!", 0x86DD),
        ethernet(ip6(udp(DATA), size=0), 0x86DD),
        *[ethernet(chain(kind), 0x86DD) for kind in (0, 43, 60, 51, 135, 44)],
        *[ethernet(chain(kind, units=3), 0x86DD) for kind in (0, 43, 60, 51)],
        ethernet(chain(0, 60, 43, 44, 51, 60), 0x86DD),
    ],
)
def test_the_payload_is_what_ip_says(frame: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    (seen,) = lab.feed(frame)
    assert (seen.data, seen.size, seen.ends[1::2], lab.met) == (DATA, len(DATA), (700, 111), {})


@BOTH
def test_a_segment_larger_than_ip_can_say_has_the_length_of_the_wire(compiled: bool) -> None:
    """Trap 37: Segmentation offload on the sender: total length 0."""
    frame = ethernet(ip4(tcp(bytes(70_000)), 6, total=0))
    (whole,) = Lab(compiled).feed(frame)
    assert whole.size == 70_000
    (cut,) = Lab(compiled).feed(frame[:100], wire=len(frame))
    assert (cut.size, len(cut.data)) == (70_000, 46)


@BOTH
def test_padding_of_an_empty_segment_is_no_payload(compiled: bool) -> None:
    (seen,) = Lab(compiled).feed(ethernet(ip4(tcp(), 6)) + bytes(6))
    assert (seen.data, seen.size) == (b"", 0)


@BOTH
@pytest.mark.parametrize(
    "packet",
    [
        b"\x55" + ip4(udp(DATA))[1:],
        b"\x44" + ip4(udp(DATA))[1:],
        ip4(udp(DATA), total=19),
        ip4(udp(DATA), total=24, options=bytes(40)),
    ],
)
def test_headers_that_contradict_themselves(packet: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(ethernet(packet)) == []
    assert (lab.met, lab.dissector.host_count) == ({"FRAME_MALFORMED": 1}, 0)


@BOTH
@pytest.mark.parametrize(
    "packet",
    [
        ip6(extension(0, 17, 200)[:16], 0),
        ip6(b"", 60),
        ip6(extension(0, 0) + extension(0, 0)[:5], 0),
        b"\x50" + ip6(udp(DATA))[1:],
    ],
)
def test_extension_headers_that_do_not_fit(packet: bytes, compiled: bool) -> None:
    lab = Lab(compiled)
    assert lab.feed(ethernet(packet, 0x86DD)) == []
    assert (lab.met, lab.dissector.host_count) == ({"FRAME_MALFORMED": 1}, 0)


@BOTH
def test_more_than_the_wire_carried(compiled: bool) -> None:
    lab = Lab(compiled)
    (seen,) = lab.feed(ethernet(ip4(tcp(DATA), 6, total=100)))
    assert (seen.data, seen.size) == (DATA, 60)
    assert lab.met == {"FRAME_MALFORMED": 1, "FRAME_TRUNCATED": 1}


@BOTH
def test_ipv4_mapped_ipv6_joins_its_ipv4(compiled: bool) -> None:
    """Trap 30."""
    lab = Lab(compiled)
    a, b = lab.feed(
        ethernet(ip4(udp(DATA))),
        ethernet(ip6(udp(DATA), source=f"::ffff:{A}", target=f"::ffff:{B}"), 0x86DD),
    )
    assert (a.flow, a.ends) == (b.flow, b.ends)
    assert lab.dissector.host_count == 2
