"""The handle table: one row per server and handle, whatever it is padded with; both modes of its kernels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.faults import Fault, new_faults
from analyzer.records.handles import LIMIT, NOBODY, SEVERAL, HandleTable, export_key

KNFSD = bytes((1, 0, 6, 1)) + bytes(range(16))


@pytest.fixture(params=[False, True], ids=["plain", "compiled"])
def table(request: pytest.FixtureRequest) -> HandleTable:
    return HandleTable(request.param, new_faults())


def intern(table: HandleTable, *pairs: tuple[int, bytes]) -> list[int]:
    """Rows of (server, handle) pairs interned in one go; empty handles have no span."""
    memory = np.frombuffer(b"\xaa" + b"\xbb".join(data for _, data in pairs) + b"\xcc" * 8, np.uint8).copy()
    starts, stops, at = [], [], 1
    for _, data in pairs:
        starts.append(at if data else -1)
        stops.append(at + len(data) if data else -1)
        at += len(data) + 1
    servers = np.array([server for server, _ in pairs], np.int64)
    return table.intern(memory, np.array(starts, np.int64), np.array(stops, np.int64), servers).tolist()


def test_a_handle_means_something_with_its_server_only(table: HandleTable) -> None:
    assert intern(table, (1, b"abc"), (2, b"abc"), (1, b"abd"), (1, b"abc")) == [0, 1, 2, 0]
    assert intern(table, (2, b"abc"), (1, b"abd")) == [1, 2]
    assert table.data == [b"abc", b"abc", b"abd"]
    assert [table.server_of(row) for row in range(table.count)] == [1, 2, 1]


@pytest.mark.parametrize("size", range(1, 12))
def test_trailing_zeros_do_not_count(table: HandleTable, size: int) -> None:
    data = bytes(range(1, size + 1))
    assert intern(table, (1, data), (1, data + bytes(4)), (1, data.ljust(32, b"\0"))) == [0, 0, 0]
    assert intern(table, (1, b"\0" + data), (1, data + b"\1")) == [1, 2]


def test_what_is_not_there_has_no_row(table: HandleTable) -> None:
    assert intern(table, (1, b""), (1, b"a"), (1, b"")) == [-1, 0, -1]
    assert table.intern_one(1, b"") == -1
    empty = np.zeros(0, np.int64)
    assert not len(table.intern(np.zeros(4, np.uint8), empty, empty, empty))


def test_one_at_a_time_is_the_same_as_many(table: HandleTable) -> None:
    assert intern(table, (1, b"abc"), (1, b"x" * 64)) == [0, 1]
    assert table.intern_one(1, b"abc") == 0
    assert table.intern_one(1, b"abc\0") == 0
    assert table.intern_one(1, b"new") == 2
    assert table.intern_one(1, b"new") == 2
    assert table.intern_one(2, b"new") == 3


def test_growing_forgets_nothing(table: HandleTable) -> None:
    first = intern(table, *((n % 3, b"h%d" % n) for n in range(900)))
    table.named[5] = 1
    table.describe(7, 1, 1, 1, 0)
    table.locked([8, 8, 9], [1, 2, 1])
    second = intern(table, *((n % 3, b"h%d" % n) for n in range(3000)))
    assert first == list(range(900))
    assert second == list(range(3000))
    assert table.named[5] == 1
    assert table.named[2999] == 0
    assert table.locker[[7, 8, 9, 2999]].tolist() == [NOBODY, SEVERAL, 1, NOBODY]
    assert 7 not in table.undescribed(np.arange(20, dtype=np.int32)).tolist()


def test_beyond_the_limit_handles_are_counted_and_not_followed() -> None:
    faults = new_faults()
    table = HandleTable(False, faults, limit=2048)
    first = [(1, b"h%d" % n) for n in range(3000)]
    assert intern(table, *first) == [*range(2048), *[-1] * 952]
    assert faults.count[Fault.HANDLES_EVICTED] == 952
    assert intern(table, (1, b"h2"), (1, b"h2999")) == [2, -1]
    assert faults.count[Fault.HANDLES_EVICTED] == 953
    assert LIMIT > 100_000


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=9)), max_size=40))
def test_rows_are_those_of_a_dictionary(pairs: list[tuple[int, bytes]]) -> None:
    table = HandleTable(False, new_faults())
    known: dict[tuple[int, bytes], int] = {}
    expected = [
        known.setdefault((server, data.rstrip(b"\0")), len(known)) if data else -1 for server, data in pairs
    ]
    assert intern(table, *pairs) == expected


# -- the head of a body ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "limit", "span"),
    [
        pytest.param(b"\0\0\0\3abc\0rest", 64, b"abc", id="counted"),
        pytest.param(b"\0\0\0\4abcd", 64, b"abcd", id="to the end"),
        pytest.param(b"\0\0\0\4abc", 64, None, id="one byte short"),
        pytest.param(b"\0\0\0\0", 64, None, id="empty"),
        pytest.param(b"\0\0\0", 64, None, id="no count"),
        pytest.param(b"", 64, None, id="nothing"),
        pytest.param(b"\0\0\0\5abcde", 4, None, id="beyond the limit"),
        pytest.param(b"\xff\xff\xff\xff" + bytes(80), 64, None, id="absurd"),
    ],
)
def test_heads(table: HandleTable, body: bytes, limit: int, span: bytes | None) -> None:
    memory = np.frombuffer(b"\xaa" + body + b"\xbb" * 8, np.uint8).copy()
    starts, stops = table.heads(memory, np.array([1, -1]), np.array([len(body), 99]), limit)
    found = memory[starts[0] : stops[0]].tobytes() if starts[0] >= 0 else None
    assert found == span
    assert starts[1] == -1


@pytest.mark.parametrize(
    ("body", "span"),
    [
        pytest.param(bytes(4) + b"\0\0\0\3abc", b"abc", id="success"),
        pytest.param(b"\0\0\0\2\0\0\0\3abc", None, id="failure"),
        pytest.param(bytes(4) + b"\0\0\0\4abc", None, id="one byte short"),
        pytest.param(bytes(7), None, id="no count"),
        pytest.param(b"\0\0\0\4" * 2 + b"abcd", None, id="a count is no status"),
    ],
)
def test_heads_behind_a_status(table: HandleTable, body: bytes, span: bytes | None) -> None:
    memory = np.frombuffer(body + b"\xbb" * 8, np.uint8).copy()
    (start,), (stop,) = table.heads(memory, np.array([0]), np.array([len(body)]), 64, status=True)
    assert (memory[start:stop].tobytes() if start >= 0 else None) == span


# -- what is known of files -----------------------------------------------------------------------


def test_the_first_description_of_each_handle_is_asked_for_once(table: HandleTable) -> None:
    rows = np.array(intern(table, (1, b"a"), (1, b"b"), (1, b"c")), np.int32)
    asked = np.array([rows[1], -1, rows[0], rows[1], rows[2]], np.int32)
    assert sorted(table.undescribed(asked).tolist()) == [0, 2, 4]
    table.describe(int(rows[1]), 9, 90, 1, 0)
    assert sorted(table.undescribed(asked).tolist()) == [2, 4]
    assert table.described == [(1, 9, 90, 1, 0)]


@pytest.mark.parametrize(
    ("calls", "locker"),
    [
        pytest.param([[(0, 3)], [(0, 3)]], 3, id="one"),
        pytest.param([[(0, 3)], [(0, 4)]], SEVERAL, id="two"),
        pytest.param([[(0, 3), (0, 4)]], SEVERAL, id="two at once"),
        pytest.param([[(0, 4), (0, 3)], [(0, 3)]], SEVERAL, id="for ever"),
        pytest.param([[(-1, 3)]], NOBODY, id="no handle"),
    ],
)
def test_who_locks_a_file(table: HandleTable, calls: list[list[tuple[int, int]]], locker: int) -> None:
    intern(table, (1, b"a"))
    for batch in calls:
        table.locked([handle for handle, _ in batch], [host for _, host in batch])
    assert table.locker[0] == locker
    assert table.any_locked == (locker != NOBODY)


@pytest.mark.parametrize(
    ("handle", "key"),
    [
        (KNFSD, b"k\6" + bytes(range(16))),
        (KNFSD + b"file", b"k\6" + bytes(range(16))),
        (KNFSD[:19], None),
        (bytes((1, 0, 0, 0)) + bytes(8), b"k\0" + bytes(8)),
        (bytes((1, 0, 9, 0)) + bytes(60), None),
        (b"\x43\0\0\7\x14\0\0\0", b"g\0\7"),
        (b"\x43\0\0\7", None),
        (b"\xee" * 32, None),
        (b"", None),
    ],
)
def test_export_key(handle: bytes, key: bytes | None) -> None:
    assert export_key(handle) == key


def test_a_row_that_was_given_up_becomes_another_handle(table: HandleTable) -> None:
    first = table.intern_many([1] * 100, [bytes([0xAA, number]) for number in range(100)])
    table.give_up(first[10:20])
    assert (table.count, table.used) == (100, 90)
    again = table.intern_many([1] * 10, [bytes([0xAA, number]) for number in range(10)])
    assert again == first[:10], "what was not given up is where it was"
    others = table.intern_many([1] * 15, [bytes([0xBB, number]) for number in range(15)])
    assert (table.count, table.used) == (105, 105)
    assert set(first[10:20]) < set(others)
    assert sorted(table.reused) == sorted(first[10:20])
    assert [table.data[row] for row in others] == [bytes([0xBB, number]) for number in range(15)]
    assert table.intern_many([1], [bytes([0xAA, 15])]) == [105], "what was given up is new"
    assert all(table.is_followed(row) for row in range(106))


def test_what_was_not_met_is_told(table: HandleTable) -> None:
    rows = table.intern_many([1] * 5, [bytes([7, number]) for number in range(5)])
    assert table.unmet(0) == []
    table.next_round()
    assert table.unmet(1) == []
    table.intern_many([1] * 2, [bytes([7, 3]), bytes([7, 9])])
    table.next_round()
    assert table.unmet(1) == [rows[0], rows[1], rows[2], rows[4]]
    table.next_round()
    assert len(table.unmet(1)) == 6
    assert table.unmet(2) == [rows[0], rows[1], rows[2], rows[4]]
    for _ in range(300):
        table.next_round()
    assert len(table.unmet(50)) == 6
