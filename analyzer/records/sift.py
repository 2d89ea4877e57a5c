"""The messages of a block, sorted out: usual NFSv3 traffic by what is done with it, and the rest.

In: columns of `Messages`. Out: rows, in the order of the wire.

Theory. Nearly all messages are calls of NFSv3 and successful answers to them. One look at each tells where
it belongs; as masks over columns it took fifteen. NULL is not usual: a connection goes over to TLS with it.

Never: looks at a byte of a message.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from analyzer.kernels import compiled as compiled_kernel
from analyzer.kernels import kernel
from analyzer.protocols.nfs3 import NFS
from analyzer.tables import I64, Messages

LAST_PROCEDURE = 21
PRIVACY = 3
CALLS, REST, GOOD, SORTED = range(4)  # lists of rows


class Sifted(NamedTuple):
    """Rows of a block."""

    calls: I64  # of NFSv3, with arguments
    good: list[I64]  # successful replies of NFSv3 with results, by procedure
    rest: I64  # whatever is not usual
    asked: list[int]  # number of calls by procedure


@kernel
def sift(
    program: Any,
    version: Any,
    procedure: Any,
    gss: Any,
    status: Any,
    reply: Any,
    call: Any,
    body: Any,
    lists: Any,
    asked: Any,
    ends: Any,
) -> Any:
    """Write the row of each message into one of `lists`; how many are in CALLS and in REST.

    Good replies are sorted by procedure: SORTED[ends[p - 1] : ends[p]] are those of procedure p, and
    asked[p] becomes the number of calls. Both begin as zeros.
    """
    calls = good = rest = 0
    for i in range(len(program)):
        p = int(procedure[i])
        ours = int(program[i]) == NFS and int(version[i]) == 3 and 0 < p <= LAST_PROCEDURE
        if not ours or int(gss[i]) == PRIVACY or int(status[i]) > 0:
            lists[REST, rest] = i
            rest += 1
        elif int(reply[i]) == 0:
            asked[p] += 1
            if int(body[i]) >= 0:
                lists[CALLS, calls] = i
                calls += 1
        elif int(status[i]) == 0 and int(call[i]) >= 0 and int(body[i]) >= 0:
            lists[GOOD, good] = i
            good += 1
            ends[p] += 1
    begin = 0
    for p in range(len(ends)):
        count = int(ends[p])
        ends[p] = begin
        begin += count
    for k in range(good):
        i = int(lists[GOOD, k])
        p = int(procedure[i])
        lists[SORTED, int(ends[p])] = i
        ends[p] += 1
    return calls, rest


class Sifter:
    """Sorts out."""

    def __init__(self, compiled: bool) -> None:
        self._sift = compiled_kernel(sift) if compiled else sift

    def __call__(self, m: Messages) -> Sifted:
        """The messages `m`."""
        lists = np.empty((4, len(m.frame)), np.int64)
        asked, ends = np.zeros(LAST_PROCEDURE + 1, np.int64), np.zeros(LAST_PROCEDURE + 1, np.int64)
        columns = (m.program, m.version, m.procedure, m.gss, m.status, m.reply, m.call, m.body)
        calls, rest = self._sift(*columns, lists, asked, ends)
        good = [lists[SORTED, begin:end] for begin, end in pairwise([0, *ends.tolist()])]
        return Sifted(lists[CALLS, :calls], good, lists[REST, :rest], asked.tolist())
