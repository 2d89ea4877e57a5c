"""Sun snoop files."""

from __future__ import annotations

import struct

import pytest

from analyzer.errors import AnalyzerError
from tests.capture.files import Packet, some_packets
from tests.capture.reading import read

BOTH = pytest.mark.parametrize("compiled", [False, True])


def snoop(packets: list[Packet], link: int = 4, version: int = 2, drops: int = 0) -> bytes:
    out = b"snoop\0\0\0" + struct.pack(">II", version, link)
    for packet in packets:
        seconds, rest = divmod(packet.time, 1_000_000_000)
        padding = -len(packet.data) % 4
        length = 24 + len(packet.data) + padding
        head = struct.pack(">IIIIII", packet.size, len(packet.data), length, drops, seconds, rest // 1000)
        out += head + packet.data + bytes(padding)
    return out


@BOTH
@pytest.mark.parametrize("step", [1, 7, 1 << 30])
def test_trap_29_every_packet_of_a_snoop_file(step: int, compiled: bool) -> None:
    packets = some_packets()
    rows, reader, met = read(snoop(packets, drops=3), compiled, step, capacity=2)
    assert [(row.frame, row.time, row.data, row.wire) for row in rows] == [
        (n, packet.time, packet.data, packet.size) for n, packet in enumerate(packets, 1)
    ]
    assert (reader.link_types, reader.complete, reader.drops, met) == ([1], True, 3, {})


@pytest.mark.parametrize(("link", "ours"), [(0, 1), (4, 1), (2, 6), (8, 10), (9, 65545)])
def test_link_types(link: int, ours: int) -> None:
    rows, reader, _ = read(snoop(some_packets(2), link))
    assert ([row.link for row in rows], reader.link_types) == ([ours, ours], [ours])


@BOTH
def test_every_prefix_is_read_as_far_as_it_goes(compiled: bool) -> None:
    data = snoop(some_packets(3))
    whole = read(data)[0]
    for cut in range(16, len(data)):
        rows, reader, met = read(data[:cut], compiled)
        assert rows == whole[: len(rows)]
        assert reader.complete is (not met)
        assert met in ({}, {"FILE_CUT_SHORT": 1})
    rows, reader, met = read(data[:16], compiled)
    assert (rows, reader.complete, met) == ([], True, {})


@BOTH
@pytest.mark.parametrize(("at", "value"), [(8, 23), (8, 1 << 30), (4, 1 << 30), (8, 24)])
def test_a_record_that_contradicts_itself_ends_the_file(at: int, value: int, compiled: bool) -> None:
    data = bytearray(snoop(some_packets(3)))
    second = 16 + 24
    data[second + at : second + at + 4] = struct.pack(">I", value)
    rows, reader, met = read(bytes(data), compiled)
    assert (len(rows), met, reader.complete) == (1, {"FILE_DAMAGED": 1}, False)


@pytest.mark.parametrize("data", [snoop([], version=3), b"snoop\0\0\0", b"snoop\0\0\0\0\0\0\2"])
def test_what_is_no_snoop_file_of_version_2(data: bytes) -> None:
    with pytest.raises(AnalyzerError, match="not a packet capture"):
        read(data)
