"""Big-endian numbers, as every header from IP up writes them.

In: `memory` and a position. Out: unsigned 8, 16 and 32-bit numbers, signed 64-bit ones.

Theory. Loads go byte by byte: headers have no alignment, and the bounds check of each load
is what keeps a hostile length from reading beyond the memory.

Never: knows what it reads.
"""

from __future__ import annotations

from typing import Any

from analyzer.kernels import kernel


@kernel
def byte(memory: Any, at: Any) -> Any:
    """An unsigned 8-bit number; the mask makes it a signed 64-bit one for numba, which would
    otherwise go on in uint64, and from there, next to a signed number, in float64."""
    return int(memory[at]) & 0xFF


@kernel
def be16(memory: Any, at: Any) -> Any:
    """An unsigned 16-bit number."""
    return (byte(memory, at) << 8) | byte(memory, at + 1)


@kernel
def be32(memory: Any, at: Any) -> Any:
    """An unsigned 32-bit number."""
    return (
        (byte(memory, at) << 24)
        | (byte(memory, at + 1) << 16)
        | (byte(memory, at + 2) << 8)
        | byte(memory, at + 3)
    )


@kernel
def be64(memory: Any, at: Any) -> Any:
    """A signed 64-bit number: half an IPv6 address."""
    high = be32(memory, at)
    if high >= 0x80000000:
        high -= 0x100000000
    return high * 0x100000000 + be32(memory, at + 4)
