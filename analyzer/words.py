"""Big-endian words at any byte of memory.

In: memory. Out: a window on it, of which item i is the word at byte i.

Theory. One load and one check of bounds instead of four: words have no alignment here, and the window is
little-endian, as loads are.

Never: copies (but of a few bytes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel
from analyzer.tables import Bytes

Words = NDArray[np.uint32]
Eights = NDArray[np.int64]
FETCHED = 64  # spans looked at at once
LINE = 64  # bytes


def views(memory: Bytes) -> tuple[Bytes, Words]:
    """The memory and the words in it, one at every byte, in the one form the kernel is compiled for:
    read-only, and neither aligned nor contiguous, as NumPy takes fewer than two words to be."""
    memory = _read_only(memory, 5)
    return memory, np.ndarray(len(memory) - 3, np.dtype("<u4"), memory, strides=(1,))


def wide_views(memory: Bytes) -> tuple[Bytes, Eights]:
    """As `views`, with eight bytes at every place."""
    memory = _read_only(memory, 9)
    return memory, np.ndarray(len(memory) - 7, np.dtype("<i8"), memory, strides=(1,))


def _read_only(memory: Bytes, least: int) -> Bytes:
    """The memory, of `least` bytes at least."""
    if len(memory) < least:
        memory = np.concatenate([memory, np.zeros(least - len(memory), np.uint8)])
    memory = memory.view()
    memory.flags.writeable = False
    return memory


@kernel
def word(words: Any, at: Any) -> Any:
    """The unsigned word at byte `at`; `words` is little-endian, as loads are."""
    w = int(words[at])
    return ((w & 0xFF) << 24) | ((w & 0xFF00) << 8) | ((w >> 8) & 0xFF00) | (w >> 24)


@kernel
def fetch(words: Any, starts: Any, first: Any) -> Any:
    """Look at the first two cache lines of some spans, from the `first` on, so that they are there when each
    is read: to wait for them one after the other took half of the time. The result means nothing, but must
    be put somewhere, or the compiler leaves the looking out."""
    seen = 0
    last = len(words) - 1
    for i in range(first, min(first + FETCHED, len(starts))):
        at = int(starts[i])
        seen ^= int(words[min(at, last)]) + int(words[min(at + LINE, last)])
    return seen
