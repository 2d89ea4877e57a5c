"""A hash index over pairs of integers: the one hash table of the kernels.

In: rows of a table whose keys stand in two int64 columns `k0`, `k1`. Out: the row of a key.

Theory. Open addressing with linear probing over `slots`, an int32 array whose length is
a power of two: -1 is free, anything else the row. Removal shifts the cluster back, so
there are no tombstones and a long-lived table does not slow down. The caller keeps the
load at or below one half.

Never: owns memory, grows, evicts: the table that owns the rows does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel

Ints = NDArray[np.int64]
Slots = NDArray[np.int32]

FREE = -1


def new_slots(rows: int) -> Slots:
    """Slots for at most `rows` rows at a load of one half."""
    size = 16
    while size < 2 * rows:
        size *= 2
    return np.full(size, FREE, np.int32)


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
    at = mix(a, b) & mask
    while True:
        row = int(slots[at])
        if row < 0:
            return -1
        if int(k0[row]) == a and int(k1[row]) == b:
            return row
        at = (at + 1) & mask


@kernel
def put(slots: Any, k0: Any, k1: Any, row: Any) -> None:
    """Enter `row`, whose key is already in its columns and not yet in the index."""
    mask = len(slots) - 1
    at = mix(int(k0[row]), int(k1[row])) & mask
    while int(slots[at]) >= 0:
        at = (at + 1) & mask
    slots[at] = row


@kernel
def drop(slots: Any, k0: Any, k1: Any, row: Any) -> None:
    """Take `row` out of the index; its key columns must still hold its key."""
    mask = len(slots) - 1
    at = mix(int(k0[row]), int(k1[row])) & mask
    while int(slots[at]) != row:
        if int(slots[at]) < 0:
            return
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        other = int(slots[at])
        if other < 0:
            break
        home = mix(int(k0[other]), int(k1[other])) & mask
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
