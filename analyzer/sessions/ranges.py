"""Byte ranges of one lock owner: POSIX arithmetic on closed intervals.

In: ranges granted and released. Out: the pieces that stand.

Theory. A lock covers `start`..`end`, both inclusive; `EOF` as end is "to the end of the file,
wherever that will be" (l_len 0). Within one owner a new lock replaces what it overlaps, an unlock
removes what it covers and splits what it cuts (POSIX fcntl; domain rule for flock: 0..EOF). Pieces
never overlap, so a sorted list is enough; owners with more than a few pieces are rare.

Never: knows owners, files or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

V = TypeVar("V")

EOF = 2**64 - 1


def extent(offset: int, length: int) -> tuple[int, int]:
    """First and last byte of an (l_offset, l_len) pair; length 0 means to EOF.

    A range that would run past the largest offset is cut at EOF.
    """
    if length == 0:
        return offset, EOF
    return offset, min(offset + length - 1, EOF)


class Ranges(Generic[V]):
    """Disjoint pieces (start, end, value), sorted by start."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[tuple[int, int, V]] = []

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def __iter__(self) -> Iterator[tuple[int, int, V]]:
        return iter(self.pieces)

    def remove(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """Take start..end out; return the pieces that were there, cut to it."""
        if not self.pieces:
            return []
        kept: list[tuple[int, int, V]] = []
        gone: list[tuple[int, int, V]] = []
        for low, high, value in self.pieces:
            if high < start or low > end:
                kept.append((low, high, value))
                continue
            gone.append((max(low, start), min(high, end), value))
            if low < start:
                kept.append((low, start - 1, value))
            if high > end:
                kept.append((end + 1, high, value))
        self.pieces = kept
        return gone

    def assign(self, start: int, end: int, value: V) -> list[tuple[int, int, V]]:
        """Put `value` on start..end; return the pieces it replaced, cut to it."""
        gone = self.remove(start, end)
        self.pieces.append((start, end, value))
        if len(self.pieces) > 1:
            self.pieces.sort(key=_start)
        return gone

    def overlapping(self, start: int, end: int) -> list[tuple[int, int, V]]:
        """The pieces that share a byte with start..end, uncut."""
        return [piece for piece in self.pieces if piece[0] <= end and piece[1] >= start]

    def holds(self, value: V) -> bool:
        """Whether any piece carries `value`."""
        return any(piece[2] is value for piece in self.pieces)


def _start(piece: tuple[int, int, object]) -> int:
    return piece[0]
