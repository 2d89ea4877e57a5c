"""The dissector over real captures and hostile bytes, against dpkt and against itself."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import dpkt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analyzer.capture.reader import LEAST_REGION, Reader
from analyzer.capture.source import open_source
from analyzer.faults import new_faults
from analyzer.frames.fragments import ROOM
from analyzer.tables import Packets, new_table
from tests.frames.packets import A6, ACK, B6, A, B, Lab, ethernet, fragments4, fragments6, ip4, ip6, tcp, udp
from tests.frames.test_link import TABLE as LINKS
from tests.frames.test_tunnels import TABLE as TUNNELS

LAB = Path(__file__).parents[2] / "captures" / "lab"
NAMES = ["umnt_unlock_dropped", "clean_contention", "contention_v6"]


def dissect(
    name: str, compiled: bool, region: int = LEAST_REGION, capacity: int = 512, outputs: int = 512
) -> Lab:
    lab = Lab(compiled, outputs)
    memory = np.zeros(ROOM + region, np.uint8)
    packets = new_table(Packets, capacity)
    with open_source(str(LAB / f"{name}.pcap")) as source:
        reader = Reader(source, memory, ROOM, compiled, new_faults())
        while rows := reader.read_block(packets):
            lab.run(memory, packets, rows)
    return lab


@functools.cache
def oracle(name: str) -> list[tuple]:
    """Every TCP segment and datagram as dpkt sees it."""
    out = []
    reader = dpkt.pcap.Reader(io.BytesIO((LAB / f"{name}.pcap").read_bytes()))
    for frame, (_, data) in enumerate(reader, 1):
        ip = dpkt.ethernet.Ethernet(data).data
        if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
            continue
        segment = ip.data
        ends = (dpkt.utils.inet_to_str(ip.src), dpkt.utils.inet_to_str(ip.dst))
        if isinstance(segment, dpkt.tcp.TCP):
            numbers = (6, segment.flags, segment.seq, segment.ack)
        elif isinstance(segment, dpkt.udp.UDP):
            numbers = (17, -1, 0, 0)
        else:
            continue
        where = (ends[0], segment.sport, ends[1], segment.dport)
        out.append((frame, where, *numbers, bytes(segment.data)))
    return out


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_segment_is_what_dpkt_sees(name: str, compiled: bool) -> None:
    lab = dissect(name, compiled)
    ours = [(s.frame, s.ends, s.transport, s.flags, s.seq, s.ack, s.data) for s in lab.seen]
    assert ours == oracle(name)
    assert len(ours) > 100
    assert all(s.size == len(s.data) for s in lab.seen)
    assert lab.met == {}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_any_size_give_the_same_segments(name: str, compiled: bool) -> None:
    whole = dissect(name, compiled)
    for capacity, outputs in ((1, 512), (7, 3), (512, 1)):
        parts = dissect(name, compiled, LEAST_REGION + capacity, capacity, outputs)
        assert (parts.seen, parts.control_rows) == (whole.seen, whole.control_rows)
        assert parts.notice_rows == whole.notice_rows


GOOD = [
    ethernet(ip4(tcp(b"some payload", options=bytes(12)), 6)),
    ethernet(ip4(udp(b"some payload"), options=bytes(8)), tags=[0x8100]),
    ethernet(ip6(tcp(b"some payload", flags=ACK | 2), 6), 0x86DD),
    ethernet(ip6(bytes([17, 1]) + bytes(14) + udp(b"x"), 60), 0x86DD),
    ethernet(ip4(b"\3\3" + bytes(6) + ip4(udp(b"quoted")), 1)),
    ethernet(ip6(b"\1\4" + bytes(6) + ip6(udp(b"quoted")), 58, B6, A6), 0x86DD),
    *[frame for _, frame in LINKS.values()],
    *[ethernet(packet, 0x86DD if packet[0] >> 4 == 6 else 0x0800) for packet in TUNNELS.values()],
]
# Fragments belong together, so they are generated together.
PIECES = [
    *[ethernet(piece) for piece in fragments4(udp(bytes(150)), 48, 96, ident=1)],
    *[ethernet(piece) for piece in fragments4(udp(bytes(range(200))), 48, 104, ident=1)],
    *[ethernet(piece, 0x86DD) for piece in fragments6(udp(bytes(150)), 48, 96, ident=1)],
    *[ethernet(piece, 0x86DD) for piece in fragments6(tcp(bytes(range(150))), 56, 96, protocol=6, ident=1)],
    ethernet(ip4(udp(b"back", 111, 700), 17, B, A)),
]
FLIPPED = st.tuples(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4),
    st.integers(0, 200),
    st.sampled_from([0, 1, 6, 9, 10, 12, 50, 51, 100, 101, 104, 113, 219, 276]),
)
PIECE = st.tuples(
    st.sampled_from(PIECES),
    st.lists(st.tuples(st.integers(14, 60), st.integers(1, 255)), max_size=1),
    st.integers(60, 200),
    st.just(1),
)


CASES = st.one_of(
    st.lists(FLIPPED, min_size=1, max_size=6), st.lists(st.one_of(PIECE, PIECE, FLIPPED), max_size=20)
)


@given(CASES, st.sampled_from([0, 1, 70_000]))
@hypothesis_settings(max_examples=300)
def test_flipped_and_cut_bytes_never_raise_and_both_modes_agree(cases: Any, more: int) -> None:
    labs = [Lab(fast, 3, max_hosts=6, max_flows=3, waiting=2, done=1) for fast in (False, True)]
    for frame, flips, cut, link in cases:
        data = bytearray(frame)
        for at, mask in flips:
            data[at % len(data)] ^= mask
        kept = bytes(data[: max(1, cut)])
        for lab in labs:
            for row in lab.feed(kept, link=link, wire=len(kept) + more):
                assert len(row.data) <= row.size
    plain, fast = labs
    assert plain.finish() == fast.finish()
    assert plain.seen == fast.seen
    assert plain.control_rows == fast.control_rows
    assert plain.notice_rows == fast.notice_rows
    assert plain.met == fast.met
    assert plain.dissector.forgotten == fast.dissector.forgotten
