"""Byte ranges of a file, with the arithmetic of POSIX advisory locks.

In: inclusive ranges [start, end] that owners lock, and give back. Out: who has what, whole, split or cut.

Theory. An owner never holds a byte twice: a new lock replaces what it covers of its own earlier ones, an
unlock may cut a lock in two (POSIX fcntl). The end of the file is 2^64 - 1, so ranges are plain integers.

A file may carry one lock or, under a database, ten thousand. Therefore the pieces of an owner are sorted,
and nobody looks through all of them; and to find who stands in the way of a range without asking every one
of many owners, all pieces stand on shelves then: one shelf for each mode and each power of two that their
length stays below. On a shelf, sorted by start, what reaches into a range begins less than that power before
it. Nearly all files have no more than a few owners at a time, and go without shelves.

Never: knows what the pieces mean.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Iterator
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

EOF = 2**64 - 1
FEW = 8  # owners that are asked one by one
LARGEST_32, LARGEST_64 = 2**31 - 1, 2**63 - 1  # what signed offsets can say: of NLM 1 and 3, and of NLM 4


class Held(Protocol):
    """What a page carries: a grant, with a number that no other has."""

    number: int
    start: int
    end: int
    exclusive: bool

    @property
    def owner(self) -> Hashable:
        """Whose it is."""


V = TypeVar("V", bound=Held)


def extent(offset: int, length: int) -> tuple[int, int]:
    """First and last byte of an (l_offset, l_len) pair; length 0 means to EOF.

    A range that would run past the largest offset is cut at EOF.
    """
    if length == 0 or length > EOF - offset:
        return offset, EOF
    return offset, offset + length - 1


def largest_of(version: int) -> int:
    """The largest offset in a version of NLM, as systems with signed offsets read it."""
    return LARGEST_64 if version >= 4 else LARGEST_32


class Page(Generic[V]):
    """One page of a ledger: what is held of one file. A piece is (start, end, number, lock)."""

    __slots__ = ("_owners", "_parts", "_shelves", "entries")

    def __init__(self) -> None:
        self.entries = 0  # how often a lock was put on it
        self._owners: dict[Hashable, list[tuple[int, int, int, V]]] = {}
        self._parts: dict[V, int] = {}  # how many are left of each lock that is not whole
        self._shelves: dict[tuple[bool, int], list[tuple[int, int, int, V]]] | None = None  # if there are

    def __bool__(self) -> bool:
        return bool(self._owners)

    def __contains__(self, lock: V) -> bool:
        """Whether anything is left of a lock."""
        mine = self._owners.get(lock.owner)
        if mine is None:
            return False
        at = bisect_left(mine, (lock.start, lock.end, lock.number))
        return lock in self._parts or (at < len(mine) and mine[at][3] is lock)

    def __iter__(self) -> Iterator[V]:
        """The locks, in order of their numbers."""
        return iter(sorted({piece[3] for mine in self._owners.values() for piece in mine}, key=_number))

    def copy(self) -> Page[V]:
        """Another page that says the same."""
        other: Page[V] = Page()
        other.entries = self.entries
        other._owners = {owner: mine.copy() for owner, mine in self._owners.items()}
        other._parts = self._parts.copy()
        if self._shelves is not None:
            other._shelves = {key: shelf.copy() for key, shelf in self._shelves.items()}
        return other

    @property
    def owners(self) -> Collection[Hashable]:
        """Those who hold something."""
        return self._owners.keys()

    def of(self, owner: Hashable) -> list[tuple[int, int, V]]:
        """The pieces of an owner, in order."""
        return [(start, end, lock) for start, end, _, lock in self._owners.get(owner, ())]

    def remove(self, owner: Hashable, start: int, end: int) -> list[tuple[int, int, V]]:
        """Take start..end from an owner; return the pieces that were there, cut to it."""
        mine = self._owners.get(owner)
        if mine is None:
            return []
        low, high, _, lock = piece = mine[0]
        if len(mine) == 1 and start <= low and high <= end:  # as nearly always
            del self._owners[owner]
            if self._parts or self._shelves is not None:
                self._leave(piece)
            return [(low, high, lock)]
        at = until = _first(mine, start)
        while until < len(mine) and mine[until][0] <= end:
            until += 1
        if at == until:
            return []
        gone = mine[at:until]
        left: list[tuple[int, int, int, V]] = []
        for low, high, number, lock in gone:
            if low < start:
                left.append((low, start - 1, number, lock))
            if high > end:
                left.append((end + 1, high, number, lock))
        mine[at:until] = left
        if not mine:
            del self._owners[owner]
        for piece in left:
            self._enter(piece)
        for piece in gone:
            self._leave(piece)
        return [(max(low, start), min(high, end), lock) for low, high, _, lock in gone]

    def assign(self, start: int, end: int, lock: V) -> list[tuple[int, int, V]]:
        """Put `lock` on start..end; return the pieces of its owner that it replaced, cut to it."""
        owner = lock.owner
        self.entries += 1
        if owner not in self._owners and self._shelves is None and start == lock.start and end == lock.end:
            if len(self._owners) < FEW:  # as nearly always
                self._owners[owner] = [(start, end, lock.number, lock)]
                return []
        gone = self.remove(owner, start, end)
        if self._shelves is None and len(self._owners) >= FEW:
            self._put_up_shelves()
        piece = (start, end, lock.number, lock)
        insort(self._owners.setdefault(owner, []), piece)
        self._enter(piece)
        return gone

    def drop(self, lock: V) -> None:
        """Take all that is left of a lock."""
        mine = self._owners.get(lock.owner, [])
        at = bisect_left(mine, (lock.start,))
        while at < len(mine) and mine[at][0] <= lock.end:
            if mine[at][3] is lock:
                self._leave(mine.pop(at))
            else:
                at += 1
        if not mine:
            self._owners.pop(lock.owner, None)

    def conflicts(self, owner: Hashable, start: int, end: int, exclusive: bool) -> list[V]:
        """The locks of others that stand in the way of start..end, in order of their numbers."""
        if not self._owners or (len(self._owners) == 1 and owner in self._owners):
            return []
        if self._shelves is None:
            rows = [(mine, _first(mine, start)) for other, mine in self._owners.items() if other is not owner]
        else:
            rows = [
                (shelf, bisect_left(shelf, (start - (1 << length) + 1,)))
                for (is_exclusive, length), shelf in self._shelves.items()
                if exclusive or is_exclusive
            ]
        found: dict[V, None] = {}
        for row, at in rows:
            while at < len(row) and row[at][0] <= end:
                _, high, _, lock = row[at]
                if high >= start and (exclusive or lock.exclusive) and lock.owner is not owner:
                    found[lock] = None
                at += 1
        return sorted(found, key=_number) if len(found) > 1 else list(found)

    def overlapping(self, start: int, end: int) -> list[V]:
        """All locks that share a byte with start..end."""
        return self.conflicts(None, start, end, True)

    def _enter(self, piece: tuple[int, int, int, V]) -> None:
        start, end, _, lock = piece
        if start != lock.start or end != lock.end:
            self._parts[lock] = self._parts.get(lock, 0) + 1
        if self._shelves is not None:
            insort(self._shelves.setdefault(_shelf_of(piece), []), piece)

    def _leave(self, piece: tuple[int, int, int, V]) -> None:
        start, end, number, lock = piece
        if start != lock.start or end != lock.end:
            self._parts[lock] -= 1
            if not self._parts[lock]:
                del self._parts[lock]
        if self._shelves is not None:
            key = _shelf_of(piece)
            shelf = self._shelves[key]
            del shelf[bisect_left(shelf, (start, end, number))]
            if not shelf:
                del self._shelves[key]
            self._shelves = self._shelves or None

    def _put_up_shelves(self) -> None:
        shelves: dict[tuple[bool, int], list[tuple[int, int, int, V]]] = {}
        for mine in self._owners.values():
            for piece in mine:
                shelves.setdefault(_shelf_of(piece), []).append(piece)
        for shelf in shelves.values():
            shelf.sort()
        self._shelves = shelves


def _shelf_of(piece: tuple[int, int, int, V]) -> tuple[bool, int]:
    start, end, _, lock = piece
    return lock.exclusive, (end - start).bit_length()


def _first(mine: list[tuple[int, int, int, V]], start: int) -> int:
    """Where the pieces of an owner begin that do not end before `start`."""
    at = bisect_left(mine, (start,))
    return at - 1 if at and mine[at - 1][1] >= start else at


_number = attrgetter("number")
