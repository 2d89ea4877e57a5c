"""The message in hand: one int64 per column of `Messages`, filled on the way, written out once.

In: what records, headers and pairing find out. Out: a row of `Messages`.

Theory. Passing 40 columns down through every kernel costs more than the work they do; one
small array does not.

Never: interprets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel
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


def new_message() -> NDArray[np.int64]:
    """Room for one message."""
    return np.zeros(len(Messages._fields), np.int64)


@kernel
def write(messages: Any, n: Any, m: Any) -> None:
    """Write the message in hand as row `n`."""
    messages.frame[n] = m[FRAME]
    messages.first_frame[n] = m[FIRST_FRAME]
    messages.time[n] = m[TIME]
    messages.flow[n] = m[FLOW]
    messages.side[n] = m[SIDE]
    messages.src[n] = m[SRC]
    messages.dst[n] = m[DST]
    messages.sport[n] = m[SPORT]
    messages.dport[n] = m[DPORT]
    messages.transport[n] = m[TRANSPORT]
    messages.xid[n] = m[XID]
    messages.reply[n] = m[REPLY]
    messages.start[n] = m[START]
    messages.kept[n] = m[KEPT]
    messages.size[n] = m[SIZE]
    messages.stream_end[n] = m[STREAM_END]
    messages.damage[n] = m[DAMAGE]
    messages.call[n] = m[CALL]
    messages.retransmit_of[n] = m[RETRANSMIT_OF]
    messages.program[n] = m[PROGRAM]
    messages.version[n] = m[VERSION]
    messages.procedure[n] = m[PROCEDURE]
    messages.rpcvers[n] = m[RPCVERS]
    messages.flavor[n] = m[FLAVOR]
    messages.cred[n] = m[CRED]
    messages.cred_size[n] = m[CRED_SIZE]
    messages.gss[n] = m[GSS]
    messages.status[n] = m[STATUS]
    messages.low[n] = m[LOW]
    messages.high[n] = m[HIGH]
    messages.body[n] = m[BODY]
    messages.body_kept[n] = m[BODY_KEPT]
    messages.body_size[n] = m[BODY_SIZE]
    messages.call_frame[n] = m[CALL_FRAME]
    messages.call_time[n] = m[CALL_TIME]
    messages.call_body[n] = m[CALL_BODY]
    messages.call_body_kept[n] = m[CALL_BODY_KEPT]
