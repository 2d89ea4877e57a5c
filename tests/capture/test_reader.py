"""The reader: blocks, pipes, small tables, hostile bytes."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import Source, open_source
from analyzer.errors import AnalyzerError
from analyzer.faults import new_faults
from analyzer.tables import Packets, new_table
from tests.capture.files import Packet, pcap, pcap_header, pcap_record, pcapng, section, some_packets
from tests.capture.reading import read

BOTH = pytest.mark.parametrize("compiled", [False, True])


@BOTH
@pytest.mark.parametrize("write", [pcap, pcapng])
@pytest.mark.parametrize("step", [1, 7, 64, 1 << 30])
@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_however_it_comes_the_packets_are_the_same(
    write: Any, step: int, capacity: int, compiled: bool
) -> None:
    packets = some_packets(20)
    rows, reader, _ = read(write(packets), compiled, step, capacity)
    assert [row.data for row in rows] == [packet.data for packet in packets]
    assert [row.frame for row in rows] == list(range(1, 21))
    assert reader.bytes == len(write(packets))


@pytest.mark.parametrize("region", [LEAST_REGION, LEAST_REGION + 12345, 4 << 20])
def test_packets_across_the_borders_of_blocks(region: int) -> None:
    sizes = np.random.default_rng(7).integers(0, 65_536, 60)
    packets = [Packet(bytes([n]) * int(size)) for n, size in enumerate(sizes)]
    for write in (pcap, pcapng):
        rows, reader, _ = read(write(packets), region=region)
        assert [row.data for row in rows] == [packet.data for packet in packets]
        assert reader.complete


def test_a_region_too_small_for_a_packet_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pcap([]))
    with open_source(str(path)) as source, pytest.raises(ValueError, match="needs"):
        Reader(source, np.zeros(LEAST_REGION, np.uint8), 1, False, new_faults())


@pytest.mark.parametrize("data", [pcap_header(), section()])
def test_a_capture_without_packets(data: bytes) -> None:
    rows, reader, faults = read(data)
    assert (rows, faults, reader.complete) == ([], {}, True)
    assert (reader.frames, reader.first_time, reader.last_time, reader.drops) == (0, None, None, 0)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\xd4\xc3\xb2", "not a packet capture"),
        (b"\0" * 100, "not a packet capture"),
        (b"#!/bin/sh\n" * 20, "not a packet capture"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1b" + bytes(16), "not a packet capture"),
    ],
)
def test_no_capture(data: bytes, says: str) -> None:
    with pytest.raises(AnalyzerError, match=f"^test.pcap: {says}"):
        read(data)


def test_frames_go_on_counting_from_the_capture_before() -> None:
    packets = new_table(Packets, 8)
    memory = np.zeros(LEAST_REGION, np.uint8)
    read_end, write_end = os.pipe()
    os.write(write_end, pcap(some_packets(3)))
    os.close(write_end)
    with open_source(f"/dev/fd/{read_end}") as source:
        reader = Reader(source, memory, 0, False, new_faults(), first_frame=41)
        assert reader.read_block(packets) == 3
        assert packets.frame[:3].tolist() == [41, 42, 43]
    os.close(read_end)


def test_a_live_pipe_hands_over_each_packet_as_it_comes() -> None:
    read_end, write_end = os.pipe()
    packets = new_table(Packets, 8)
    with open_source_of(read_end, pcap_header(), write_end) as source:
        reader = Reader(source, np.zeros(LEAST_REGION, np.uint8), 0, False, new_faults())
        for packet in some_packets(4):
            os.write(write_end, pcap_record(packet))
            assert reader.read_block(packets) == 1
        threading.Timer(0.05, os.close, [write_end]).start()
        assert reader.read_block(packets) == 0
    os.close(read_end)
    assert reader.complete


def open_source_of(read_end: int, head: bytes, write_end: int) -> Source:
    os.write(write_end, head)
    return open_source(f"/dev/fd/{read_end}")


def test_time_that_runs_backwards_is_counted_within_and_between_blocks() -> None:
    """Trap 36."""
    times = [5, 3, 4, 4, 1, 9]
    data = pcap([Packet(b"", time * 1000) for time in times])
    for capacity in (1, 2, 64):
        assert read(data, capacity=capacity)[2] == {"TIME_BACKWARDS": 2}


FLIPS = st.lists(st.tuples(st.integers(4, 10_000), st.integers(1, 255)), max_size=6)


@given(st.sampled_from([pcap, pcapng]), FLIPS, st.sampled_from([5, 1 << 30]))
@hypothesis_settings(max_examples=150)
def test_flipped_bytes_never_raise_and_both_modes_agree(write: Any, flips: Any, step: int) -> None:
    data = bytearray(write(some_packets(12)))
    for at, mask in flips:
        data[4 + at % (len(data) - 4)] ^= mask
    try:
        plain = read(bytes(data), False, step)
    except AnalyzerError:
        with pytest.raises(AnalyzerError):
            read(bytes(data), True)
        return
    for other in (read(bytes(data), True, step), read(bytes(data), True)):
        assert (plain[0], plain[2], plain[1].damage) == (other[0], other[2], other[1].damage)
