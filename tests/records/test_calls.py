"""The calls table: one row per call as sent, joined with its reply wherever that comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.engine import Engine
from analyzer.protocols import find
from analyzer.protocols.nlm import NLM
from analyzer.records.calls import NO_REPLY, Calls, Chunk, Piece
from analyzer.records.fields import FIELDS, KIND_OF, recipe
from analyzer.records.gather import Gatherer, Texts, distinct, first_of_each
from analyzer.schema.program import CALL, REPLY
from tests.messages.wire import NFS, Script, call, opaque, record, reply, words

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])


class Rows:
    """Collects chunks and reads rows from them."""

    def __init__(self, window: int | None = 16) -> None:
        self.chunks: list[Chunk] = []
        self.calls = Calls(self._ready, window)

    def _ready(self, chunk: Chunk, _: Any) -> None:
        self.chunks.append(chunk)

    def take(self, *block: Any) -> None:
        hand_out = self.calls(*block)
        if hand_out is not None:
            hand_out()

    def column(self, name: str) -> list[Any]:
        found: list[Any] = []
        for chunk in self.chunks:
            if name in chunk.base:
                found += self._words(name, chunk.base[name].tolist())
                continue
            values: list[Any] = [None] * chunk.rows
            for piece in chunk.pieces.get(name, []):
                listed = _texts(piece) if isinstance(piece.values, Texts) else piece.values.tolist()
                for row, value in zip(piece.rows.tolist(), listed, strict=True):
                    values[row] = value
            found += self._words(name, values)
        return found

    def _words(self, name: str, values: list[Any]) -> list[Any]:
        known = self.calls.words.get(name)
        if known is None:
            return values
        return [None if value is None or value < 0 else known.words[value] for value in values]


def _texts(piece: Piece) -> list[bytes]:
    texts = list(piece.values)
    return texts if piece.which is None else [texts[number] for number in piece.which]


def feed(rows: Rows, blocks: list[list[bytes]], compiled: bool = False) -> None:
    """Run TCP payloads, client's (0) and server's (1) told apart by message type, block by block."""
    from tests.messages import wire

    script = Script()
    flow = script.connect()
    cuts = set()
    for block in blocks:
        cuts.add(len(script.segments))
        for message in block:
            script.send(flow, message[7] & 1, record(message))
    engine = Engine(compiled)
    engine.places.paths.append("a.pcap")
    engine.places.add(1, np.zeros(1 << 16, np.int64), np.arange(1, (1 << 16) + 1))
    _deliver(script, cuts, engine, rows, wire)


def _deliver(script: Script, cuts: set[int], engine: Engine, rows: Rows, wire: Any) -> None:
    from analyzer.faults import new_faults
    from analyzer.messages.assembler import Assembler
    from analyzer.messages.row import new_messages
    from analyzer.tables import Flows, new_table

    flows = new_table(Flows, 1)
    flows.host1[0], flows.port0[0], flows.port1[0], flows.transport[0] = *script.flows[0][1:4], 6
    arena = 1 << 16
    memory = np.zeros(arena + 65536, np.uint8)
    assembler = Assembler(engine.compiled, new_faults(), memory, arena, flows, wire.HEAD_ONLY)
    messages = new_messages(64)
    edges = [*sorted(cuts), len(script.segments)]
    frame = 0
    for begin, end in zip([0, *edges], edges, strict=False):
        part = script.segments[begin:end]
        segments = wire._fill(part, memory, arena, frame)
        frame += len(part)
        at = 0
        while at < len(part):
            at, count = assembler.feed(memory, segments, at, len(part), messages)
            rows.take(memory, messages, count, engine)
        assembler.end_block()
        memory[arena:] = 0xEE
    while count := assembler.finish(messages):
        rows.take(memory, messages, count, engine)
    rows.calls.finish()


FH = opaque(b"\1\0\6\0" + bytes(range(16)))
GETATTR = call(1, procedure=1, args=FH)
STALE = reply(1, words(70))


@MODES
@pytest.mark.parametrize("split", [False, True], ids=["one block", "two blocks"])
def test_a_call_and_its_reply(compiled: bool, split: bool) -> None:
    rows = Rows()
    feed(rows, [[GETATTR], [STALE]] if split else [[GETATTR, STALE]], compiled)
    shown = {name: rows.column(name) for name in ("program", "version", "procedure", "status", "rpc_status")}
    assert shown == {
        "program": ["NFS"],
        "version": [3],
        "procedure": ["GETATTR"],
        "status": ["NFS3ERR_STALE"],
        "rpc_status": ["SUCCESS"],
    }
    assert rows.column("fh") == [FH[4:]]
    assert rows.column("call_frame") == [3]
    assert rows.column("reply_frame") == [4]
    assert rows.column("latency") == [10_000]
    assert rows.column("call_bytes") == [len(GETATTR)]
    assert rows.column("reply_bytes") == [len(STALE)]
    assert rows.column("file") == ["a.pcap"]


def test_a_call_without_a_reply() -> None:
    rows = Rows()
    feed(rows, [[GETATTR]])
    assert rows.column("reply_frame") == [-1]
    assert rows.column("latency") == [NO_REPLY]
    assert rows.column("status") == [None]


def test_a_reply_without_a_call_has_a_row() -> None:
    rows = Rows()
    feed(rows, [[GETATTR, STALE, reply(99, words(0))]])
    assert rows.column("call_frame") == [3, -1]
    assert rows.column("reply_frame") == [4, 5]
    assert rows.column("program") == ["NFS", None]
    assert rows.column("client_port") == rows.column("client_port")[:1] * 2


def test_a_copy_names_the_first_which_counts_it() -> None:
    rows = Rows()
    feed(rows, [[GETATTR], [GETATTR, STALE]])
    assert rows.column("retransmit_of") == [-1, 3]
    assert rows.column("retransmits") == [1, 0]


def test_only_the_first_reply_to_a_call_counts() -> None:
    rows = Rows()
    feed(rows, [[GETATTR, STALE], [STALE]])
    assert rows.column("reply_frame")[0] == 4
    assert len(rows.chunks[0].pieces["status"]) == 1


def test_an_unknown_program_and_an_unknown_status_stay_numbers() -> None:
    """Trap 32."""
    rows = Rows()
    feed(rows, [[call(1, program=NFS, procedure=77), call(2, procedure=1, args=FH), reply(2, words(12345))]])
    assert rows.column("procedure") == ["77", "GETATTR"]
    assert rows.column("status") == [None, "12345"]


def test_a_chunk_waits_for_its_replies_but_not_for_ever() -> None:
    filler = [[call(n, procedure=0), reply(n)] for n in range(100, 110)]
    rows = Rows(window=3)
    feed(rows, [[GETATTR], *filler, [STALE]])
    assert rows.calls.late == 1
    assert rows.column("reply_frame")[0] == -1
    patient = Rows(window=None)
    feed(patient, [[GETATTR], *filler, [STALE]])
    assert patient.calls.late == 0
    assert patient.column("reply_frame")[0] == 24
    assert patient.column("call_frame") == rows.column("call_frame")


def test_memory_may_be_overwritten() -> None:
    """Texts are copies: `feed` overwrites the block after each."""
    rows = Rows()
    lookup = call(1, procedure=3, args=FH + opaque(b"name"))
    feed(rows, [[lookup], [reply(1, words(2, 0))]])
    assert rows.column("name") == [b"name"]
    assert rows.column("dir_fh") == [FH[4:]]


@MODES
def test_gather(compiled: bool) -> None:
    memory = np.frombuffer(b"..abc\x00\xffz12345678.", np.uint8)
    starts, stops = np.array([2, 5, 5, 7, 8], np.int64), np.array([5, 7, 5, 8, 16], np.int64)
    gatherer = Gatherer(compiled)
    texts = gatherer.texts(memory, starts, stops, is_hex=False)
    assert list(texts) == [b"abc", b"\x00\xff", b"", b"z", b"12345678"]
    assert list(gatherer.texts(memory, starts[:0], stops[:0], is_hex=True)) == []


@MODES
@pytest.mark.parametrize("sizes", [(60, 60, 61), (4, 8, 3), (0, 1, 2)], ids=str)
def test_what_repeats_is_found_by_its_bytes(compiled: bool, sizes: tuple[int, ...]) -> None:
    spans = [bytes(range(size)) for size in sizes] + [bytes(reversed(range(sizes[0])))]
    spans = [*spans, spans[0] + b"\0", *spans, *spans[::-1]]
    memory = np.frombuffer(b"".join(spans) + b"....", np.uint8)
    ends = np.cumsum([0, *map(len, spans)])
    firsts, which = Gatherer(compiled).repeats(memory, ends[:-1].copy(), np.diff(ends))
    assert [spans[firsts[number]] for number in which] == spans
    assert len(firsts) <= len(spans) // 2 + 1


def test_what_differs_in_one_byte_has_places_of_its_own() -> None:
    """Of credentials often only the last bytes of some words differ."""
    spans = [b"\0\0\0" + bytes([n]) + b"client%02d" % n + bytes(40) for n in range(16)] * 9
    memory = np.frombuffer(b"".join(spans), np.uint8)
    starts = len(spans[0]) * np.arange(len(spans))
    firsts, which = Gatherer(compiled=False).repeats(memory, starts, np.full(len(spans), len(spans[0])))
    assert firsts.tolist() == list(range(16))
    assert which.tolist() == list(range(16)) * 9


def test_many_that_differ_are_all_told_apart() -> None:
    spans = [number.to_bytes(4, "big") for number in range(5000)] * 2
    memory = np.frombuffer(b"".join(spans), np.uint8)
    starts = 4 * np.arange(len(spans))
    firsts, which = Gatherer(compiled=False).repeats(memory, starts, np.full(len(starts), 4))
    assert [spans[firsts[number]] for number in which] == spans


NUMBERS = pytest.mark.parametrize(
    "values", [[], [3], [3, 3, 1, 2, 1], [-1, 5, -1], [2**62, -(2**62), 7, 7], [0, 10**6, 10**12]], ids=str
)


@NUMBERS
def test_distinct(values: list[int]) -> None:
    unique, which = distinct(np.array(values, np.int64))
    assert unique.tolist() == sorted(set(values))
    assert [int(unique[number]) for number in which] == values


@NUMBERS
def test_first_of_each(values: list[int]) -> None:
    unique, first = first_of_each(np.array(values, np.int64))
    assert unique.tolist() == sorted(set(values))
    assert first.tolist() == [values.index(value) for value in sorted(set(values))]


@pytest.mark.parametrize(
    ("kind", "direction", "columns"),
    [
        ((NFS, 3, 3), CALL, ["dir_fh", "name"]),
        ((NFS, 3, 3), REPLY, ["status", "fh"]),
        ((NFS, 3, 6), REPLY, ["status", "eof", "data_length"]),
        ((NLM, 4, 20), CALL, ["cookie", "caller_name", "fh", "oh", "share_mode", "share_access", "reclaim"]),
        ((100000, 2, 3), CALL, ["prog", "vers", "prot"]),
        ((100000, 2, 3), REPLY, ["port"]),
        ((NFS, 3, 99), CALL, []),
        ((1, 2, 3), REPLY, []),
    ],
)
def test_recipe(kind: tuple[int, int, int], direction: int, columns: list[str]) -> None:
    assert [part.column for part in recipe(kind, direction)] == columns


def test_every_field_is_filled_by_some_message() -> None:
    assert {field.name for field in FIELDS if field.kind != "path"} == set(KIND_OF)
    assert all(field.meaning for field in FIELDS)
    assert find(NFS, 3, 3) is not None


def test_reading_a_file_gives_the_rows_of_the_capture(tmp_path: Path) -> None:
    from analyzer.engine import analyze
    from tests.render.captures import ordinary

    rows = Rows()
    analysis = analyze([str(ordinary(tmp_path / "o.pcap"))], taps=[rows.calls])
    rows.calls.finish()
    assert len(rows.column("call_frame")) == sum(analysis.counts.values())
