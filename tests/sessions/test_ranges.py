"""POSIX range arithmetic, by table and against a model that marks every byte."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.sessions import ranges
from analyzer.sessions.ranges import EOF, Page, extent


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


@dataclass(eq=False)
class Grant:
    owner: str
    start: int
    end: int
    exclusive: bool = True
    number: int = 0


def page(*grants: Grant) -> Page[Grant]:
    made: Page[Grant] = Page()
    for number, grant in enumerate(grants):
        grant.number = number
        made.assign(grant.start, grant.end, grant)
    return made


@pytest.mark.parametrize(
    ("start", "end", "left", "gone"),
    [
        pytest.param(0, 9, [(10, 19)], [], id="before"),
        pytest.param(20, 30, [(10, 19)], [], id="behind"),
        pytest.param(10, 19, [], [(10, 19)], id="all"),
        pytest.param(0, EOF, [], [(10, 19)], id="more than all"),
        pytest.param(10, 12, [(13, 19)], [(10, 12)], id="head"),
        pytest.param(18, 25, [(10, 17)], [(18, 19)], id="tail"),
        pytest.param(13, 15, [(10, 12), (16, 19)], [(13, 15)], id="middle"),
        pytest.param(19, 19, [(10, 18)], [(19, 19)], id="last byte"),
    ],
)
def test_remove(start: int, end: int, left: list[tuple[int, int]], gone: list[tuple[int, int]]) -> None:
    grant = Grant("a", 10, 19)
    held = page(grant)
    assert held.remove("a", start, end) == [(low, high, grant) for low, high in gone]
    assert held.of("a") == [(low, high, grant) for low, high in left]
    assert bool(held) == (grant in held) == bool(left)
    assert held.remove("b", 0, EOF) == []


def test_a_new_lock_replaces_what_it_covers_and_splits_what_it_cuts() -> None:
    shared, middle, all_of_it = (
        Grant("a", 0, 99, False),
        Grant("a", 40, 59, number=1),
        Grant("a", 0, EOF, number=2),
    )
    held = page(shared)
    assert held.assign(40, 59, middle) == [(40, 59, shared)]
    assert held.of("a") == [(0, 39, shared), (40, 59, middle), (60, 99, shared)]
    assert set(held) == {shared, middle}
    held.assign(0, EOF, all_of_it)
    assert held.of("a") == [(0, EOF, all_of_it)]
    assert list(held) == [all_of_it]


def test_a_dropped_lock_takes_all_its_pieces_along_and_no_other() -> None:
    split, middle = Grant("a", 0, 99), Grant("a", 40, 59)
    held = page(split, middle)
    held.drop(split)
    assert held.of("a") == [(40, 59, middle)]
    held.drop(middle)
    assert not held


@pytest.mark.parametrize(
    ("start", "end", "exclusive", "in_way"),
    [
        pytest.param(9, 20, True, [0, 1], id="both ends"),
        pytest.param(10, 19, True, [], id="between"),
        pytest.param(EOF, EOF, True, [1], id="last byte"),
        pytest.param(0, EOF, False, [1], id="readers stand in no reader's way"),
    ],
)
def test_conflicts(start: int, end: int, exclusive: bool, in_way: list[int]) -> None:
    held = page(Grant("a", 0, 9, False), Grant("b", 20, EOF), Grant("me", 0, EOF))
    assert [lock.number for lock in held.conflicts("me", start, end, exclusive)] == in_way


BYTES = 24
span = st.tuples(st.integers(0, BYTES - 1), st.integers(0, BYTES - 1)).map(lambda s: (min(s), max(s)))
steps = st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), span), max_size=30)


@pytest.mark.parametrize("few", [1, 2, 8], ids=["shelves", "now and then", "no shelves"])
@given(steps)
def test_any_sequence_is_what_marking_bytes_gives(
    few: int, moves: list[tuple[str, bool, bool, tuple[int, int]]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "FEW", few)
        _is_what_marking_bytes_gives(moves)


def _is_what_marking_bytes_gives(moves: list[tuple[str, bool, bool, tuple[int, int]]]) -> None:
    held: Page[Grant] = Page()
    known: list[Grant] = []
    marked: dict[tuple[str, int], Grant] = {}
    for number, (owner, is_lock, exclusive, (start, end)) in enumerate(moves):
        grant = Grant(owner, start, end, exclusive, number)
        in_way = {
            lock
            for (other, at), lock in marked.items()
            if other != owner and start <= at <= end and (exclusive or lock.exclusive)
        }
        assert held.conflicts(owner, start, end, exclusive) == sorted(in_way, key=lambda lock: lock.number)
        assert set(held.overlapping(start, end)) == {
            lock for (_, at), lock in marked.items() if start <= at <= end
        }
        gone = held.assign(start, end, grant) if is_lock else held.remove(owner, start, end)
        there = {at: marked[owner, at] for at in range(start, end + 1) if (owner, at) in marked}
        assert {at: lock for low, high, lock in gone for at in range(low, high + 1)} == there
        for at in range(start, end + 1):
            if is_lock:
                marked[owner, at] = grant
            else:
                marked.pop((owner, at), None)
        for who in "abc":
            pieces = held.of(who)
            assert pieces == sorted(pieces, key=lambda piece: piece[0])
            bytes_of = [(at, lock) for low, high, lock in pieces for at in range(low, high + 1)]
            assert sorted(at for at, _ in bytes_of) == sorted(at for name, at in marked if name == who)
            assert all(marked[who, at] is lock for at, lock in bytes_of), "pieces never overlap"
        assert set(held) == set(marked.values())
        assert set(held.owners) == {name for name, _ in marked}
        known.append(grant)
        assert [lock for lock in known if lock in held] == list(held)
    for lock in list(held):
        held.drop(lock)
    assert not held
    assert held.overlapping(0, EOF) == []
