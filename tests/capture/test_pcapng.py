"""pcapng: blocks, byte orders, sections, time stamps, prefixes, damage."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from analyzer.capture.pcapng import MOST_READ, MOST_SKIPPED
from tests.capture.files import (
    Packet,
    block,
    enhanced,
    interface,
    obsolete,
    pcapng,
    section,
    simple,
    some_packets,
    statistics,
)
from tests.capture.reading import Row, read

NS = 1_700_000_000_123_456_789
BOTH = pytest.mark.parametrize("compiled", [False, True])


def rows_of(packets: list[Packet], link: int = 1) -> list[Row]:
    return [Row(n, p.time, p.data, p.size, link) for n, p in enumerate(packets, 1)]


@BOTH
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("write", [enhanced, obsolete])
def test_packet_blocks(write: Any, order: str, compiled: bool) -> None:
    packets = some_packets()
    data = section(order) + interface(276, order=order) + b"".join(write(p, order=order) for p in packets)
    rows, reader, faults = read(data, compiled)
    assert rows == rows_of(packets, 276)
    assert (reader.link_types, reader.complete, faults, reader.bytes) == ([276], True, {}, len(data))


@BOTH
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("snaplen", "kept"), [(0, 9), (4, 4), (64, 9)])
def test_simple_packets(order: str, snaplen: int, kept: int, compiled: bool) -> None:
    timed = Packet(b"t", 5_000_000)
    data = section(order) + interface(snaplen=snaplen, order=order) + enhanced(timed, order=order)
    rows, _, _ = read(data + simple(Packet(b"123456789"[:kept], wire=9), order), compiled)
    assert rows[1] == Row(2, 5_000_000, b"123456789"[:kept], 9, 1)


@BOTH
@pytest.mark.parametrize(
    ("resolution", "ticks", "time"),
    [
        (None, NS // 1000, NS // 1000 * 1000),
        (0, 17, 17_000_000_000),
        (3, 17_001, 17_001_000_000),
        (9, NS, NS),
        (12, 1_234_567, 1_234),
        (18, 2_000_000_000_000_000_003, 2_000_000_000),
        (127, 1 << 62, None),
        (0x80, 17, 17_000_000_000),
        (0x80 | 10, 1536, 1_500_000_000),
        (0x80 | 20, NS // 10**9 << 20 | 1 << 19, NS // 10**9 * 10**9 + 500_000_000),
        (0x80 | 33, 3 << 32, 1_500_000_000),
        (0x80 | 50, 3 << 49, 1_500_000_000),
        (0xFF, 1 << 62, None),
        (9, (1 << 64) - 1, (1 << 63) - 1 - 854775807),
        (0, (1 << 63) - 1, 0),
    ],
)
def test_time_stamp_resolutions(resolution: int | None, ticks: int, time: int | None, compiled: bool) -> None:
    """Trap 29."""
    pairs = [] if resolution is None else [(9, bytes([resolution]))]
    rows, _, _ = read(section() + interface(pairs=pairs) + enhanced(Packet(b""), ticks=ticks), compiled)
    if resolution == 9 and ticks >> 63:
        assert 0 <= rows[0].time < 1 << 63
    elif time is None:
        assert 0 <= rows[0].time < 10**9
    else:
        assert rows[0].time == time


@BOTH
@pytest.mark.parametrize(
    ("offset", "time"), [(0, 10**9), (5, 6 * 10**9), (-1, 0), (-2, 0), (1 << 62, 10**9), (9223372035, 0)]
)
def test_time_offsets(offset: int, time: int, compiled: bool) -> None:
    pairs = [(14, struct.pack("<q", offset))]
    rows, _, _ = read(section() + interface(pairs=pairs) + enhanced(Packet(b""), ticks=10**6), compiled)
    assert rows[0].time == time


def test_options_of_a_wrong_length_or_behind_the_end_are_left_alone() -> None:
    pairs = [(9, b"\x09\x09"), (2, b"eth0"), (0, b""), (9, b"\x00")]
    rows, _, _ = read(section() + interface(pairs=pairs) + enhanced(Packet(b""), ticks=10**6))
    assert rows[0].time == 10**9


@BOTH
def test_interfaces_are_each_their_own(compiled: bool) -> None:
    """Trap 29."""
    data = section() + interface(1) + interface(113, pairs=[(9, b"\x09")]) + interface(1)
    data += enhanced(Packet(b"a"), 1, ticks=5) + enhanced(Packet(b"b"), 0, ticks=5)
    rows, reader, _ = read(data, compiled)
    assert [(row.link, row.time) for row in rows] == [(113, 5), (1, 5000)]
    assert reader.link_types == [113, 1]


@BOTH
def test_many_interfaces(compiled: bool) -> None:
    data = section() + b"".join(interface(n) for n in range(1, 101)) + enhanced(Packet(b""), 99)
    rows, reader, _ = read(data, compiled)
    assert rows[0].link == 100
    assert reader.link_types == [100, *range(1, 100)]


@BOTH
def test_a_new_section_has_its_own_byte_order_and_interfaces(compiled: bool) -> None:
    a, b = Packet(b"a"), Packet(b"bb")
    data = pcapng([a]) + pcapng([b], ">", 101)
    rows, reader, faults = read(data, compiled)
    assert [(row.frame, row.data, row.link) for row in rows] == [(1, b"a", 1), (2, b"bb", 101)]
    assert (reader.link_types, faults) == ([1, 101], {})
    rows, reader, faults = read(pcapng([a]) + section(">") + enhanced(b, order=">"), compiled)
    assert len(rows) == 1
    assert faults == {"FILE_DAMAGED": 1}, "an interface of the section before is none of this one"


@BOTH
def test_drops_are_running_counts_per_interface(compiled: bool) -> None:
    data = section() + interface() + interface() + statistics(0, 1, 2) + statistics(0, 3, 4)
    data += statistics(1, 10, 0) + statistics(7, 99, 99)
    assert read(data, compiled)[1].drops == 17
    assert (
        read(data + section(">") + interface(order=">") + statistics(0, 100, 0, ">"), compiled)[1].drops
        == 117
    )


@BOTH
@pytest.mark.parametrize("size", [0, 40, MOST_READ - 12, MOST_READ, 3 * MOST_READ])
@pytest.mark.parametrize("step", [1 << 30, 70_001])
def test_unknown_blocks_are_stepped_over_whatever_their_size(size: int, step: int, compiled: bool) -> None:
    a, b = Packet(b"a"), Packet(b"b")
    data = pcapng([a]) + block(0xBAD, bytes(size)) + enhanced(b)
    rows, reader, faults = read(data, compiled, step)
    assert ([row.data for row in rows], faults, reader.complete) == ([b"a", b"b"], {}, True)
    assert reader.bytes == len(data)
    rows, reader, faults = read(data[: -len(enhanced(b)) - 1], compiled, step)
    assert (len(rows), faults) == (1, {"FILE_CUT_SHORT": 1})


def test_every_prefix_delivers_the_whole_packets_before_the_cut() -> None:
    packets = some_packets()
    whole = pcapng(packets)
    ends = [len(pcapng(packets[:n])) for n in range(6)]
    clean = [len(section()), *ends]
    for cut in range(4, len(whole) + 1):
        rows, reader, faults = read(whole[:cut])
        assert rows == rows_of(packets[: sum(end <= cut for end in ends[1:])]), cut
        assert reader.complete == (cut in clean), cut
        assert faults == ({} if cut in clean else {"FILE_CUT_SHORT": 1}), cut


def broken(at: int, value: int, data: bytes) -> bytes:
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


GOOD = pcapng([Packet(b"a")])
NEXT = enhanced(Packet(b"1234"))


@BOTH
@pytest.mark.parametrize(
    "bad",
    [
        broken(4, 8, NEXT),
        broken(4, 38, NEXT),
        broken(4, MOST_SKIPPED + 4, NEXT),
        broken(4, MOST_READ + 4, NEXT),
        broken(len(NEXT) - 4, 40, NEXT),
        broken(8, 1, NEXT),
        broken(20, 5, NEXT),
        broken(20, 0xFFFFFFFF, NEXT),
        struct.pack("<II", 0xBAD, 14) + b"xx" + struct.pack("<I", 14),
        block(6, bytes(16)),
        block(2, bytes(16)),
        block(3, b""),
        block(1, bytes(4)),
        broken(8, 0x11111111, section()),
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)),
        block(0x0A0D0D0A, struct.pack("<IHHI", 0x1A2B3C4D, 1, 0, 0)),
    ],
)
def test_what_cannot_be_a_block_ends_the_reading(bad: bytes, compiled: bool) -> None:
    rows, reader, faults = read(GOOD + bad + NEXT, compiled)
    assert ([row.data for row in rows], faults) == ([b"a"], {"FILE_DAMAGED": 1})
    assert reader.damage == f"test.pcap: no packet record, at byte {len(GOOD)}"


def test_a_simple_packet_without_an_interface_is_damage() -> None:
    assert read(section() + simple(Packet(b"x")))[2] == {"FILE_DAMAGED": 1}
