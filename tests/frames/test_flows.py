"""Hosts and flows: identity, sides, life, growth, eviction."""

from __future__ import annotations

import pytest

from analyzer.frames.flows import NEAR, near_entry
from analyzer.kernels import compiled as twin
from tests.frames.packets import A6, ACK, APART, B6, FIN, RST, SYN, A, B, Lab, ethernet, ip4, ip6, tcp, udp

BOTH = pytest.mark.parametrize("compiled", [False, True])


def there(flags: int = ACK, seq: int = 1000, body: bytes = b"", port: int = 700, ack: int = 0) -> bytes:
    return ethernet(ip4(tcp(body, port, 2049, seq, ack, flags), 6, A, B))


def back(flags: int = ACK, seq: int = 5000, body: bytes = b"", port: int = 700, ack: int = 0) -> bytes:
    return ethernet(ip4(tcp(body, 2049, port, seq, ack, flags), 6, B, A))


@BOTH
def test_both_directions_are_one_flow_and_its_first_sender_is_side_0(compiled: bool) -> None:
    lab = Lab(compiled)
    seen = lab.feed(
        back(), there(), back(), ethernet(ip4(udp(b""))), ethernet(ip4(udp(b"", 111, 700), 17, B, A))
    )
    assert [(row.flow, row.side) for row in seen] == [(0, 0), (0, 1), (0, 0), (1, 0), (1, 1)]
    flows = lab.dissector.flows
    assert (flows.first_frame[0], flows.last_frame[0]) == (1, 3)
    assert (flows.first_time[0], flows.last_time[0]) == (APART, 3 * APART)


@BOTH
def test_the_same_ports_over_another_transport_or_address_are_another_flow(compiled: bool) -> None:
    lab = Lab(compiled)
    seen = lab.feed(
        there(),
        ethernet(ip4(udp(b"", 700, 2049))),
        ethernet(ip4(tcp(), 6, A, "10.0.0.3")),
        ethernet(ip4(tcp(sport=701), 6)),
        ethernet(ip6(tcp(), 6), 0x86DD),
        there(),
    )
    assert [row.flow for row in seen] == [0, 1, 2, 3, 4, 0]


@BOTH
@pytest.mark.parametrize("port", [700, 2049])
def test_a_host_that_talks_to_itself(port: int, compiled: bool) -> None:
    lab = Lab(compiled)
    one = ethernet(ip4(tcp(sport=port), 6, A, A))
    other = ethernet(ip4(tcp(sport=2049, dport=port), 6, A, A))
    seen = lab.feed(one, other)
    assert [(row.flow, row.side) for row in seen] == [(0, 0), (0, int(port == 700))]


@BOTH
def test_a_syn_with_another_number_is_a_new_connection(compiled: bool) -> None:
    """Trap 39."""
    lab = Lab(compiled)
    seen = lab.feed(
        there(SYN, 100),
        there(SYN, 100),
        back(SYN | ACK, 7, ack=101),
        there(SYN, 100),
        back(),
        there(SYN, 200),
        back(SYN | ACK, 9, ack=201),
        there(ACK, 201),
    )
    assert [row.flow for row in seen] == [0, 0, 0, 0, 0, 1, 1, 1]
    assert lab.dissector.flows.isn[:2].tolist() == [100, 200]
    assert lab.dissector.flow_count == 2


@BOTH
def test_a_syn_after_a_start_that_was_not_captured(compiled: bool) -> None:
    lab = Lab(compiled)
    seen = lab.feed(there(), there(SYN, 100), there())
    assert [row.flow for row in seen] == [0, 1, 1]
    assert lab.dissector.flows.isn[:2].tolist() == [-1, 100]


@BOTH
@pytest.mark.parametrize("ack", [101, 0])
def test_the_answer_to_a_syn_captured_before_the_syn(ack: int, compiled: bool) -> None:
    lab = Lab(compiled)
    seen = lab.feed(back(SYN | ACK, 7, ack=ack), there(SYN, (ack - 1) & 0xFFFFFFFF), there())
    assert [(row.flow, row.side) for row in seen] == [(0, 0), (0, 1), (0, 1)]


@BOTH
@pytest.mark.parametrize(
    ("frames", "state"),
    [
        ([there()], 0),
        ([there(SYN)], 1),
        ([back(SYN | ACK)], 2),
        ([there(SYN), back(SYN | ACK)], 3),
        ([there(FIN | ACK)], 4),
        ([there(), back(FIN | ACK)], 8),
        ([there(RST)], 16),
        ([there(body=b"x")], 32),
        ([there(), back(body=b"x")], 64),
        (
            [there(SYN), back(SYN | ACK), there(body=b"x"), back(FIN, body=b"y"), there(RST)],
            1 | 2 | 32 | 8 | 64 | 16,
        ),
    ],
)
def test_the_life_of_a_connection(frames: list[bytes], state: int, compiled: bool) -> None:
    lab = Lab(compiled)
    lab.feed(*frames)
    assert lab.dissector.flows.state[0] == state


@BOTH
def test_hosts_are_counted_by_what_they_send(compiled: bool) -> None:
    lab = Lab(compiled)
    lab.feed(ethernet(ip4(b"", 89, B, "224.0.0.5")), there(), there(), back())
    hosts = lab.dissector.hosts
    assert [lab.dissector.address(n) for n in range(lab.dissector.host_count)] == [B, A]
    assert hosts.packets[:2].tolist() == [2, 2]
    assert list(zip(hosts.first_frame[:2].tolist(), hosts.last_frame[:2].tolist(), strict=True)) == [
        (1, 4),
        (2, 3),
    ]
    assert hosts.last_time[:2].tolist() == [4 * APART, 3 * APART]


@pytest.mark.parametrize(
    "text",
    [
        A,
        "0.0.0.0",
        "255.255.255.255",
        A6,
        B6,
        "::",
        "::1",
        "fe80::1:0:0:1",
        "ffff:ffff::ffff",
        "8000::",
        "::ffff:0:0:1",
    ],
)
def test_addresses_in_canonical_form(text: str) -> None:
    lab = Lab()
    frame = (
        ethernet(ip6(udp(b""), source=text), 0x86DD) if ":" in text else ethernet(ip4(udp(b""), source=text))
    )
    lab.feed(frame)
    assert lab.dissector.address(0) == text


def many(count: int, first: int = 0) -> list[bytes]:
    return [there(SYN, n, port=1 + n) for n in range(first, first + count)]


@BOTH
def test_tables_grow_within_a_feed(compiled: bool) -> None:
    lab = Lab(compiled, outputs=4096)
    frames = [ethernet(ip4(udp(b"", 5, 6), 17, f"10.1.{n >> 8}.{n & 255}", A)) for n in range(3000)]
    first = lab.feed(*frames)
    assert lab.feeds == 1
    assert [row.flow for row in first] == list(range(3000))
    assert [row.flow for row in lab.feed(*frames)] == list(range(3000))
    assert (lab.dissector.host_count, lab.dissector.flow_count, lab.met) == (3001, 3000, {})


@BOTH
@pytest.mark.parametrize("outputs", [1, 2, 7])
def test_full_outputs_stop_a_feed_and_nothing_is_lost(outputs: int, compiled: bool) -> None:
    frames = [
        there(SYN),
        back(SYN | ACK),
        *[there(body=bytes([n])) for n in range(20)],
        there(FIN),
        back(FIN),
    ]
    whole, parts = Lab(compiled), Lab(compiled, outputs)
    assert whole.feed(*frames) == parts.feed(*frames)
    assert whole.control_rows == parts.control_rows
    assert parts.feeds >= 24 // outputs


@BOTH
def test_hosts_beyond_the_limit_are_left_out(compiled: bool) -> None:
    lab = Lab(compiled, max_hosts=5)
    seen = lab.feed(*[ethernet(ip4(udp(b""), 17, f"10.1.0.{n}", A)) for n in range(10)])
    assert [row.ends[0] for row in seen] == [f"10.1.0.{n}" for n in range(4)]
    assert lab.met == {"HOSTS_FULL": 6}
    assert lab.dissector.host_count == 5
    assert (
        len(lab.feed(ethernet(ip4(udp(b""), 17, "10.1.0.0", A)), ethernet(ip4(b"", 89, "10.1.0.9", A)))) == 1
    )


@BOTH
def test_flows_beyond_the_limit_push_out_others(compiled: bool) -> None:
    lab = Lab(compiled, max_flows=8)
    lab.feed(*many(7), there(RST, port=7), there(port=1), there(port=50))
    assert lab.dissector.forgotten == [], "not while its segments are on their way"
    assert [row.flow for row in lab.feed(there(port=1), there(port=50))] == [0, 7]
    assert lab.dissector.forgotten == [6, 1, 2, 3], "closed ones first, then those that were silent longest"
    assert lab.met == {"FLOWS_EVICTED": 4}
    lab.dissector.forgotten.clear()
    seen = lab.feed(*many(4, 100))
    assert sorted(row.flow for row in seen) == [1, 2, 3, 6]
    assert lab.dissector.flow_count == 8


@BOTH
def test_a_flow_that_was_given_up_starts_anew(compiled: bool) -> None:
    lab = Lab(compiled, max_flows=2)
    lab.feed(there(RST, port=1), there(port=2))
    (seen,) = lab.feed(there(port=1))
    assert lab.dissector.forgotten == [0]
    assert (seen.flow, lab.dissector.flows.first_frame[seen.flow]) == (0, 3)
    assert lab.dissector.flows.state[0] == 0


@BOTH
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_rows_are_given_up_between_feeds_only(most: int, compiled: bool) -> None:
    lab = Lab(compiled, max_flows=most)
    seen = lab.feed(*many(50))
    assert [row.ends[1] for row in seen] == list(range(1, 51)), "each segment still names its own flow"
    assert lab.met["FLOWS_EVICTED"] == len(lab.dissector.forgotten) >= 50 - most
    assert lab.dissector.flow_count <= most


@BOTH
def test_superseded_connections_go_first(compiled: bool) -> None:
    lab = Lab(compiled, max_flows=4)
    lab.feed(there(SYN, 1, port=1), there(SYN, 1, port=2), there(SYN, 2, port=2), there(port=3))
    lab.feed(there(port=4))
    assert lab.dissector.forgotten == [1, 0]


def test_packets_of_more_flows_than_the_near_table_holds() -> None:
    lab = Lab(True, outputs=3 * NEAR, max_flows=1 << 14)
    frames = [there(port=1 + n) for n in range(2 * NEAR)]
    assert [row.flow for row in lab.feed(*frames)] == [row.flow for row in lab.feed(*frames)]


@BOTH
def test_flows_that_share_an_entry_of_the_near_table_are_told_apart(compiled: bool) -> None:
    """Same ports, and addresses that differ in one half only or collide."""
    low, ends = 0xFFFF0A000001, (17 << 32) | (700 << 16) | 111
    home = near_entry(low, low + 1, ends)
    twins = [n for n in range(low + 2, low + 20_000) if near_entry(low, n, ends) == home][:2]
    targets = [B, *[f"10.0.{n >> 8 & 255}.{n & 255}" for n in twins]]
    sources = [n for n in range(low + 2, low + 20_000) if near_entry(n, low + 1, ends) == home][:2]
    frames = [ip4(udp(b""), target=target) for target in targets]
    frames += [ip4(udp(b""), source=f"10.0.{n >> 8 & 255}.{n & 255}") for n in sources]
    halves = ((0, 0), (1, 0), (1, 1), (0, 1))
    frames += [ip6(udp(b""), source=f"fd0{n}::1", target=f"fd0{m}::2") for n, m in halves]
    lab = Lab(compiled)
    assert [row.flow for row in lab.feed(*frames, *frames, link=101)] == [*range(9), *range(9)]


def test_the_near_table_finds_the_same_entry_in_both_modes() -> None:
    for words in [(0, 0, 0), (-1, 5, 1 << 34), (-(1 << 63), (1 << 63) - 1, 0x1100FF00AA)]:
        assert near_entry(*words) == twin(near_entry)(*words)
        assert 0 <= near_entry(*words) < NEAR * 8
