"""Scripts of segments, whole and in pieces, give the messages that were sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.faults import Fault
from analyzer.messages.assembler import Limits
from analyzer.tables import ACK, FIN, RST, SYN
from tests.messages.wire import (
    ISN,
    NFS,
    NLM,
    Result,
    Script,
    call,
    opaque,
    open_calls,
    record,
    reply,
    run,
    words,
)

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
CALL, REPLY = call(7, args=b"args"), reply(7, b"results!")
WRITE = call(9, procedure=7, args=opaque(b"h" * 32) + words(0, 0, 6000, 2) + opaque(b"w" * 6000))


def talk(*messages: bytes) -> bytes:
    return b"".join(record(message) for message in messages)


def in_pieces(script: Script, flow: int, side: int, data: bytes, sizes: list[int]) -> None:
    at = 0
    for size in sizes:
        script.send(flow, side, data[at : at + size])
        at += size
    script.send(flow, side, data[at:])


def one_exchange() -> Script:
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(CALL))
    script.send(flow, 1, record(REPLY))
    return script


@MODES
def test_a_call_and_its_reply(compiled: bool) -> None:
    a, b = run(one_exchange(), compiled).rows
    assert (a["frame"], a["src"], a["dst"], a["sport"], a["dport"], a["transport"]) == (3, 0, 1, 700, 2049, 6)
    assert (a["reply"], a["xid"], a["program"], a["version"], a["procedure"]) == (0, 7, NFS, 3, 1)
    assert (a["call"], a["retransmit_of"], a["status"], a["call_frame"]) == (0, -1, -1, -1)
    assert (a["body"], a["body_size"], a["stream_end"]) == (b"args", 4, 4 + len(CALL))
    assert (b["src"], b["dst"], b["sport"], b["dport"], b["side"]) == (1, 0, 2049, 700, 1)
    assert (b["reply"], b["call"], b["program"], b["procedure"], b["status"]) == (1, 0, NFS, 1, 0)
    assert (b["call_frame"], b["call_time"], b["call_body"]) == (3, a["time"], b"args")
    assert (b["body"], b["message"]) == (b"results!", REPLY)


@pytest.mark.parametrize("split", range(1, len(talk(CALL, call(8))) + 1))
def test_two_records_cut_anywhere(split: int) -> None:
    """Trap 2."""
    script = Script()
    flow = script.connect()
    in_pieces(script, flow, 0, talk(CALL, call(8)), [split])
    assert run(script, block=1).bytes() == [CALL, call(8)]


@MODES
@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_byte_by_byte(compiled: bool, block: int) -> None:
    script = Script()
    flow = script.connect()
    fragmented = record(call(2, args=b"x" * 100), 3, 10, 60)
    in_pieces(script, flow, 0, talk(CALL) + fragmented + talk(call(3)), [1] * 300)
    in_pieces(script, flow, 1, talk(REPLY, reply(3)), [1] * 40)
    result = run(script, compiled, block)
    assert result.bytes() == [CALL, call(2, args=b"x" * 100), call(3), REPLY, reply(3)]
    assert [row["call"] for row in result.rows] == [0, 1, 2, 0, 2]
    assert result.rows[3]["call_body"] == b"args"
    assert not result.faulty()


def test_several_records_in_a_segment_and_a_small_output() -> None:
    """Trap 2."""
    script = Script()
    flow = script.connect()
    messages = [call(i, args=bytes(4 * i)) for i in range(1, 20)]
    script.send(flow, 0, talk(*messages))
    assert run(script, capacity=3).bytes() == messages


def test_both_directions_on_one_connection() -> None:
    """Trap 13."""
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(call(5, args=b"from")))
    script.send(flow, 1, talk(call(5, NLM, 4, 5, b"back"), reply(5, b"fine")))
    script.send(flow, 0, record(reply(5, b"well")))
    rows = run(script).rows
    assert [(row["reply"], row["side"], row["call"], row["program"]) for row in rows] == [
        (0, 0, 0, NFS),
        (0, 1, 1, NLM),
        (1, 1, 0, NFS),
        (1, 0, 1, NLM),
    ]


def test_sequence_numbers_wrap() -> None:
    script = Script()
    flow = script.flow()
    isn = 0xFFFFFFF0
    data = talk(*(call(i, args=b"0123") for i in range(20)))
    script.raw(flow, 0, isn, b"", SYN)
    for order in (data[:100], data[200:400], data[100:200], data[400:]):
        script.raw(flow, 0, isn + 1 + data.index(order), order)
    script.raw(flow, 1, 0, b"", ACK, isn + 1 + len(data))
    result = run(script)
    assert [row["xid"] for row in result.rows] == list(range(20))
    assert result.rows[-1]["stream_end"] == len(data)
    assert result.assembler.streams.acked[[2 * flow, 2 * flow + 1]].tolist() == [len(data), -1]


class TestOrder:
    """Segments early, twice, late and never."""

    DATA = talk(*(call(i, args=bytes([i] * 40)) for i in range(10)))

    def pieces(self) -> list[tuple[int, bytes]]:
        return [(at, self.DATA[at : at + 50]) for at in range(0, len(self.DATA), 50)]

    @pytest.mark.parametrize("seed", range(20))
    def test_shuffled(self, seed: int) -> None:
        """Trap 5."""
        script = Script()
        flow = script.connect()
        pieces = self.pieces()
        random.Random(seed).shuffle(pieces)
        for at, piece in pieces:
            script.at(flow, 0, at, piece)
        result = run(script, block=1 + seed % 7)
        assert [row["xid"] for row in result.rows] == list(range(10))
        assert not result.faulty()

    def test_frame_is_the_one_that_fills_the_hole(self) -> None:
        script = Script()
        flow = script.connect()
        script.at(flow, 0, 50, self.DATA[50:])
        script.at(flow, 0, 0, self.DATA[:50])
        result = run(script)
        assert {row["frame"] for row in result.rows} == {4}
        assert [row["first_frame"] for row in result.rows] == [4, *[3] * 9]
        assert result.assembler.streams.reordered.tolist()[:2] == [1, 0]

    def test_repeats(self) -> None:
        """Trap 5."""
        script = Script()
        flow = script.connect()
        script.at(flow, 0, 0, self.DATA[:100])
        script.at(flow, 0, 0, self.DATA[:100])
        script.at(flow, 0, 50, self.DATA[50:200])
        script.at(flow, 0, 199, b"?")  # a keepalive probe is no repeat
        script.at(flow, 0, 300, self.DATA[300:400])
        script.at(flow, 0, 250, self.DATA[250:450])
        script.at(flow, 0, 200, self.DATA[200:])
        result = run(script, block=2)
        assert [row["xid"] for row in result.rows] == list(range(10))
        assert [(frame, *rest) for frame, _, *rest in result.repeats] == [
            (4, 0, 0, 0, 100),
            (5, 0, 0, 50, 200),
            (8, 0, 0, 250, 450),
        ]
        streams = result.assembler.streams
        assert (int(streams.repeated[0]), int(streams.segments[0])) == (3, 7)
        assert not result.faulty()

    def test_the_first_copy_wins(self) -> None:
        """Trap 5."""
        script = Script()
        flow = script.connect()
        script.at(flow, 0, 100, self.DATA[100:200])
        script.at(flow, 0, 80, b"!" * 140)
        script.at(flow, 0, 0, self.DATA[:100])
        script.at(flow, 0, 220, self.DATA[220:])
        result = run(script)
        assert result.count(Fault.TCP_OVERLAP_CONFLICT) == 1
        assert self.DATA[100:200] in b"".join(record(row["message"]) for row in result.rows)

    def lossy(self, lost: slice, acked: bool, later: float) -> Script:
        script = Script()
        flow = script.connect()
        pieces = self.pieces()
        for at, piece in pieces[: lost.start] + pieces[lost.stop :]:
            script.at(flow, 0, at, piece)
        if acked:
            script.at(flow, 1, 0, b"", len(self.DATA))
        script.wait(later)
        script.at(flow, 1, 0, b"", None)
        return script

    @pytest.mark.parametrize(
        ("acked", "later", "out"), [(True, 0.01, 0), (True, 0.06, 1), (False, 0.06, 0), (False, 31, 1)]
    )
    def test_a_hole_becomes_a_gap(self, acked: bool, later: float, out: int) -> None:
        script = self.lossy(slice(4, 6), acked, later)
        script.wait(0.001)
        other = script.connect(sport=701)
        script.send(other, 0, record(call(99)))
        result = run(script, block=3)
        order = [row["xid"] for row in result.rows]
        assert order.index(99) == (len(order) - 1 if out else 2)
        result.rows.remove(next(row for row in result.rows if row["xid"] == 99))
        assert result.count(Fault.TCP_GAP) == 1
        assert [hole[2:] for hole in result.holes] == [(0, 0, 100)]
        assert int(result.assembler.streams.gaps[0]) == 1
        assert int(result.assembler.streams.gap_bytes[0]) == 100
        assert [row["xid"] for row in result.rows][:2] == [0, 1]
        assert result.rows[-1]["xid"] == 9
        # what waits comes out at the end at the latest
        early = Script(script.flows, script.segments[:-1], script.sent)
        assert run(early).bytes() == result.bytes()

    def test_a_reply_does_not_wait_for_lost_bytes(self) -> None:
        script = Script()
        flow = script.connect()
        script.skip(flow, 0, record(CALL))
        script.send(flow, 0, record(call(8)))
        script.send(flow, 1, talk(REPLY, reply(8)))
        rows = run(script).rows
        assert [(row["xid"], row["reply"], row["call"]) for row in rows] == [(8, 0, 0), (7, 1, -1), (8, 1, 0)]

    def test_reset_ends_the_waiting(self) -> None:
        script = Script()
        flow = script.connect()
        script.at(flow, 0, len(record(CALL)), record(call(8)))
        script.raw(flow, 1, ISN[1] + 1, b"", RST)
        other = script.connect(sport=701)
        script.send(other, 0, record(call(3)))
        assert [row["xid"] for row in run(script).rows] == [8, 3]

    def test_the_store_is_bounded(self) -> None:
        script = Script()
        flow = script.connect()
        for at, piece in self.pieces()[1:]:
            script.at(flow, 0, at, piece)
        result = run(script, limits=Limits(stream_chunks=4))
        assert result.count(Fault.TCP_BUFFER_FULL) == 1
        assert result.count(Fault.TCP_GAP) == 1
        assert result.rows[-1]["xid"] == 9
        result = run(script, limits=Limits(stream_bytes=120))
        assert result.count(Fault.TCP_BUFFER_FULL) == 1
        many = Script()
        for port in range(5):
            flow = many.connect(sport=port)
            many.at(flow, 0, 10, record(CALL))
        result = run(many, limits=Limits(chunks=3))
        assert result.count(Fault.TCP_BUFFER_FULL) == 2
        assert len(result.rows) == 5

    def test_the_connection_goes_on_elsewhere(self) -> None:
        script = Script()
        flow = script.connect()
        script.at(flow, 0, 0, record(CALL))
        script.at(flow, 0, 100, b"stray")
        script.at(flow, 0, 1 << 28, record(call(8)))
        script.at(flow, 0, (1 << 28) + len(record(call(8))), record(call(9)))
        result = run(script)
        assert [row["xid"] for row in result.rows] == [7, 8, 9]
        assert result.holes[-1][-1] == -1
        assert int(result.assembler.streams.gap_bytes[0]) < 200


class TestLoss:
    """Missing bytes cost the records they belong to, and no more."""

    def script(self, lost: tuple[int, int], message: bytes, *then: bytes) -> Script:
        """`message` with bytes `lost` missing, then more."""
        script = Script()
        flow = script.connect()
        data = record(message)
        a, b = lost
        script.at(flow, 0, 0, data[:a])
        for at in range(b, len(data), 1448):
            script.at(flow, 0, at, data[at : at + 1448])
        script.sent[flow, 0] = len(data)
        for more in then:
            script.send(flow, 0, record(more))
        script.at(flow, 1, 0, b"", script.sent[flow, 0])
        script.wait(1)
        script.at(flow, 1, 0, b"", script.sent[flow, 0])
        return script

    def test_inside_what_is_skipped(self) -> None:
        """Trap 3."""
        result = run(self.script((2000, 4000), WRITE, CALL))
        assert result.bytes() == [WRITE[:1024], CALL]
        assert [row["damage"] for row in result.rows] == [4, 0]
        assert result.rows[0]["size"] == len(WRITE)
        assert result.faulty() == {"TCP_GAP"}

    def test_inside_what_is_needed(self) -> None:
        """Trap 3."""
        result = run(self.script((500, 4000), WRITE, CALL))
        assert result.bytes() == [WRITE[:496], CALL]
        assert [row["damage"] for row in result.rows] == [6, 0]
        long = call(9, procedure=17, args=bytes(3000))
        result = run(self.script((500, 900), long, CALL))
        assert result.bytes() == [long[:496], CALL]
        assert [row["damage"] for row in result.rows] == [2, 0]

    def test_of_a_header(self) -> None:
        script = Script()
        flow = script.connect()
        script.send(flow, 0, record(CALL) + record(WRITE)[:8])
        script.skip(flow, 0, record(WRITE)[8:1000])
        script.send(flow, 0, record(WRITE)[1000:])
        script.send(flow, 0, record(call(8)))
        result = run(script)
        assert result.bytes() == [CALL, call(8)]
        assert result.faulty() == {"TCP_GAP", "RECORD_LOST"}
        assert run(self.script((8, 1000), WRITE, CALL)).bytes() == [CALL]

    def test_of_the_mark(self) -> None:
        """Trap 3."""
        script = Script()
        flow = script.connect()
        script.send(flow, 0, record(CALL))
        script.skip(flow, 0, record(call(8)) + record(WRITE)[:1000])
        script.send(flow, 0, record(WRITE)[1000:] + record(call(10)))
        script.send(flow, 0, record(call(11)))
        script.send(flow, 1, record(reply(11)))
        result = run(script)
        assert [row["xid"] for row in result.rows] == [7, 10, 11, 11]
        assert result.count(Fault.RECORD_RESYNC) == 1

    @MODES
    @pytest.mark.parametrize("kept", [5, 40, 44, 200, 1000])
    def test_snaplen(self, compiled: bool, kept: int) -> None:
        """Trap 6."""
        script = Script()
        flow = script.connect()
        script.send(flow, 0, record(call(6)))
        data = record(WRITE) + record(CALL)
        for at in range(0, len(data), 1400):
            script.send(flow, 0, data[at : at + 1400], kept=min(kept, len(data) - at, 1400))
        script.send(flow, 0, record(call(8)))
        rows = run(script, compiled).rows
        if kept < 12:
            assert [row["xid"] for row in rows] == [6, 8]
            return
        assert [row["xid"] for row in rows][:2] == [6, 9]
        assert rows[1]["message"] == WRITE[: kept - 4]
        assert rows[1]["damage"] == 5
        assert rows[-1]["xid"] == 8

    def test_join_in_midstream(self) -> None:
        """Trap 4."""
        script = Script()
        flow = script.flow()
        data = record(WRITE)[3000:] + talk(CALL, call(8))
        for at in range(0, len(data), 1400):
            script.send(flow, 0, data[at : at + 1400])
        script.send(flow, 1, b"half of a reply that began earlier")
        script.send(flow, 1, talk(reply(6, b"lone"), reply(8)))
        result = run(script)
        assert [(row["xid"], row["call"]) for row in result.rows] == [(7, 0), (8, 1), (6, -1), (8, 1)]
        assert result.count(Fault.ORPHAN_REPLY) == 1

    def test_too_long(self) -> None:
        """Trap 1."""
        script = Script()
        flow = script.connect()
        message = call(1, procedure=17, args=bytes(9000))
        in_pieces(script, flow, 0, record(message) + record(CALL), [1000] * 9)
        result = run(script, arena=8192)
        assert result.count(Fault.RECORD_TOO_LONG) == 1
        assert [row["size"] for row in result.rows] == [len(message), len(CALL)]
        assert result.rows[0]["damage"] == 4
        assert result.rows[0]["kept"] <= 4096


class TestOvertaken:
    """Trap 11: segments that acknowledge what has not come yet."""

    def script(self, wait: float, calls: bool = True) -> Script:
        """Call 6, its reply; then reply 7 and 8 ahead of their calls, if these ever come."""
        script = Script()
        flow = script.connect()
        script.send(flow, 0, record(call(6)))
        script.send(flow, 1, record(reply(6)))
        at, back = script.sent[flow, 0], script.sent[flow, 1]
        asked, said = talk(CALL, call(8)), talk(REPLY, reply(8))
        script.at(flow, 1, back, said[:20], at + len(asked))
        script.at(flow, 1, back + 20, said[20:], at + len(asked))
        script.wait(wait)
        if calls:
            script.at(flow, 0, at, asked, back)
        script.at(flow, 0, at + len(asked), record(call(9)), back + len(said))
        script.at(flow, 1, back + len(said), record(reply(9)), at + len(asked) + len(record(call(9))))
        return script

    @MODES
    def test_trap_11_replies_wait_for_their_calls(self, compiled: bool) -> None:
        result = run(self.script(0.01), compiled)
        assert [(row["xid"], row["reply"]) for row in result.rows] == [
            *[(6, 0), (6, 1), (7, 0), (8, 0), (7, 1), (8, 1), (9, 0), (9, 1)]
        ]
        assert [row["call"] for row in result.rows] == [0, 0, 1, 2, 1, 2, 3, 3]
        assert result.rows[4]["frame"] == result.rows[2]["frame"]
        assert (result.faulty(), result.assembler.unanswered_calls()) == (set(), 0)

    @MODES
    def test_not_longer_than_a_moment(self, compiled: bool) -> None:
        result = run(self.script(0.1), compiled)
        assert [(row["xid"], row["reply"]) for row in result.rows][2:4] == [(7, 1), (8, 1)]
        assert result.rows[2]["frame"] < result.rows[4]["frame"]
        assert result.faulty() == {"ORPHAN_REPLY"}

    @MODES
    def test_calls_that_were_never_captured(self, compiled: bool) -> None:
        result = run(self.script(0.01, calls=False), compiled)
        assert [(row["xid"], row["call"]) for row in result.rows][2:] == [(9, 1), (7, -1), (8, -1), (9, 1)]
        assert result.faulty() == {"TCP_GAP", "ORPHAN_REPLY", "RECORD_LOST", "RECORD_RESYNC"}
        assert sum(result.assembler.streams.reordered) == 1

    def test_any_block(self) -> None:
        for script in (self.script(0.01), self.script(0.1), self.script(0.01, calls=False)):
            for block in range(1, len(script.segments)):
                same(run(script, block=block, capacity=1 + block % 3), run(script))


class TestNotRpc:
    """Other protocols stay silent, and so do damaged ones."""

    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\n\r\n" * 10,
            b"SSH-2.0-OpenSSH\r\n",
            bytes.fromhex("16030100c8010000c4") + bytes(200),
            bytes.fromhex("001d12340100000100000000000003777777"),
            bytes(3000),
            b"\xff" * 3000,
        ],
    )
    @pytest.mark.parametrize("size", [1, 7, 1400])
    def test_streams(self, data: bytes, size: int) -> None:
        """Trap 17."""
        script = Script()
        flow = script.connect()
        for side in (0, 1):
            in_pieces(script, flow, side, data, [size] * (len(data) // size))
        result = run(script)
        assert (result.rows, result.faulty()) == ([], set())

    @pytest.mark.parametrize(
        "mark", [words(0), words(0x80000000), words(0xFFFFFFFF), words(0x80000008, 1, 2)]
    )
    def test_out_of_step(self, mark: bytes) -> None:
        script = Script()
        flow = script.connect()
        script.send(flow, 0, record(CALL) + mark + b"????" + record(call(8)))
        result = run(script)
        assert [row["xid"] for row in result.rows] == [7, 8]
        assert result.count(Fault.RECORD_RESYNC) == 1

    def test_a_stream_found_later(self) -> None:
        script = Script()
        flow = script.connect()
        script.send(flow, 0, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        script.send(flow, 0, record(CALL))
        assert run(script).bytes() == [CALL]

    def test_datagrams(self) -> None:
        """Trap 17."""
        script = Script()
        flow = script.pair(dport=53)
        for data in (b"", b"1234567", bytes(40), words(1, 1, 0, 0, 0, 0), words(9, 2), call(1, 0x50000000)):
            script.datagram(flow, 0, data)
            script.datagram(flow, 1, data)
        assert run(script).rows == []


def every_fault_script() -> Script:
    """A bit of everything, for the comparisons below."""
    script = Script()
    flow, late, udp = script.connect(), script.flow(sport=701), script.pair()
    script.send(flow, 0, talk(CALL, call(8, args=b"8" * 90)))
    script.datagram(udp, 0, call(1, 100000, 2, 3, b"port"))
    script.at(flow, 0, script.sent[flow, 0] + 60, record(call(12)))
    script.send(late, 1, b"tail of something" + record(call(3)))
    script.send(flow, 1, record(REPLY)[:10])
    script.send(flow, 0, record(call(10))[:30])
    script.datagram(udp, 1, reply(1, words(2049)))
    script.send(flow, 1, record(REPLY)[10:] + record(reply(8, bytes(60)), 8))
    script.send(late, 0, record(reply(3)))
    in_pieces(script, late, 0, record(WRITE), [1300] * 4)
    script.at(flow, 0, 0, record(CALL))
    script.at(flow, 1, script.sent[flow, 1], b"", script.sent[flow, 0] + 80)
    script.wait(1)
    script.at(flow, 1, script.sent[flow, 1], record(reply(12)), script.sent[flow, 0] + 80)
    script.raw(flow, 0, 77, b"", FIN | ACK)
    return script


def same(a: Result, b: Result) -> None:
    assert a.rows == b.rows
    assert a.faults.count.tolist() == b.faults.count.tolist()
    assert a.faults.first_frame.tolist() == b.faults.first_frame.tolist()
    assert (a.repeats, a.holes) == (b.repeats, b.holes)


def test_blocks_make_no_difference() -> None:
    script = every_fault_script()
    whole = run(script)
    assert len(whole.rows) > 8
    for block in range(1, len(script.segments)):
        same(run(script, block=block, capacity=1 + block % 3), whole)
    for cut in range(1, len(script.segments)):
        same(run(script, cuts={cut}), whole)


def test_compiled_is_the_same() -> None:
    script = every_fault_script()
    same(run(script, True, block=3), run(script, False, block=3))


@st.composite
def conversations(draw: Any) -> tuple[Script, list[tuple[int, bytes]]]:
    """Calls of two connections, segmented and reordered at will; and what was said."""
    script = Script()
    said = []
    pieces = []
    for port in (700, 701):
        flow = script.connect(sport=port)
        sizes = draw(st.lists(st.integers(0, 400), min_size=1, max_size=6))
        messages = [call(port * 100 + i, args=bytes([i] * size)) for i, size in enumerate(sizes)]
        said += [(flow, message) for message in messages]
        data = b"".join(
            record(m, *sorted({len(m) // 3, len(m) // 2})[: i % 3]) for i, m in enumerate(messages)
        )
        at = 0
        while at < len(data):
            size = draw(st.integers(1, 300))
            pieces.append((flow, at, data[at : at + size]))
            at += size - (draw(st.integers(0, size - 1)) if draw(st.booleans()) else 0)
    window = draw(st.integers(1, 8))
    for i in range(0, len(pieces), window):
        for flow, at, data in draw(st.permutations(pieces[i : i + window])):
            script.at(flow, 0, at, data)
    return script, said


@settings(max_examples=60)
@given(conversations(), st.integers(1, 9))
def test_any_segmentation(made: tuple[Script, list[tuple[int, bytes]]], block: int) -> None:
    """Traps 1, 2 and 5."""
    script, said = made
    result = run(script, block=block)
    got = [(row["flow"], row["message"]) for row in result.rows]
    for flow in (0, 1):
        assert [m for f, m in got if f == flow] == [m for f, m in said if f == flow]
    assert not result.faulty()


GARBAGE = st.tuples(
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from([0, ACK, SYN, SYN | ACK, FIN | ACK, RST]),
    st.integers(0, 3000) | st.integers(0, 0xFFFFFFFF),
    st.integers(0, 3000) | st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=60)
    | st.builds(
        lambda m, i, b: m[:i] + b + m[i + 1 :],
        st.sampled_from([record(CALL), record(REPLY), record(WRITE)[:900], CALL, REPLY]),
        st.integers(0, 60),
        st.binary(max_size=2),
    ),
    st.integers(0, 1 << 36),
    st.integers(0, 900),
)


@settings(max_examples=60)
@given(st.lists(GARBAGE, max_size=30), st.integers(1, 5))
def test_garbage_never_raises(parts: list[Any], block: int) -> None:
    script = Script()
    for sport in (1, 2):
        script.flow(sport=sport)
    script.pair()
    for flow, side, flags, seq, ack, data, wait, kept in parts:
        script.clock += wait - (1 << 30)
        script.raw(flow, side, seq, data, -1 if flow == 2 else flags, ack, min(kept, len(data)))
    limits = Limits(calls=4, answered=2, chunks=6, stream_chunks=3, stream_bytes=500)
    plain = run(script, block=block, limits=limits, arena=2048)
    same(plain, run(script, True, block=block, limits=limits, arena=2048))


def test_forget() -> None:
    script = Script()
    flow = script.connect()
    script.send(flow, 0, record(CALL) + record(call(8))[:20])
    script.at(flow, 0, 500, b"early")
    script.at(flow, 1, 0, b"", 10)
    after = Script(script.flows)
    after.connect()
    after.flows.pop()
    after.send(1, 1, record(REPLY))
    for segment in after.segments:
        segment.flow = flow
    assert [row["call"] for row in run(script, then=after.segments).rows] == [0, 0, 1]
    result = run(script, then=after.segments, forget=[flow, 99])
    assert [row["call"] for row in result.rows] == [0, -1]
    assert (int(result.assembler.streams.acked[2 * flow]), open_calls(result.assembler)) == (0, 1)
    assert int(result.assembler.streams.segments[0]) == 0
    assert result.holes == []


@pytest.mark.parametrize("count", [lambda a: a.calls, lambda a: a.replies, lambda a: a.messages // 2])
def test_counts(count: Callable[[Any], int]) -> None:
    assert count(run(one_exchange()).assembler) == 1
