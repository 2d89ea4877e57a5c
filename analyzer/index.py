"""A hash index over pairs of integers: the one hash table of the kernels.

In: rows of a table whose keys stand in two int64 columns `k0`, `k1`. Out: the row of a key.

Theory. Open addressing with linear probing over `slots`, an int64 array whose length is
a power of two: -1 is free, anything else a row and above it the 32 bits that its key is mixed
to. So a slot says by itself where it belongs and nearly always whether it is the one wanted:
the table, which is large and seldom in the cache, is touched for the row that is found only.
Removal shifts the cluster back, so there are no tombstones and a long-lived table does not slow
down. The caller keeps the load at or below one half.

Where few of many possible rows are entered, few slots should be used, or each look at them is
a cache miss too: `new_stages` has slots of every size, of which one is in use, so that a kernel
can go over to the next.

Never: owns memory, evicts: the table that owns the rows does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel

Ints = NDArray[np.int64]
Slots = NDArray[np.int64]

FREE = -1
ROW_BITS = 31
ROW = (1 << ROW_BITS) - 1


def new_slots(rows: int) -> Slots:
    """Slots for at most `rows` rows at a load of one half."""
    size = 16
    while size < 2 * rows:
        size *= 2
    return np.full(size, FREE, np.int64)


def new_stages(indexes: int, rows: int, first: int) -> Slots:
    """For so many indexes slots of every size, up to those for `rows` rows: those of size n at `[n : 2 * n]`,
    `first` in use. None but these are touched."""
    last = first
    while last < 2 * rows:
        last *= 2
    stages = np.zeros((indexes, 2 * last), np.int64)
    stages[:, first : 2 * first] = FREE
    return stages


@kernel
def next_stage(stages: Any, size: Any) -> None:
    """Enter what the slots of a size have into those of twice the size."""
    new = stages[2 * size : 4 * size]
    for at in range(len(new)):
        new[at] = FREE
    for at in range(size, 2 * size):
        if int(stages[at]) >= 0:
            settle(new, int(stages[at]))


@kernel
def mix(a: Any, b: Any) -> Any:
    """32 well-stirred bits of a pair of 64-bit integers (murmur's finaliser, twice)."""
    h = (a & 0xFFFFFFFF) ^ (((a >> 32) & 0xFFFFFFFF) * 0x9E3779B1 & 0xFFFFFFFF)
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h ^= b & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    h ^= ((b >> 32) & 0xFFFFFFFF) * 0x27D4EB2F & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    return h ^ (h >> 15)


@kernel
def find(slots: Any, k0: Any, k1: Any, a: Any, b: Any) -> Any:
    """The row whose key is (a, b), or -1."""
    mask = len(slots) - 1
    mixed = mix(a, b)
    at = mixed & mask
    while True:
        slot = int(slots[at])
        if slot < 0:
            return -1
        row = slot & ROW
        if slot >> ROW_BITS == mixed and int(k0[row]) == a and int(k1[row]) == b:
            return row
        at = (at + 1) & mask


@kernel
def put(slots: Any, k0: Any, k1: Any, row: Any) -> None:
    """Enter `row`, whose key is already in its columns and not yet in the index."""
    settle(slots, mix(int(k0[row]), int(k1[row])) << ROW_BITS | row)


@kernel
def settle(slots: Any, slot: Any) -> None:
    """Put what a slot says into the first free one from where it belongs."""
    mask = len(slots) - 1
    at = (slot >> ROW_BITS) & mask
    while int(slots[at]) >= 0:
        at = (at + 1) & mask
    slots[at] = slot


@kernel
def drop(slots: Any, k0: Any, k1: Any, row: Any) -> None:
    """Take `row` out of the index; its key columns must still hold its key."""
    mask = len(slots) - 1
    mixed = mix(int(k0[row]), int(k1[row]))
    wanted = mixed << ROW_BITS | row
    at = mixed & mask
    while int(slots[at]) != wanted:
        if int(slots[at]) < 0:
            return
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        other = int(slots[at])
        if other < 0:
            break
        home = (other >> ROW_BITS) & mask
        if ((at - home) & mask) >= ((at - hole) & mask):
            slots[hole] = other
            hole = at
    slots[hole] = FREE


@kernel
def refill(slots: Any, k0: Any, k1: Any, rows: Any, count: Any) -> None:
    """Empty the index and enter `rows[:count]` (after growth or eviction)."""
    for at in range(len(slots)):
        slots[at] = FREE
    for i in range(count):
        put(slots, k0, k1, int(rows[i]))
