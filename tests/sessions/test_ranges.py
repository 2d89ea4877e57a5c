"""POSIX range arithmetic, by table and against a model that marks every byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.sessions.ranges import EOF, Ranges, extent


@pytest.mark.parametrize(
    ("offset", "length", "first", "last"),
    [
        (0, 0, 0, EOF),
        (100, 0, 100, EOF),
        (100, 1, 100, 100),
        (0, 2**63, 0, 2**63 - 1),
        (2**63 - 1, 1, 2**63 - 1, 2**63 - 1),
        (2**64 - 2, 1, 2**64 - 2, 2**64 - 2),
        (2**64 - 1, 1, EOF, EOF),
        (2**64 - 1, 2**64 - 1, EOF, EOF),
        (10, 2**64 - 1, 10, EOF),
        (0, 2**64 - 1, 0, 2**64 - 2),
    ],
)
def test_extent(offset: int, length: int, first: int, last: int) -> None:
    assert extent(offset, length) == (first, last)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_extent_is_never_empty_and_never_beyond_the_end(offset: int, length: int) -> None:
    first, last = extent(offset, length)
    assert first == offset
    assert first <= last <= EOF


def ranges(*pieces: tuple[int, int, str]) -> Ranges[str]:
    made: Ranges[str] = Ranges()
    for start, end, value in pieces:
        made.assign(start, end, value)
    return made


@pytest.mark.parametrize(
    ("start", "end", "left", "gone"),
    [
        pytest.param(0, 9, [(10, 19, "a")], [], id="before"),
        pytest.param(20, 30, [(10, 19, "a")], [], id="behind"),
        pytest.param(10, 19, [], [(10, 19, "a")], id="all"),
        pytest.param(0, EOF, [], [(10, 19, "a")], id="more than all"),
        pytest.param(10, 12, [(13, 19, "a")], [(10, 12, "a")], id="head"),
        pytest.param(18, 25, [(10, 17, "a")], [(18, 19, "a")], id="tail"),
        pytest.param(13, 15, [(10, 12, "a"), (16, 19, "a")], [(13, 15, "a")], id="middle"),
        pytest.param(19, 19, [(10, 18, "a")], [(19, 19, "a")], id="last byte"),
    ],
)
def test_remove(
    start: int, end: int, left: list[tuple[int, int, str]], gone: list[tuple[int, int, str]]
) -> None:
    held = ranges((10, 19, "a"))
    assert held.remove(start, end) == gone
    assert list(held) == left
    assert bool(held) == bool(left)


def test_a_new_lock_replaces_what_it_covers_and_splits_what_it_cuts() -> None:
    held = ranges((0, 99, "shared"))
    assert held.assign(40, 59, "exclusive") == [(40, 59, "shared")]
    assert list(held) == [(0, 39, "shared"), (40, 59, "exclusive"), (60, 99, "shared")]
    assert held.holds("shared")
    held.assign(0, EOF, "exclusive2")
    assert list(held) == [(0, EOF, "exclusive2")]


def test_overlapping_gives_whole_pieces() -> None:
    held = ranges((0, 9, "a"), (20, EOF, "b"))
    assert held.overlapping(9, 20) == [(0, 9, "a"), (20, EOF, "b")]
    assert held.overlapping(10, 19) == []
    assert held.overlapping(2**64 - 1, EOF) == [(20, EOF, "b")]


BYTES = 24
span = st.tuples(st.integers(0, BYTES - 1), st.integers(0, BYTES - 1)).map(lambda s: (min(s), max(s)))
steps = st.lists(st.tuples(st.booleans(), span), max_size=30)


@given(steps)
def test_any_sequence_is_what_marking_bytes_gives(moves: list[tuple[bool, tuple[int, int]]]) -> None:
    held: Ranges[int] = Ranges()
    marked: dict[int, int] = {}
    for value, (is_lock, (start, end)) in enumerate(moves):
        gone = held.assign(start, end, value) if is_lock else held.remove(start, end)
        there = {at: marked[at] for at in range(start, end + 1) if at in marked}
        assert {at: v for low, high, v in gone for at in range(low, high + 1)} == there
        for at in range(start, end + 1):
            if is_lock:
                marked[at] = value
            else:
                marked.pop(at, None)
        assert {at: v for low, high, v in held for at in range(low, high + 1)} == marked
        starts = [low for low, _, _ in held]
        assert starts == sorted(starts)
        assert sum(high - low + 1 for low, high, _ in held) == len(marked), "pieces never overlap"
