"""Which call a reply answers, and which calls are copies."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.faults import Fault
from analyzer.messages.assembler import Limits
from tests.messages.wire import PORTMAP, Result, Script, call, open_calls, record, reply, run, words

Step = tuple[Any, ...]
A, B = call(1, args=b"first"), call(1, args=b"other")
DONE = reply(1, b"done")


def over_tcp(*steps: bytes | float) -> Result:
    """Messages of one connection in turn; a number is a time to wait."""
    script = Script()
    flow = script.connect()
    for step in steps:
        if isinstance(step, float):
            script.wait(step)
        else:
            script.send(flow, int.from_bytes(step[4:8], "big"), record(step))
    return run(script)


def pairs(result: Result) -> list[tuple[int, int]]:
    """(call, retransmit_of) of each row."""
    return [(row["call"], row["retransmit_of"]) for row in result.rows]


@pytest.mark.parametrize(
    ("steps", "expected", "faults"),
    [
        ([A, DONE], [(0, -1), (0, -1)], {}),
        ([A, A, DONE, DONE], [(0, -1), (1, 0), (0, -1), (1, -1)], {}),
        ([A, A, A, DONE, DONE, DONE], [(0, -1), (1, 0), (2, 0), (0, -1), (1, -1), (2, -1)], {}),
        ([A, DONE, DONE], [(0, -1), (0, -1), (0, -1)], {"DUPLICATE_REPLY": 1}),
        ([A, A, DONE, DONE, DONE][:], [(0, -1), (1, 0), (0, -1), (1, -1), (1, -1)], {"DUPLICATE_REPLY": 1}),
        ([A, DONE, A, DONE], [(0, -1), (0, -1), (1, 0), (1, -1)], {}),
        ([A, DONE, 61.0, A, DONE], [(0, -1), (0, -1), (1, -1), (1, -1)], {}),
        ([A, 61.0, A, DONE], [(0, -1), (1, 0), (0, -1)], {}),
        ([A, DONE, B, DONE], [(0, -1), (0, -1), (1, -1), (1, -1)], {}),
        ([A, B, DONE, DONE], [(0, -1), (1, -1), (1, -1), (1, -1)], {"XID_REUSED": 1, "DUPLICATE_REPLY": 1}),
        ([A, A, B, DONE], [(0, -1), (1, 0), (2, -1), (2, -1)], {"XID_REUSED": 1}),
        ([A, call(1, procedure=4, args=b"first")], [(0, -1), (1, -1)], {"XID_REUSED": 1}),
        ([A, call(1, version=2, args=b"first")], [(0, -1), (1, -1)], {"XID_REUSED": 1}),
        ([A, call(1, PORTMAP, args=b"first")], [(0, -1), (1, -1)], {"XID_REUSED": 1}),
        ([A, reply(2), DONE], [(0, -1), (-1, -1), (0, -1)], {"ORPHAN_REPLY": 1}),
    ],
)
def test_on_one_connection(
    steps: list[bytes | float], expected: list[tuple[int, int]], faults: dict[str, int]
) -> None:
    """Trap 9."""
    result = over_tcp(*steps)
    assert pairs(result) == expected
    assert {fault.name: result.count(fault) for fault in Fault if result.count(fault)} == faults


def test_unanswered_calls_are_counted_once() -> None:
    result = over_tcp(A, A, call(2), call(2), reply(2), call(3), call(3, args=b"else"))
    assert result.assembler.unanswered_calls() == 3  # A, the first 3, the other 3
    assert open_calls(result.assembler) == 4
    assert result.assembler.retransmissions == 2


@pytest.mark.parametrize("compiled", [False, True])
def test_the_largest_numbers_there_are(compiled: bool) -> None:
    top = 2**32 - 1
    script = Script()
    flow = script.connect()
    for step in (A, DONE, call(top, top, top, top), call(top, top, top, top), reply(top)):
        script.send(flow, int.from_bytes(step[4:8], "big"), record(step))
    rows = run(script, compiled).rows
    assert [(row["program"], row["version"], row["procedure"]) for row in rows[2:]] == [(top, top, top)] * 3
    assert [(row["call"], row["retransmit_of"]) for row in rows[2:]] == [(1, -1), (2, 1), (1, -1)]


def test_an_orphan() -> None:
    row = over_tcp(A, reply(9, b"late")).rows[1]
    assert (row["call"], row["program"], row["call_frame"], row["call_time"]) == (-1, -1, -1, -1)
    assert (row["status"], row["body"], row["call_body"]) == (0, b"late", b"")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 0),
        ({"dport": 2050}, 0),
        ({"client": 5}, -1),
        ({"server": 5}, -1),
    ],
)
def test_sent_again_on_another_connection(change: dict[str, int], expected: int) -> None:
    """Trap 10."""
    script = Script()
    first = script.connect(sport=700)
    script.send(first, 0, record(A))
    second = script.connect(**{"sport": 701, **change})
    script.send(second, 0, record(A))
    script.send(second, 1, record(DONE))
    result = run(script)
    assert pairs(result) == [(0, -1), (1, expected), (1, -1)]
    assert result.assembler.unanswered_calls() == (0 if expected == 0 else 1)


def test_not_a_copy_once_the_call_is_answered() -> None:
    for answered in (0, 1):
        script = Script()
        flows = [script.connect(sport=700 + i) for i in range(3)]
        for flow in flows[:2]:
            script.send(flow, 0, record(A))
        script.send(flows[answered], 1, record(DONE))
        script.send(flows[2], 0, record(A))
        rows = run(script).calls()
        assert [row["retransmit_of"] for row in rows] == [-1, 0, -1]


@pytest.mark.parametrize("compiled", [False, True])
def test_more_open_calls_than_an_index_begins_with(compiled: bool) -> None:
    script = Script()
    first, second = script.connect(), script.connect()
    xids = [n << 24 | 5 for n in range(200)]  # as a little-endian client counts
    for xid in xids:
        script.send(first, 0, record(call(xid, args=b"x")))
    for xid in xids[:150]:
        script.send(first, 1, record(reply(xid)))
    for xid in xids:
        script.send(second, 0, record(call(xid, args=b"x")))
    for xid in reversed(xids):
        script.send(second, 1, record(reply(xid)))
    result = run(script, compiled)
    asked, answered, again, last = (
        pairs(result)[a:b] for a, b in ((0, 200), (200, 350), (350, 550), (550, 750))
    )
    assert asked == [(n, -1) for n in range(200)]
    assert answered == [(n, -1) for n in range(150)]
    assert again == [(200 + n, -1 if n < 150 else n) for n in range(200)]
    assert last == [(200 + n, -1) for n in reversed(range(200))]


def test_datagrams_pair_by_client_whatever_the_server_address() -> None:
    """Trap 10."""
    script = Script()
    asked = script.pair(client=3, server=4, sport=800)
    elsewhere = script.pair(client=3, server=5, sport=800)
    other_port = script.pair(client=3, server=4, sport=801)
    get = call(1, PORTMAP, 2, 3, words(100021, 4, 17, 0))
    script.datagram(asked, 0, get)
    script.datagram(other_port, 0, get)
    script.datagram(elsewhere, 1, reply(1, words(4045)))
    script.datagram(other_port, 1, reply(1, words(4045)))
    script.datagram(other_port, 1, reply(77, words(4045)))
    result = run(script, block=2)
    assert pairs(result) == [(0, -1), (1, 0), (0, -1), (1, -1), (-1, -1)]
    assert result.rows[2]["src"] == 5
    assert result.rows[2]["stream_end"] == -1
    assert result.rows[2]["call_body"] == words(100021, 4, 17, 0)


@pytest.mark.parametrize("block", [1, 100])
def test_arguments_of_open_calls_live_on(block: int) -> None:
    script = Script()
    flow = script.connect()
    calls = [call(i, procedure=17, args=bytes([i]) * (i * 60)) for i in range(30)]
    for message in calls:
        script.send(flow, 0, record(message))
    script.wait(1)
    for i in range(30):
        script.send(flow, 1, record(reply(i)))
    rows = run(script, block=block, arena=1 << 17).replies()
    assert [row["call_body"] for row in rows] == [(bytes([i]) * (i * 60))[:768] for i in range(30)]
    # where there is no room the oldest are not kept
    rows = run(script, block=1, arena=8192).replies()
    kept = [bool(row["call_body"]) for row in rows]
    assert (kept[1], kept[-1]) == (False, True)
    assert kept == sorted(kept)


def test_eviction_takes_answered_calls_first() -> None:
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(call(1000)))
    for i in range(40):
        script.send(flow, 0, record(call(i)))
        script.send(flow, 0, record(call(i)))
        script.send(flow, 1, record(reply(i)) + record(reply(i)))
    script.send(flow, 1, record(reply(1000)))
    for limits in (Limits(calls=8), Limits(answered=3), Limits()):
        result = run(script, limits=limits)
        assert (result.rows[-1]["call"], result.faulty()) == (0, set())
        assert result.assembler.unanswered_calls() == 0


def test_eviction_of_open_calls() -> None:
    script = Script()
    flow = script.connect()
    for i in range(12):
        script.send(flow, 0, record(call(i // 2)))
    for i in range(6):
        script.send(flow, 1, record(reply(i)))
    result = run(script, limits=Limits(calls=5))
    assert result.count(Fault.CALLS_EVICTED) == 7
    assert [row["call"] for row in result.replies()] == [-1, -1, -1, 7, 8, 10]
    assert result.assembler.unanswered_calls() == 3
