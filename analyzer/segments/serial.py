"""TCP sequence numbers.

In: two sequence numbers, 0..2^32-1. Out: the signed way from one to the other.

Theory. Sequence numbers live on a circle of 2^32 (RFC 9293 3.4), so they have no order, only
distances: the shorter way round, positive where the second is ahead. Everything behind this
module counts in stream offsets instead: 64 bits, from 0, never wrapping.

Never: compares two sequence numbers.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernels import kernel

CIRCLE = 0xFFFFFFFF


@kernel
def distance(here: Any, there: Any) -> Any:
    """How far `there` is ahead of `here`: -2^31 .. 2^31 - 1."""
    forward = (there - here) & CIRCLE
    return forward - ((forward & 0x80000000) << 1)
