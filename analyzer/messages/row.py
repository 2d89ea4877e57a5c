"""Messages on their way: one int64 per column of `Messages`, a row for each.

In: what records, headers and pairing find out, in `m`, one row. Out: rows of `Messages`.

Theory. Every array that a compiled kernel hands on costs it some ns, and a message passes a
dozen kernels: 37 columns cost more than all the work. So a message is one row of one matrix (0.3 s
for a million messages against 2 s), and the columns that others see are views of it.

Never: interprets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.tables import Messages

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
    columns: Any = np.zeros((capacity, len(Messages._fields)), np.int64).T
    return Messages(*columns)


def matrix_of(messages: Messages) -> NDArray[np.int64]:
    """The matrix whose columns `messages` are."""
    matrix = messages.frame.base
    assert matrix is not None
    return matrix
