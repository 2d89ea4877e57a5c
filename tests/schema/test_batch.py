from __future__ import annotations

import struct

import numpy as np
import pytest

from analyzer.faults import Fault
from analyzer.schema.batch import Decoder, hyper, is_padded, signed_word
from analyzer.schema.plan import MOST_COLUMNS
from analyzer.schema.xdr import MOST_ENTRIES, U32, Field, List, Rest, Struct, Text
from analyzer.words import views, word
from tests.agreement import assert_agree, laid_out, run
from tests.contract.test_schema import MODES
from tests.schema.samples import BULK, EVERYTHING, STATE, WORD
from tests.schema.test_scalar import WHOLE
from tests.strategies import at_limits, fullest, not_canonical


@MODES
def test_everything_agrees(compiled: bool) -> None:
    odd = [m for tokens in fullest(EVERYTHING) for m in (*at_limits(tokens), *not_canonical(tokens))]
    assert_agree(EVERYTHING, [WHOLE, *odd, *(WHOLE[:n] for n in range(len(WHOLE)))], compiled)


@pytest.mark.parametrize(
    ("at", "unsigned", "signed"),
    [(0, 0xFF010203, -0xFEFDFD), (4, 0x7FFFFFFF, 0x7FFFFFFF), (8, 0x80000000, -0x80000000)],
)
def test_words(at: int, unsigned: int, signed: int) -> None:
    _, words = views(np.frombuffer(bytes.fromhex("ff0102037fffffff80000000"), np.uint8))
    assert word(words, at) == unsigned
    assert signed_word(words, at) == signed


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63), 2**32, -(2**32), 0x80000000])
def test_hypers(value: int) -> None:
    _, words = views(np.frombuffer(b"!" + struct.pack(">q", value), np.uint8))
    assert hyper(words, 1) == value


def test_padding() -> None:
    memory = np.frombuffer(b"abc\0abc\1", np.uint8)
    assert is_padded(memory, 0, 3)
    assert not is_padded(memory, 4, 3)
    assert is_padded(memory, 4, 4)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 9])
@pytest.mark.parametrize("writeable", [False, True])
def test_every_memory_has_one_form(size: int, writeable: bool) -> None:
    """A second form would be a second compilation, seconds long, in the middle of a run."""
    given = np.arange(size, dtype=np.uint8)
    given.flags.writeable = writeable
    memory, words = views(given)
    assert memory[:size].tolist() == given.tolist()
    assert len(words) == len(memory) - 3
    assert given.flags.writeable is writeable
    forms = [memory.flags.writeable, words.flags.writeable, words.flags.aligned, words.flags.contiguous]
    assert forms == [False] * 4


def test_the_kernel_is_compiled_once() -> None:
    decoder = Decoder(WORD, None, compiled=True)
    for size in (0, 3, 4, 8, 100):
        for memory in (np.zeros(size, np.uint8), np.frombuffer(bytes(size), np.uint8)):
            starts = np.broadcast_to(np.int64(0), (3,))
            decoder.decode(memory, starts, starts + size, starts[::2].repeat(2)[:3])
            decoder.decode(memory[1:], starts[:1], starts[:1])


@MODES
def test_no_messages(compiled: bool) -> None:
    for declared in (EVERYTHING, WORD, Struct()):
        _, _, batch = run(declared, [], compiled)
        assert batch.rows == 0
        assert len(batch.fault) == len(batch.end) == 0
        for parent, child in batch.children.values():
            assert len(parent) == child.rows == 0


@MODES
def test_room_for_entries_grows(compiled: bool) -> None:
    """Three long lists among empty ones: the kernel stops, and goes on where it stopped."""
    declared = Struct(Field("n", U32()), Field("entries", List(WORD)), Field("last", U32()))

    def message(n: int, entries: int) -> bytes:
        parts = [struct.pack(">II", 1, 1000 * n + k) for k in range(entries)]
        return struct.pack(">I", n) + b"".join(parts) + struct.pack(">II", 0, n + 1)

    sizes = [0, 700, 0, 3, 900, 1, 0, 2000]
    batch = assert_agree(declared, [message(n, size) for n, size in enumerate(sizes)], compiled)
    parent, entries = batch.children["entries"]
    assert np.bincount(parent, minlength=len(sizes)).tolist() == sizes
    assert entries.rows == sum(sizes)
    assert batch.values["last"].tolist() == list(range(1, 9))


@MODES
def test_lists_in_lists_know_their_parents(compiled: bool) -> None:
    inner = Struct(Field("n", U32()))
    outer = Struct(Field("id", U32()), Field("inner", List(inner)), Field("after", U32()))
    declared = Struct(Field("outer", List(outer)), Field("more", List(inner)))

    def linked(parts: list[bytes]) -> bytes:
        return b"".join(b"\0\0\0\1" + part for part in parts) + bytes(4)

    def number(n: int) -> bytes:
        return struct.pack(">I", n)

    def entry(n: int, numbers: list[int]) -> bytes:
        return number(n) + linked([number(m) for m in numbers]) + number(n + 100)

    messages = [
        linked([entry(1, [11, 12]), entry(2, [])]) + linked([number(91)]),
        linked([]) + linked([]),
        linked([entry(3, [31])]) + linked([number(93), number(94)]),
    ]
    batch = assert_agree(declared, messages, compiled)
    parent, rows = batch.children["outer"]
    assert parent.tolist() == [0, 0, 2]
    assert rows.values["id"].tolist() == [1, 2, 3]
    assert rows.values["after"].tolist() == [101, 102, 103]
    parent, numbers = rows.children["inner"]
    assert parent.tolist() == [0, 0, 2]
    assert numbers.values["n"].tolist() == [11, 12, 31]
    parent, more = batch.children["more"]
    assert parent.tolist() == [0, 2, 2]
    assert more.values["n"].tolist() == [91, 93, 94]
    assert batch.children.keys() == {"outer", "more"}


@pytest.mark.parametrize("wanted", [None, []], ids=["stored", "skipped"])
def test_a_list_has_an_end(wanted: list[str] | None) -> None:
    declared = Struct(Field("entries", List(WORD)))
    entry = b"\0\0\0\1\0\0\0\2"
    most, more = entry * MOST_ENTRIES + bytes(4), entry * (MOST_ENTRIES + 1) + bytes(4)
    _, starts, batch = run(declared, [most, more, most], compiled=True, wanted=wanted)
    assert batch.fault.tolist() == [-1, Fault.XDR_DEPTH, -1]
    assert (batch.end - starts).tolist() == [len(most), len(most) - 4, len(most)]


@MODES
@pytest.mark.parametrize("wire", [None, 27, 28, 32])
def test_bulk_data_may_be_missing(wire: int | None, compiled: bool) -> None:
    data = struct.pack(">II", 5, 20) + bytes(24)
    cut = [data[:length] for length in range(len(data) + 1)]
    assert_agree(BULK, cut, compiled, sizes=None if wire is None else [wire] * len(cut))
    assert_agree(BULK, cut, compiled, [], None if wire is None else [wire] * len(cut))


@MODES
def test_last_integers_and_the_rest(compiled: bool) -> None:
    whole = b"\0\0\0\1n\0\0\0" + b"\x80\0\0\1\0\0\0\2!"
    assert_agree(STATE, [whole[:length] for length in range(len(whole) + 1)], compiled)
    assert_agree(STATE, [whole[:length] for length in range(len(whole) + 1)], compiled, ["name"])
    declared = Struct(Field("n", U32()), Field("rest", Rest()))
    assert_agree(declared, [whole[:length] for length in range(len(whole) + 1)], compiled)
    assert_agree(declared, [whole[:length] for length in range(len(whole) + 1)], compiled, ["n"])


@MODES
def test_the_last_column_of_a_full_table_has_its_bit(compiled: bool) -> None:
    wide = Struct(*(Field(f"f{n}", U32(), "-") for n in range(MOST_COLUMNS)))
    whole = bytes(range(1, 249))
    batch = assert_agree(wide, [whole, whole[:-1], b""], compiled)
    assert batch.valid[f"f{MOST_COLUMNS - 1}"].tolist() == [True, False, False]


@MODES
def test_nothing_is_read_outside_a_message(compiled: bool) -> None:
    """The memory ends with the message: a read beyond it would be an IndexError."""
    data = np.frombuffer(b"\0\0\0\5abcde\0\0\0", np.uint8)
    decoder = Decoder(Struct(Field("name", Text(8), "-")), None, compiled)
    for stop in range(len(data) + 1):
        memory = data[:stop]
        batch = decoder.decode(memory, np.zeros(1, np.int64), np.array([stop]))
        assert batch.fault[0] == (-1 if stop == len(data) else Fault.XDR_SHORT)


@MODES
def test_a_message_that_stops_before_it_starts_is_empty(compiled: bool) -> None:
    batch = Decoder(WORD, None, compiled).decode(np.zeros(8, np.uint8), np.array([4]), np.array([0]))
    assert batch.fault.tolist() == [Fault.XDR_SHORT]
    assert batch.end.tolist() == [4]


@MODES
def test_messages_may_lie_in_any_order_and_overlap(compiled: bool) -> None:
    memory, starts, stops = laid_out([struct.pack(">I", n) for n in range(5)])
    order = np.array([3, 0, 3, 4])
    batch = Decoder(WORD, None, compiled).decode(memory, starts[order], stops[order])
    assert batch.values["n"].tolist() == order.tolist()
    narrow = Decoder(WORD, None, compiled).decode(memory, starts.astype(np.int32), stops.astype(np.int32))
    assert narrow.values["n"].tolist() == list(range(5))
