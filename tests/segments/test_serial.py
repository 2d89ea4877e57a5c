"""Distances on the circle of sequence numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.kernels import compiled
from analyzer.segments.serial import distance


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (0, 0, 0),
        (0, 1460, 1460),
        (0xFFFFFFFF, 0, 1),
        (0xFFFFFFFF, 1459, 1460),
        (0, 0xFFFFFFFF, -1),
        (0, 0x7FFFFFFF, 0x7FFFFFFF),
        (0, 0x80000000, -0x80000000),
        (0x80000001, 0, 0x7FFFFFFF),
    ],
)
def test_distance(here: int, there: int, expected: int) -> None:
    assert distance(here, there) == expected
    assert compiled(distance)(here, there) == expected


@given(st.integers(0, 0xFFFFFFFF), st.integers(-(1 << 31), (1 << 31) - 1))
def test_there_and_back(here: int, way: int) -> None:
    assert distance(here, (here + way) & 0xFFFFFFFF) == way
