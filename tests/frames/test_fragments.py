"""Fragments: any order, copies, contradictions, limits, captures of first fragments only."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from analyzer.frames.fragments import PATIENCE
from tests.frames.packets import A6, B6, A, B, Lab, ethernet, fragments4, fragments6, ip4, ip6, tcp, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])
DATA = bytes(range(251)) * 20
BACK4, BACK6 = ip4(udp(b"reply", 111, 700), 17, B, A), ip6(udp(b"reply", 111, 700), 17, B6, A6)
SPLIT = pytest.mark.parametrize("split", [fragments4, fragments6], ids=["IPv4", "IPv6"])


def frames(packets: list[bytes]) -> list[bytes]:
    return [ethernet(packet, 0x0800 if packet[0] >> 4 == 4 else 0x86DD) + b"FCS!" for packet in packets]


@BOTH
@SPLIT
def test_trap_28_fragments_in_any_order_make_the_datagram(split: Any, compiled: bool) -> None:
    for order in itertools.permutations(range(4)):
        lab = Lab(compiled)
        pieces = frames(split(udp(DATA), 1480, 1488, 2960))
        (seen,) = lab.feed(*[pieces[i] for i in order])
        assert (seen.frame, seen.data, seen.size, seen.ends[1]) == (4, DATA, len(DATA), 700)
        assert lab.met == {}


@BOTH
@SPLIT
def test_trap_28_long_datagrams_of_several_hosts_at_once(split: Any, compiled: bool) -> None:
    """32 KiB, as NFS over UDP with rsize=32768 sends them, and the longest there are, all mixed."""
    lab = Lab(compiled)
    chance = random.Random(28)
    trains = []
    for n, size in enumerate((32_900, 32_900, 65_507 - 128, 8_300)):
        data = bytes([n]) * size
        trains.append(frames(split(udp(data, 700 + n), *range(1480, size + 8, 1480))))
    mixed = [frame for train in trains for frame in train]
    chance.shuffle(mixed)
    seen = lab.feed(*mixed)
    assert {(row.ends[1], row.size, row.data[:1] * row.size == row.data) for row in seen} == {
        (700, 32_900, True),
        (701, 32_900, True),
        (702, 65_507 - 128, True),
        (703, 8_300, True),
    }
    assert lab.met == {}


@BOTH
@SPLIT
def test_any_feed_gives_the_same(split: Any, compiled: bool) -> None:
    pieces = frames([p for _ in range(5) for p in split(udp(DATA), 1480, 2960)])
    whole = Lab(compiled)
    whole.feed(*pieces)
    parts = Lab(compiled, 1, done=1)
    for piece in pieces:
        parts.feed(piece)
    assert parts.seen == whole.seen
    assert len(whole.seen) == 5
    few = Lab(compiled, 2, done=2)
    few.feed(*pieces)
    assert (few.seen, few.feeds) == (whole.seen, 3)


@BOTH
def test_tcp_and_icmp_are_put_together_too(compiled: bool) -> None:
    lab = Lab(compiled)
    note = b"\3\3" + bytes(6) + ip4(udp(b"quoted" * 9))
    (seen,) = lab.feed(
        *frames(fragments4(tcp(DATA), 8, protocol=6)), *frames(fragments4(note, 16, protocol=1))
    )
    assert (seen.data, seen.transport) == (DATA, 6)
    assert [row[3:] for row in lab.notice_rows] == [(3, B, 111, 17)]
    assert lab.met == {}


@BOTH
@SPLIT
def test_other_identification_protocol_or_host_is_another_packet(split: Any, compiled: bool) -> None:
    lab = Lab(compiled)
    first, last = split(udp(DATA), 1480, ident=9)
    other = [split(udp(DATA), 1480, ident=10), split(udp(DATA), 1480, ident=9, protocol=99)]
    away = {"target": "10.9.9.9"} if split is fragments4 else {"target": "fd99::10"}
    other.append(split(udp(DATA), 1480, ident=9, **away))
    lab.feed(*frames([first, *(pieces[1] for pieces in other)]))
    assert lab.seen == []
    (seen,) = lab.feed(*frames([last]))
    assert seen.data == DATA
    assert lab.finish() == []
    assert lab.met == {"FRAGMENT_INCOMPLETE": 3}


@BOTH
@SPLIT
def test_a_copy_of_a_fragment_changes_nothing(split: Any, compiled: bool) -> None:
    lab = Lab(compiled)
    one, two, three = frames(split(udp(DATA), 1480, 2960))
    seen = lab.feed(one, one, two, one, two, three)
    assert [(row.frame, row.data) for row in seen] == [(6, DATA)]
    assert lab.met == {"FRAME_DUPLICATED": 3}


@BOTH
@SPLIT
@pytest.mark.parametrize(
    ("cuts", "which", "longer"),
    [
        ((1480, 2960), 1, 0),  # other bytes in the same place
        ((1480, 2960), 2, 0),
        ((1472, 2960), 1, 0),  # reaches into what was there
        ((1488, 2960), 0, 0),
        ((1480,), 1, -800),  # the end is elsewhere
        ((1480,), 1, 800),
        ((1480, 2960, 8000), 2, 4000),  # behind the end
    ],
)
def test_trap_28_what_contradicts_is_not_mixed_in(
    split: Any, cuts: tuple[int, ...], which: int, longer: int, compiled: bool
) -> None:
    """An overlapping fragment begins a packet of its own, of which nothing is ever told."""
    lab = Lab(compiled)
    good = frames(split(udp(DATA), 1480, 2960, ident=5))
    body = udp(bytes([7]) * (len(DATA) + longer))
    bad = frames(split(body, *cuts, ident=5))[which]
    seen = lab.feed(good[0], good[2], bad, good[1]) if which != 1 or cuts[0] != 1480 or longer else []
    if not seen and not lab.met:
        seen = lab.feed(good[0], good[1], bad, good[2])
    assert [row.data for row in seen if row.data != DATA] == []
    assert lab.met["FRAGMENT_OVERLAP"] >= 1


@BOTH
@SPLIT
def test_an_identification_used_again_is_a_new_packet(split: Any, compiled: bool) -> None:
    """The last fragment of the first was lost; 65,536 packets later its number returns."""
    lab = Lab(compiled)
    old, new = (frames(split(udp(bytes([n]) * 4000), 1480, 2960, ident=5)) for n in (1, 2))
    seen = lab.feed(old[0], old[1], *new)
    assert [(row.frame, row.data) for row in seen] == [(5, bytes([2]) * 4000)]
    assert lab.met == {"FRAGMENT_OVERLAP": 1}


@BOTH
def test_what_waits_too_long_is_given_up(compiled: bool) -> None:
    lab = Lab(compiled)
    first, last = frames(fragments4(udp(DATA), 1480))
    later = frames(fragments4(udp(DATA), 1480, target="10.0.0.3"))
    lab.feed(later[1], time=10**12)  # later fragments are captured
    lab.feed(first, time=10**12)
    assert lab.feed(last, time=10**12 + PATIENCE + 1) == []
    assert lab.met == {"FRAGMENT_INCOMPLETE": 2}
    assert len(lab.feed(first, time=10**12 + 2 * PATIENCE + 1)) == 1


@BOTH
def test_no_more_packets_wait_than_there_is_room_for(compiled: bool) -> None:
    lab = Lab(compiled, waiting=3, done=1)
    trains = [frames(fragments4(udp(DATA, 700 + n), 1480, 2960)) for n in range(5)]
    lab.feed(*[train[1] for train in trains])
    assert lab.met == {"FRAGMENTS_EVICTED": 2}
    lab.feed(*[frame for train in trains[2:] for frame in (train[0], train[2])])
    assert [(row.ends[1], row.data) for row in lab.seen] == [(700 + n, DATA) for n in (2, 3, 4)]
    assert lab.met == {"FRAGMENTS_EVICTED": 2}


@BOTH
def test_the_room_of_a_packet_is_used_again(compiled: bool) -> None:
    """Slots go round: shorter packets after longer ones, and each is itself."""
    lab = Lab(compiled, waiting=2, done=1)
    for n in range(40):
        data = bytes([n]) * (5000 if n % 2 else 1700)
        (seen,) = lab.feed(*frames(fragments4(udp(data), 1480)))
        assert seen.data == data
    assert lab.met == {}


@BOTH
def test_the_longest_packet_and_what_is_beyond(compiled: bool) -> None:
    lab = Lab(compiled)
    body = udp(bytes(65_507))
    cuts = range(1480, 65_515, 1480)
    assert [row.size for row in lab.feed(*frames(fragments4(body, *cuts)))] == [65_507]
    assert lab.feed(*frames([ip4(bytes(100), fragment=0x1FFF)])) == []
    assert lab.feed(*frames([ip4(bytes(13), fragment=0x2001), ip4(b"", fragment=0x2001)])) == []
    assert lab.met == {"FRAME_MALFORMED": 3}


@BOTH
@SPLIT
def test_a_snaplen_leaves_what_it_leaves(split: Any, compiled: bool) -> None:
    """Every fragment cut at 200 bytes: the datagram is as long as it was, its first bytes are there."""
    lab = Lab(compiled)
    pieces = frames(split(udp(DATA), 1480, 2960))
    for piece in pieces:
        lab.feed(piece[:200], wire=len(piece))
    (seen,) = lab.seen
    head = 14 + 20 + 8 if split is fragments4 else 14 + 48 + 8
    assert (seen.data, seen.size) == (DATA[: 200 - head], len(DATA))
    assert lab.met == {"FRAME_TRUNCATED": 1}


@BOTH
@SPLIT
def test_trap_28_a_filter_by_port_leaves_first_fragments(split: Any, compiled: bool) -> None:
    """`tcpdump port 2049` has no later fragment: calls must not come behind their replies."""
    lab = Lab(compiled)
    back = BACK4 if split is fragments4 else BACK6
    firsts = [split(udp(bytes([n]) * 4000), 1480)[0] for n in range(3)]
    seen = lab.feed(*frames([firsts[0], back, firsts[1], firsts[2]]))
    assert [(row.frame, row.size, len(row.data)) for row in seen] == [
        (1, 4000, 1472),
        (2, 5, 5),
        (3, 4000, 1472),
    ]
    assert [(row.frame, row.size) for row in lab.finish()] == [(4, 4000)]
    assert lab.finish() == []
    assert lab.met == {"FRAGMENT_INCOMPLETE": 3}
    assert list(lab.dissector.hosts.packets[:2]) == [3, 1]


@BOTH
def test_where_later_fragments_are_seen_a_first_one_alone_tells_nothing(compiled: bool) -> None:
    lab = Lab(compiled)
    other = fragments4(udp(DATA), 1480)
    first = fragments4(udp(DATA), 1480)[0]
    assert len(lab.feed(*frames([*other, first, BACK4]))) == 2
    assert lab.finish() == []
    assert lab.met == {"FRAGMENT_INCOMPLETE": 1}


@BOTH
def test_extension_headers_behind_the_fragment_header(compiled: bool) -> None:
    lab = Lab(compiled)
    body = bytes([17, 0]) + bytes(6) + udp(DATA)
    (seen,) = lab.feed(*frames(fragments6(body, 1480, protocol=60)))
    assert (seen.data, lab.met) == (DATA, {})
    again = bytes([17, 0, 0, 1]) + bytes(4) + udp(DATA)
    assert lab.feed(*frames(fragments6(again, 1480, protocol=44))) == []
    assert lab.met == {"FRAME_MALFORMED": 1}
