"""Spans of memory to texts that outlive it.

In: memory, and where each value starts and stops. Out: `Texts`: the bytes of all values behind one another.

Theory. Memory is overwritten with the next block, so what a table shows is copied out, all values of a
column in one pass. Handles and cookies are written as hex on the way.

Never: decides what text is safe to show; it only says whether all of it is plain ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.tables import I64, Bytes


@dataclass(frozen=True, slots=True)
class Texts:
    """Values behind one another: value i is data[offsets[i]:offsets[i + 1]]."""

    data: Bytes
    offsets: I64
    is_plain: bool  # only printable ASCII

    def __len__(self) -> int:
        return len(self.offsets) - 1


@kernel
def copy_spans(memory: Any, starts: Any, offsets: Any, out: Any) -> Any:
    """Copy each span to its place; how many bytes are not printable ASCII."""
    odd = 0
    for i in range(len(starts)):
        source = int(starts[i]) - int(offsets[i])
        for at in range(int(offsets[i]), int(offsets[i + 1])):
            value = int(memory[source + at])
            out[at] = value
            if value < 32 or value > 126:
                odd += 1
    return odd


@kernel
def copy_hex(memory: Any, starts: Any, offsets: Any, out: Any) -> None:
    """Write each span as lower-case hex to its place."""
    for i in range(len(starts)):
        source = int(starts[i])
        for at in range(int(offsets[i]), int(offsets[i + 1]), 2):
            value = int(memory[source])
            high = value >> 4
            low = value & 15
            out[at] = high + 48 if high < 10 else high + 87
            out[at + 1] = low + 48 if low < 10 else low + 87
            source += 1


class Gatherer:
    """Copies spans, in either mode of the kernels."""

    def __init__(self, compiled: bool) -> None:
        self._copy = compiled_kernel(copy_spans) if compiled else copy_spans
        self._hex = compiled_kernel(copy_hex) if compiled else copy_hex

    def texts(self, memory: Bytes, starts: I64, stops: I64) -> Texts:
        """The spans as they are."""
        offsets, data = _room(stops - starts)
        odd = self._copy(memory, np.ascontiguousarray(starts), offsets, data)
        return Texts(data, offsets, odd == 0)

    def hex(self, memory: Bytes, starts: I64, stops: I64) -> Texts:
        """The spans in hex."""
        offsets, data = _room(2 * (stops - starts))
        self._hex(memory, np.ascontiguousarray(starts), offsets, data)
        return Texts(data, offsets, True)


def _room(sizes: I64) -> tuple[I64, Bytes]:
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets, np.empty(int(offsets[-1]), np.uint8)
