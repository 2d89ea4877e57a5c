"""The part of memory that outlives a block.

In: bytes of records that arrive in pieces. Out: the same bytes in one place.

Theory. memory[:size] is two halves, of which one is in use: a bump pointer gives out room in
it, and nothing is moved within a block, so that positions in rows of messages stay good. At
the end of a block all that must live on is copied to the other half: the simplest collector
there is, whose cost is what lives, not what died. When a half is full the rest of a record is
not kept.

Never: knows what it keeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel

FLOOR, TOP, LIMIT, HALF, BLOCK = range(5)  # BLOCK counts the blocks


def new_arena(size: int) -> NDArray[np.int64]:
    """The state of an empty arena of `size` bytes."""
    return np.array([0, 0, size // 2, size // 2, 0], np.int64)


@kernel
def swap(arena: Any) -> None:
    """Begin a new block with the other half, empty."""
    arena[FLOOR] = int(arena[HALF]) - int(arena[FLOOR])
    arena[TOP] = int(arena[FLOOR])
    arena[LIMIT] = int(arena[FLOOR]) + int(arena[HALF])
    arena[BLOCK] += 1


@kernel
def move(memory: Any, to: Any, start: Any, count: Any) -> None:
    """Copy bytes that do not overlap. (A slice would do, but takes 4 s longer to compile.)"""
    for i in range(count):
        memory[to + i] = memory[start + i]


@kernel
def copy(memory: Any, arena: Any, start: Any, count: Any) -> Any:
    """Copy bytes into the arena; where they are now, or -1 if there is no room."""
    top = int(arena[TOP])
    if top + count > int(arena[LIMIT]):
        return -1
    move(memory, top, start, count)
    arena[TOP] = top + count
    return top
