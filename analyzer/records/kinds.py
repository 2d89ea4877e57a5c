"""The messages of a block by what they are of: program, version and procedure.

In: columns of `Messages`. Out: groups of rows.

Theory. A block has messages of a few kinds, thousands of each. One look at each message numbers it, by a
small table of the kinds met last; a kind that lost its place there to another one is only numbered twice.
Rows are then dealt out by these numbers, which needs no comparison.

Never: looks at a byte of a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.tables import I32, Messages

PLACES = 1024  # a power of two
Kind = tuple[int, int, int]  # program, version, procedure
Rows = NDArray[np.intp]


@kernel
def number_kinds(program: Any, version: Any, procedure: Any, places: Any, firsts: Any, numbers: Any) -> Any:
    """Number the messages, those of a kind alike; `firsts` has a message of each number.

    Returns how many numbers there are.
    """
    count = 0
    for i in range(len(program)):
        p, v, q = int(program[i]), int(version[i]), int(procedure[i])
        place = (31 * p + 7 * v + q) & (PLACES - 1)
        found = int(places[place])
        if found >= 0:
            other = int(firsts[found])
            if int(program[other]) != p or int(version[other]) != v or int(procedure[other]) != q:
                found = -1
        if found < 0:
            found = count
            firsts[count] = i
            places[place] = count
            count += 1
        numbers[i] = found
    return count


@kernel
def deal(numbers: Any, rows: Any, ends: Any, order: Any) -> None:
    """Put the indices of `rows` in order of their numbers: those of number n are before ends[n], which begins
    as 0, and from where those of the number before end."""
    for i in range(len(rows)):
        ends[int(numbers[rows[i]])] += 1
    begin = 0
    for n in range(len(ends)):
        count = int(ends[n])
        ends[n] = begin
        begin += count
    for i in range(len(rows)):
        n = int(numbers[rows[i]])
        order[int(ends[n])] = i
        ends[n] += 1


class Kinds:
    """The kinds of a block."""

    def __init__(self, m: Messages, compiled: bool) -> None:
        number = compiled_kernel(number_kinds) if compiled else number_kinds
        self._deal = compiled_kernel(deal) if compiled else deal
        firsts, self._numbers = np.empty(len(m.frame), np.int64), np.empty(len(m.frame), np.int32)
        places: I32 = np.full(PLACES, -1, np.int32)
        count = number(m.program, m.version, m.procedure, places, firsts, self._numbers)
        columns = (column[firsts[:count]].tolist() for column in (m.program, m.version, m.procedure))
        self._kinds: list[Kind] = list(zip(*columns, strict=True))
        self._in_order = sorted(range(count), key=self._kinds.__getitem__)

    def groups(self, rows: Rows) -> Iterator[tuple[Kind, Rows]]:
        """Indices of `rows` that are of one kind, by kind."""
        ends, order = np.zeros(len(self._kinds), np.int64), np.empty(len(rows), np.intp)
        self._deal(self._numbers, rows, ends, order)
        bounds = [0, *ends.tolist()]
        for number in self._in_order:
            if bounds[number] < bounds[number + 1]:
                yield self._kinds[number], order[bounds[number] : bounds[number + 1]]
