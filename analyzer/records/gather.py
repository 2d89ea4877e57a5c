"""Spans of memory to texts that outlive it.

In: memory, and where each value starts and stops. Out: `Texts`: the bytes of all values behind one another.

Theory. Memory is overwritten with the next block, so what a table shows is copied out, all values of a
column in one pass. What is the same in message after message (credentials) is found by its bytes, compared
with those that last had the same place in a small table: what is not found again is only kept twice.

Never: decides how a value is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.frozen import frozen
from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.tables import I64, Bytes
from analyzer.words import FETCHED, fetch, wide_views

SPARE = 8  # eight bytes may be written at every byte of what is copied
PLACE_BITS = 10
PLACES, PLACE_SHIFT = 1 << PLACE_BITS, 32 - PLACE_BITS
Rows = NDArray[np.intp]


@frozen
class Texts:
    """Values behind one another: value i is data[offsets[i]:offsets[i + 1]]."""

    data: Bytes
    offsets: I64
    is_hex: bool  # to be shown as hex

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        """A value."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        """The values, one by one."""
        data, ends = self.data.tobytes(), self.offsets.tolist()
        return (data[start:stop] for start, stop in pairwise(ends))


@kernel
def copy_spans(memory: Any, eights: Any, starts: Any, offsets: Any, out: Any, out_eights: Any) -> None:
    """Copy each span to its place."""
    for i in range(len(starts)):
        source = int(starts[i])
        at = int(offsets[i])
        stop = int(offsets[i + 1])
        while at + 8 <= stop:
            out_eights[at] = eights[source]
            at += 8
            source += 8
        while at < stop:
            out[at] = memory[source]
            at += 1
            source += 1


@kernel
def is_same(memory: Any, eights: Any, one: Any, other: Any, size: Any) -> Any:
    """Whether two spans have the same bytes."""
    done = 0
    while done + 8 <= size:
        if int(eights[one + done]) != int(eights[other + done]):
            return False
        done += 8
    while done < size:
        if int(memory[one + done]) != int(memory[other + done]):
            return False
        done += 1
    return True


@kernel
def find_repeats(
    memory: Any, eights: Any, starts: Any, sizes: Any, places: Any, firsts: Any, which: Any
) -> Any:
    """Number the spans, those that repeat one alike: its number in `which`; `firsts` has a span of each.

    Returns how many there are.
    """
    count = 0
    for i in range(len(starts)):
        if i % FETCHED == 0:
            which[i] = fetch(eights, starts, i) & 1
        start = int(starts[i])
        size = int(sizes[i])
        h = size
        for at in range(start, start + size - 7, 8):
            eight = int(eights[at])
            h = ((h ^ eight ^ (eight >> 29)) * 0x9E3779B1) & 0xFFFFFFFF
            h = h ^ (h >> 15)
        for at in range(start + (size & ~7), start + size):
            h = ((h ^ (int(memory[at]) & 0xFF)) * 0x9E3779B1) & 0xFFFFFFFF
        place = ((h * 0x85EBCA6B) & 0xFFFFFFFF) >> PLACE_SHIFT
        found = int(places[place])
        if found >= 0:
            other = int(firsts[found])
            if int(sizes[other]) != size or not is_same(memory, eights, start, int(starts[other]), size):
                found = -1
        if found < 0:
            found = count
            firsts[count] = i
            places[place] = count
            count += 1
        which[i] = found
    return count


class Gatherer:
    """Copies spans, in either mode of the kernels."""

    def __init__(self, compiled: bool) -> None:
        self._copy = compiled_kernel(copy_spans) if compiled else copy_spans
        self._repeats = compiled_kernel(find_repeats) if compiled else find_repeats

    def texts(self, memory: Bytes, starts: I64, stops: I64, is_hex: bool) -> Texts:
        """The spans as they are."""
        offsets = np.zeros(len(starts) + 1, np.int64)
        np.cumsum(stops - starts, out=offsets[1:])
        size = int(offsets[-1])
        data = np.empty(size + SPARE, np.uint8)
        out = np.ndarray(size + 1, np.dtype("<i8"), data, strides=(1,))
        self._copy(*wide_views(memory), np.ascontiguousarray(starts), offsets, data, out)
        return Texts(data[:size], offsets, is_hex)

    def repeats(self, memory: Bytes, starts: I64, sizes: I64) -> tuple[Rows, Rows]:
        """Distinct spans (indices of one of each, some perhaps twice), and which of them each span is."""
        firsts, which = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
        places = np.full(PLACES, -1, np.int64)
        count = self._repeats(*wide_views(memory), starts, sizes, places, firsts, which)
        return firsts[:count], which


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], Rows]:
    """The different numbers in order, and which of them each is; quick where they lie close together."""
    if not len(values):
        return values, np.zeros(0, np.intp)
    low = int(values.min())
    span = int(values.max()) - low + 1
    if span == 1:
        return values[:1], np.zeros(len(values), np.intp)
    if span > 4 * len(values) + 64:
        return np.unique(values, return_inverse=True)
    shifted = values - low
    met = np.zeros(span, np.bool_)
    met[shifted] = True
    return np.flatnonzero(met) + low, (np.cumsum(met) - 1)[shifted]


def first_of_each(values: NDArray[Any]) -> tuple[NDArray[Any], Rows]:
    """The different numbers in order, and where each occurs first; quick where they lie close together."""
    low = int(values.min(initial=0))
    span = int(values.max(initial=0)) - low + 1
    if span > 4 * len(values) + 64:
        return np.unique(values, return_index=True)
    first = np.full(span, -1, np.intp)
    first[values[::-1] - low] = np.arange(len(values) - 1, -1, -1)
    met = np.flatnonzero(first >= 0)
    return met + low, first[met]


def most_of_each(keys: I64, values: I64) -> Iterator[tuple[int, int]]:
    """The different keys in order, and the largest value of each."""
    numbers, which = distinct(keys)
    most = np.full(len(numbers), values.min(initial=0))
    np.maximum.at(most, which, values)
    return zip(numbers.tolist(), most.tolist(), strict=True)
