"""The store holds each byte once, in order, whatever comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.faults import Fault, new_faults
from analyzer.kernels import compiled
from analyzer.segments.store import FOLLOWING, KEPT, OFFSET, SIZE, START, new_chunks, release, store
from analyzer.segments.streams import CHUNK_BYTES, CHUNKS, FIRST_CHUNK, LAST_CHUNK, new_streams

MEMORY = np.arange(256, dtype=np.uint8)


class Shelf:
    """One stream and its chunks."""

    def __init__(self, room: int = 20, is_compiled: bool = False) -> None:
        self.streams, self.chunks, self.faults = new_streams(2), new_chunks(room), new_faults()
        self.kernel: Any = compiled(store) if is_compiled else store

    def put(self, offset: int, size: int, start: int | None = None, kept: int | None = None) -> bool:
        return bool(
            self.kernel(
                MEMORY,
                self.streams,
                self.chunks,
                1,
                offset,
                offset if start is None else start,
                size if kept is None else kept,
                size,
                7,
                9,
                self.faults,
            )
        )

    def rows(self) -> list[tuple[int, int, int, int]]:
        rows, chunk = [], int(self.streams[1, FIRST_CHUNK])
        while chunk:
            rows.append(tuple(self.chunks[chunk, [OFFSET, SIZE, START, KEPT]].tolist()))
            chunk = int(self.chunks[chunk, FOLLOWING])
        return rows


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize(
    ("pieces", "expected", "repeats"),
    [
        ([(10, 5), (20, 5)], [(10, 5), (20, 5)], []),
        ([(20, 5), (10, 5)], [(10, 5), (20, 5)], []),
        ([(10, 5), (15, 5)], [(10, 5), (15, 5)], []),
        ([(10, 5), (10, 5)], [(10, 5)], [1]),
        ([(10, 9), (12, 3)], [(10, 9)], [1]),
        ([(10, 5), (12, 6)], [(10, 5), (15, 3)], [1]),
        ([(12, 6), (10, 5)], [(10, 2), (12, 6)], [1]),
        ([(12, 2), (16, 2), (10, 10)], [(10, 2), (12, 2), (14, 2), (16, 2), (18, 2)], [2]),
    ],
)
def test_store(
    is_compiled: bool,
    pieces: list[tuple[int, int]],
    expected: list[tuple[int, int]],
    repeats: list[int],
) -> None:
    shelf = Shelf(is_compiled=is_compiled)
    assert [i for i, piece in enumerate(pieces) if shelf.put(*piece)] == repeats
    assert shelf.rows() == [(offset, size, offset, size) for offset, size in expected]
    assert shelf.faults.count.sum() == 0


def test_what_was_not_captured_stays_missing() -> None:
    shelf = Shelf()
    shelf.put(14, 2)
    shelf.put(10, 10, kept=5)
    assert shelf.rows() == [(10, 4, 10, 4), (14, 2, 14, 2), (16, 4, 16, 0)]


@pytest.mark.parametrize(("start", "conflicts"), [(12, 0), (13, 1)])
def test_a_copy_that_differs(start: int, conflicts: int) -> None:
    shelf = Shelf()
    shelf.put(10, 5)
    assert shelf.put(12, 6, start=start)
    assert shelf.faults.count[Fault.TCP_OVERLAP_CONFLICT] == conflicts
    assert shelf.rows()[0] == (10, 5, 10, 5)


def test_full() -> None:
    shelf = Shelf(room=2)
    for offset in (10, 30, 20):
        shelf.put(offset, 5)
    assert [row[0] for row in shelf.rows()] == [10, 30]
    assert shelf.faults.count[Fault.TCP_BUFFER_FULL] == 1


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12))
def test_any_pieces(pieces: list[tuple[int, int]]) -> None:
    shelf = Shelf(room=100)
    seen: set[int] = set()
    for offset, size in pieces:
        covered = set(range(offset, offset + size))
        assert shelf.put(offset, size) == bool(covered & seen)
        seen |= covered
    rows = shelf.rows()
    assert [at for offset, size, *_ in rows for at in range(offset, offset + size)] == sorted(seen)
    assert all(offset == start and size == kept for offset, size, start, kept in rows)
    assert shelf.streams[1, CHUNKS] == len(rows)
    assert shelf.streams[1, CHUNK_BYTES] == len(seen)
    for _ in rows:
        release(shelf.streams, shelf.chunks, 1)
    assert shelf.streams[1, [FIRST_CHUNK, LAST_CHUNK, CHUNKS, CHUNK_BYTES]].tolist() == [0, 0, 0, 0]
    assert [shelf.put(2 * i, 1) for i in range(100)] == [False] * 100
