"""Packets that the capture shows twice.

In: what identifies a packet. Out: whether the same one went by a moment ago.

Theory. A mirror port that copies both directions, or `any` on a host that bridges, records a packet
several times within microseconds. Copies differ in what the way did to them (link header, tags, TTL) and
agree in addresses, ports, length, numbers, flags, checksum, and in the IP identification, which senders
count up or draw anew for what they send again. A TCP retransmission comes no sooner than a round trip
later, a retransmitted call not before the patience of a client is over. So the same packet within 1 ms is
a copy, and is counted and passed over. Two hosts that both record what they say to each other do the same
as a mirror, but their clocks differ: between captures it is 100 ms, and the table is larger. Bare
acknowledgements without an identification (IPv6, and DF packets of some systems) are rightly sent several
times in a row; they change nothing and are let through.

The last packets are kept in a table of pairs, one cache line each: a copy that comes behind a burst of
others finds its original there.

Never: keeps payload, beyond the eight bytes that tell one datagram from the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel

RECENT = 1024  # pairs of entries of four words: three that identify a packet, its time
RECENT_OF_SEVERAL = 1 << 14  # the same for several captures
AT_ONCE = 1_000_000  # ns
AT_ONCE_ELSEWHERE = 100_000_000
FILE_BITS = 10  # of the first word of an entry: the capture, of which so many are told apart


def new_recent(captures: int = 1) -> NDArray[np.int64]:
    """Nothing has gone by."""
    return np.full((RECENT if captures == 1 else RECENT_OF_SEVERAL) * 8, -1, np.int64)


@kernel
def is_copy(recent: Any, who: Any, what: Any, which: Any, file: Any, time: Any) -> Any:
    """Whether a packet with these words (`who` in 53 bits) went by a moment ago; else it is remembered."""
    h = (who ^ what ^ (what >> 31) ^ which) & 0xFFFFFFFF
    first = ((((h * 0x9E3779B1) & 0xFFFFFFFF) >> 8) & (len(recent) // 8 - 1)) * 8
    file &= (1 << FILE_BITS) - 1
    for entry in (first, first + 4):
        if (
            int(recent[entry + 1]) == what
            and int(recent[entry + 2]) == which
            and int(recent[entry]) >> FILE_BITS == who
        ):
            elsewhere = int(recent[entry]) & ((1 << FILE_BITS) - 1) != file
            if abs(time - int(recent[entry + 3])) <= (AT_ONCE_ELSEWHERE if elsewhere else AT_ONCE):
                return True
    entry = first if int(recent[first + 3]) <= int(recent[first + 7]) else first + 4
    recent[entry], recent[entry + 1] = who << FILE_BITS | file, what
    recent[entry + 2], recent[entry + 3] = which, time
    return False
