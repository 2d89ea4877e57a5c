"""Byte ranges of a file, with the arithmetic of POSIX advisory locks.

In: inclusive ranges [start, end] that owners lock, and give back. Out: who has what, whole, split or cut.

Theory. An owner never holds a byte twice: a new lock replaces what it covers of its own earlier ones, an
unlock may cut a lock in two (POSIX fcntl). The end of the file is 2^64 - 1, so ranges are plain integers.

A file may carry one lock or, under a database, ten thousand. Therefore the pieces of an owner are sorted,
and nobody looks through all of them; and to find who stands in the way of a range without asking every
owner, all pieces stand on shelves as well: one shelf for each mode and each power of two that their length
stays below. On a shelf, sorted by start, what reaches into a range begins less than that power before it.

Never: knows what the pieces mean.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Hashable, Iterator
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

EOF = 2**64 - 1
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
    if length == 0:
        return offset, EOF
    return offset, min(offset + length - 1, EOF)


def largest_of(version: int) -> int:
    """The largest offset in a version of NLM, as systems with signed offsets read it."""
    return LARGEST_64 if version >= 4 else LARGEST_32


class Page(Generic[V]):
    """One page of a ledger: what is held of one file. A piece is (start, end, number, lock)."""

    __slots__ = ("_count", "_owners", "_shelves")

    def __init__(self) -> None:
        self._owners: dict[Hashable, list[tuple[int, int, int, V]]] = {}
        self._shelves: dict[tuple[bool, int], list[tuple[int, int, int, V]]] = {}
        self._count: dict[V, int] = {}  # pieces of each lock

    def __bool__(self) -> bool:
        return bool(self._owners)

    def __contains__(self, lock: object) -> bool:
        """Whether anything is left of a lock."""
        return lock in self._count

    def __iter__(self) -> Iterator[V]:
        """The locks."""
        return iter(list(self._count))

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
            self._unshelve(piece)
            del self._owners[owner]
            return [(low, high, lock)]
        at = bisect_left(mine, (start,))
        if at and mine[at - 1][1] >= start:
            at -= 1
        until = at
        while until < len(mine) and mine[until][0] <= end:
            until += 1
        if at == until:
            return []
        gone = mine[at:until]
        left: list[tuple[int, int, int, V]] = []
        for piece in gone:
            low, high, number, lock = piece
            self._unshelve(piece)
            if low < start:
                left.append((low, start - 1, number, lock))
            if high > end:
                left.append((end + 1, high, number, lock))
        mine[at:until] = left
        for piece in left:
            self._shelve(piece)
        if not mine:
            del self._owners[owner]
        return [(max(low, start), min(high, end), lock) for low, high, _, lock in gone]

    def assign(self, start: int, end: int, lock: V) -> list[tuple[int, int, V]]:
        """Put `lock` on start..end; return the pieces of its owner that it replaced, cut to it."""
        gone = self.remove(lock.owner, start, end)
        piece = (start, end, lock.number, lock)
        mine = self._owners.get(lock.owner)
        if mine is None:
            self._owners[lock.owner] = [piece]
        else:
            insort(mine, piece)
        self._shelve(piece)
        return gone

    def drop(self, lock: V) -> None:
        """Take all that is left of a lock."""
        mine = self._owners.get(lock.owner, [])
        at = bisect_left(mine, (lock.start,))
        while at < len(mine) and mine[at][0] <= lock.end:
            if mine[at][3] is lock:
                self._unshelve(mine.pop(at))
            else:
                at += 1
        if not mine:
            self._owners.pop(lock.owner, None)

    def conflicts(self, owner: Hashable, start: int, end: int, exclusive: bool) -> list[V]:
        """The locks of others that stand in the way of start..end, in order of their numbers."""
        found: dict[V, None] = {}
        for (is_exclusive, length), shelf in self._shelves.items():
            if exclusive or is_exclusive:
                for at in range(bisect_left(shelf, (start - (1 << length) + 1,)), len(shelf)):
                    low, high, _, lock = shelf[at]
                    if low > end:
                        break
                    if high >= start and lock.owner is not owner:
                        found[lock] = None
        return sorted(found, key=_number) if len(found) > 1 else list(found)

    def overlapping(self, start: int, end: int) -> list[V]:
        """All locks that share a byte with start..end."""
        return self.conflicts(None, start, end, True)

    def _shelve(self, piece: tuple[int, int, int, V]) -> None:
        start, end, _, lock = piece
        key = (lock.exclusive, (end - start).bit_length())
        shelf = self._shelves.get(key)
        if shelf is None:
            self._shelves[key] = [piece]
        else:
            insort(shelf, piece)
        self._count[lock] = self._count.get(lock, 0) + 1

    def _unshelve(self, piece: tuple[int, int, int, V]) -> None:
        start, end, number, lock = piece
        key = (lock.exclusive, (end - start).bit_length())
        shelf = self._shelves[key]
        if len(shelf) == 1:
            del self._shelves[key]
        else:
            del shelf[bisect_left(shelf, (start, end, number))]
        count = self._count[lock]
        if count == 1:
            del self._count[lock]
        else:
            self._count[lock] = count - 1


_number = attrgetter("number")
