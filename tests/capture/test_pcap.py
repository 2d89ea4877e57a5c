"""Classic pcap: every dialect, every prefix, damage."""

from __future__ import annotations

import pytest

from analyzer.capture.pcap import MOST_CAPTURED, is_pcap, read_header
from tests.capture.files import MICRO, MODIFIED, NANO, Packet, pcap, pcap_header, pcap_record, some_packets
from tests.capture.reading import Row, read


def rows_of(packets: list[Packet], link: int = 1) -> list[Row]:
    return [Row(n, p.time, p.data, p.size, link) for n, p in enumerate(packets, 1)]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [MICRO, NANO, MODIFIED])
def test_every_dialect(magic: int, order: str, compiled: bool) -> None:
    packets = some_packets()
    rows, reader, faults = read(pcap(packets, order, magic, 113), compiled)
    assert rows == rows_of(packets, 113)
    assert (reader.frames, reader.link_types, reader.complete, faults) == (5, [113], True, {})
    assert (reader.first_time, reader.last_time) == (packets[0].time, packets[-1].time)


def test_nanoseconds_are_kept_and_microseconds_scaled() -> None:
    packet = Packet(b"x", 1_700_000_000_123_456_789)
    assert read(pcap([packet], magic=NANO))[0][0].time == 1_700_000_000_123_456_789
    assert read(pcap([packet], magic=MICRO))[0][0].time == 1_700_000_000_123_456_000


def test_times_after_2038() -> None:
    late = Packet(b"x", 0xFFFFFFFF * 1_000_000_000)
    assert read(pcap([late]))[0][0].time == late.time


@pytest.mark.parametrize("field", [1 | 0x50000000, 1 | 0x04000000, 1 | 0xFFFF0000])
def test_upper_bits_of_the_link_type_are_no_link_type(field: int) -> None:
    """Trap 29."""
    assert read_header(pcap_header(link=field)).link == 1
    assert read(pcap([Packet(b"x")], link=field))[0][0].link == 1


def test_a_captured_length_beyond_the_wire_length_counts_as_the_wire_length() -> None:
    assert read(pcap([Packet(b"xyz", wire=1)]))[0][0].wire == 3


@pytest.mark.parametrize("magic", [MICRO, MODIFIED])
def test_every_prefix_delivers_the_whole_packets_before_the_cut(magic: int) -> None:
    packets = some_packets()
    whole = pcap(packets, magic=magic)
    ends = [len(pcap(packets[:n], magic=magic)) for n in range(6)]
    for cut in range(4, len(whole) + 1):
        rows, reader, faults = read(whole[:cut])
        there = sum(end <= cut for end in ends[1:])
        assert rows == rows_of(packets[:there]), cut
        assert reader.complete == (cut in ends), cut
        assert faults == ({} if cut in ends else {"FILE_CUT_SHORT": 1}), cut
        assert (reader.damage is None) == reader.complete
        if not reader.complete and cut > 24:
            assert f"at byte {ends[there]}" in str(reader.damage)


def test_the_longest_packet_is_read_and_a_longer_one_is_damage() -> None:
    packets = [Packet(b"a"), Packet(bytes(MOST_CAPTURED)), Packet(b"b")]
    assert [len(row.data) for row in read(pcap(packets))[0]] == [1, MOST_CAPTURED, 1]
    bad = pcap(packets[:1]) + pcap_record(Packet(bytes(MOST_CAPTURED + 1))) + pcap_record(packets[2])
    for compiled in (False, True):
        rows, reader, faults = read(bad, compiled)
        assert [row.data for row in rows] == [b"a"]
        assert faults == {"FILE_DAMAGED": 1}
        assert reader.damage == "test.pcap: no packet record, at byte 41"
        assert not reader.complete
        assert reader.bytes == 41


def test_damage_behind_packets_of_the_same_block_comes_after_them() -> None:
    rows, reader, _ = read(pcap(some_packets()) + b"\xff" * 16, capacity=2)
    assert len(rows) == 5
    assert "at byte" in str(reader.damage)


@pytest.mark.parametrize("head", [b"", b"\xa1\xb2\xc3", b"\xa1\xb2\xc3\xd5", b"\x0a\x0d\x0d\x0a"])
def test_is_no_pcap(head: bytes) -> None:
    assert not is_pcap(head)
