"""Messages on their way: one int64 per column of `Messages`, a row for each.

In: what records, headers and pairing find out, in `m`, one row. Out: rows of `Messages`.

Theory. Every array that a compiled kernel hands on costs it some ns, and a message passes a
dozen kernels: 37 columns cost more than all the work (2 s for a million messages against 0.3 s). So
there is one row, `m`, for the message in hand, and what is done goes into one matrix, column by
column: those who read it, often on another processor, read a few columns of all messages.

Never: interprets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel
from analyzer.tables import Messages

SPREAD = 8
"""Numbers between two columns: were they a power of two apart, they would all want the same cache lines."""

(
    FRAME,
    FIRST_FRAME,
    TIME,
    FLOW,
    SIDE,
    SRC,
    DST,
    SPORT,
    DPORT,
    TRANSPORT,
    XID,
    REPLY,
    START,
    KEPT,
    SIZE,
    STREAM_END,
    DAMAGE,
    CALL,
    RETRANSMIT_OF,
    PROGRAM,
    VERSION,
    PROCEDURE,
    RPCVERS,
    FLAVOR,
    CRED,
    CRED_SIZE,
    GSS,
    STATUS,
    LOW,
    HIGH,
    BODY,
    BODY_KEPT,
    BODY_SIZE,
    CALL_FRAME,
    CALL_TIME,
    CALL_BODY,
    CALL_BODY_KEPT,
) = range(len(Messages._fields))


def new_messages(capacity: int) -> Messages:
    """Room for `capacity` messages: columns that are views of one matrix."""
    return Messages(*np.zeros((len(Messages._fields), capacity + SPREAD), np.int64)[:, :capacity])


def new_row() -> NDArray[np.int64]:
    """Room for the message in hand."""
    return np.zeros(len(Messages._fields), np.int64)


def matrix_of(messages: Messages) -> NDArray[np.int64]:
    """The matrix whose columns are those of `messages`: [column, message]."""
    matrix = messages.frame.base
    assert matrix is not None
    return matrix[:, : len(messages.frame)]


@kernel
def put_row(out: Any, n: Any, m: Any) -> None:
    """Write the message in hand down as message `n`."""
    for column in range(len(m)):
        out[column, n] = int(m[column])
