"""Calls and the replies to them.

In: the message in hand, its caller and its xid. Out: the rest of its row: serial number,
first copy, call answered.

Theory. A reply says no more than an xid (RFC 5531 9), so it is read through its call. The key
of a call is its caller and its xid: over TCP the caller is one life of a stream, over UDP a
host and port, whatever address the server answers from. A row is one copy of a call; copies
hang on a chain behind the first, in order. A reply answers the oldest copy without one; a
further reply is a duplicate and belongs to the last that was answered. A call with the key of
another, equal in procedure and arguments, is a copy of it as long as one of them is open and
for a minute after, since a copy and the reply may cross; otherwise it is a new call that took
the xid. A client that reconnected, or changed its UDP port, sends its calls again: a second
index, by hosts, program and xid, has the first copy while that is open.

Answered calls are remembered until their rows are needed: a new row comes from the free list,
then from the longest answered, then from the longest open, so a call that a stalled server
keeps waiting survives a busy minute. Few answered ones are kept, and the indexes are as small
as what they hold allows: both are looked at for every message, wherever a key falls (a third of
the time of this stage was spent waiting for slots, when there were as many as calls may be open).

Never: trusts an xid alone; forgets an open call without counting it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault, note
from analyzer.index import drop, find, new_stages, next_stage, put
from analyzer.kernels import kernel
from analyzer.messages import arena as _arena
from analyzer.messages.row import (
    BODY,
    BODY_KEPT,
    BODY_SIZE,
    CALL,
    CALL_BODY,
    CALL_BODY_KEPT,
    CALL_FRAME,
    CALL_TIME,
    DST,
    FRAME,
    GSS,
    PROCEDURE,
    PROGRAM,
    RETRANSMIT_OF,
    RPCVERS,
    SRC,
    TIME,
    VERSION,
    XID,
)
from analyzer.words import word

# Columns of `calls`, one row per copy of a call. Row 0 is no call: it holds the counters below.
(
    CALLER,  # key of the index BY_CALLER
    CALL_XID,
    HOSTS,  # ... and of BY_HOSTS: client and server,
    WANTED,  # program and xid
    STATE,
    SERIAL,
    ROW_FRAME,
    ROW_TIME,
    ROW_PROGRAM,
    ROW_VERSION,
    ROW_PROCEDURE,
    ROW_RPCVERS,
    ROW_GSS,
    HASH,
    ARGS,  # where the arguments are in memory
    ARGS_KEPT,
    ARGS_BLOCK,  # ... as long as this is the block
    BEFORE,  # neighbours in the list of its state
    BEHIND,
    FIRST,  # serial number of the first copy
    COPY,  # next copy in the chain
    LAST,  # on the head of a chain: its last row
    ASKED,  # on the head: the oldest open copy, -1 none
    ANSWERED_ROW,  # on the head: the copy answered last, -1 none
    ANSWERED_TIME,  # on the head
    HEAD,  # 1 on the head of a chain
    RESENT,  # 1: another row is answerable for it
    ORIGIN,  # row of the first copy on another connection, -1 none
) = range(28)
FREE, OPEN, ANSWERED = 0, 1, 2
BY_CALLER, BY_HOSTS = 0, 1  # the key of index i stands in columns 2 i and 2 i + 1

# Row 0. The sizes of two indexes in use; three lists of rows, by state: first, last, length.
SERIALS, UNUSED, UNANSWERED, RETRANSMITTED, ORPHANS, REPLIES, MOST_ANSWERED, SIZES = range(8)
LISTS = SIZES + 2
LAST_OF, LENGTH_OF = 1, 2

ARGS_LIMIT = 768
HASH_LIMIT = 128
FIRST_SIZE = 64  # of an index
RECENT = 60_000_000_000
UDP_CALLER = 1 << 60
CALLS_EVICTED = int(Fault.CALLS_EVICTED)
XID_REUSED = int(Fault.XID_REUSED)
DUPLICATE_REPLY = int(Fault.DUPLICATE_REPLY)
ORPHAN_REPLY = int(Fault.ORPHAN_REPLY)
BLOCK = _arena.BLOCK


def new_calls(capacity: int, answered: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Room for `capacity` copies of calls, of them `answered` answered ones, and two indexes: of all heads
    by caller, of the open ones by hosts."""
    calls = np.zeros((capacity + 1, 28), np.int64)
    calls[0, LISTS:] = -1
    for status in (FREE, OPEN, ANSWERED):
        calls[0, list_of(status) + LENGTH_OF] = 0
    calls[0, UNUSED], calls[0, MOST_ANSWERED] = 1, answered
    calls[0, SIZES : SIZES + 2] = FIRST_SIZE
    return calls, new_stages(2, capacity, FIRST_SIZE)


@kernel
def look_up(calls: Any, slots: Any, index: Any, a: Any, b: Any) -> Any:
    """The row that an index has under a key, or -1."""
    size = int(calls[0, SIZES + index])
    return find(slots[index, size : 2 * size], calls[:, 2 * index], calls[:, 2 * index + 1], a, b)


@kernel
def enter(calls: Any, slots: Any, index: Any, row: Any) -> None:
    """Put a row into an index."""
    size = int(calls[0, SIZES + index])
    put(slots[index, size : 2 * size], calls[:, 2 * index], calls[:, 2 * index + 1], row)


@kernel
def leave(calls: Any, slots: Any, index: Any, row: Any) -> None:
    """Take a row out of an index, if it is there."""
    size = int(calls[0, SIZES + index])
    drop(slots[index, size : 2 * size], calls[:, 2 * index], calls[:, 2 * index + 1], row)


@kernel
def make_way(calls: Any, slots: Any, index: Any, rows: Any) -> None:
    """Go over to the next size of an index, if `rows` would fill more than half of it."""
    size = int(calls[0, SIZES + index])
    if 2 * rows > size:
        next_stage(slots[index], size)
        calls[0, SIZES + index] = 2 * size


@kernel
def list_of(status: Any) -> Any:
    """Where in row 0 the list of a state is."""
    return LISTS + 3 * status


@kernel
def link(calls: Any, row: Any, status: Any) -> None:
    """Put a row at the end of the list of a state."""
    first = list_of(status)
    last = int(calls[0, first + LAST_OF])
    calls[row, STATE] = status
    calls[row, BEFORE] = last
    calls[row, BEHIND] = -1
    if last >= 0:
        calls[last, BEHIND] = row
    else:
        calls[0, first] = row
    calls[0, first + LAST_OF] = row
    calls[0, first + LENGTH_OF] += 1


@kernel
def unlink(calls: Any, row: Any) -> None:
    """Take a row out of the list of its state."""
    first = list_of(int(calls[row, STATE]))
    before, behind = int(calls[row, BEFORE]), int(calls[row, BEHIND])
    if before >= 0:
        calls[before, BEHIND] = behind
    else:
        calls[0, first] = behind
    if behind >= 0:
        calls[behind, BEFORE] = before
    else:
        calls[0, first + LAST_OF] = before
    calls[0, first + LENGTH_OF] -= 1


@kernel
def allocate(calls: Any, slots: Any, frame: Any, faults: Any) -> Any:
    """A row for a new copy, in no list."""
    row = int(calls[0, list_of(FREE)])
    if row >= 0:
        unlink(calls, row)
        return row
    answered = list_of(ANSWERED)
    unused = int(calls[0, UNUSED])
    if unused < len(calls) and int(calls[0, answered + LENGTH_OF]) < int(calls[0, MOST_ANSWERED]):
        calls[0, UNUSED] = unused + 1
        return unused
    row = int(calls[0, answered])
    if row < 0:
        row = int(calls[0, list_of(OPEN)])
        note(faults, CALLS_EVICTED, frame)
    behead(calls, slots, row)
    return row


@kernel
def behead(calls: Any, slots: Any, row: Any) -> None:
    """Take a row out of everything; the next copy of its call becomes the head.

    Rows leave oldest first and answered ones before open ones, so the row is a head.
    """
    leave(calls, slots, BY_CALLER, row)
    if int(calls[row, STATE]) == OPEN:
        leave(calls, slots, BY_HOSTS, row)
    copy = int(calls[row, COPY])
    if copy >= 0:
        calls[copy, HEAD] = 1
        calls[copy, LAST] = int(calls[row, LAST])
        asked, answered = int(calls[row, ASKED]), int(calls[row, ANSWERED_ROW])
        calls[copy, ASKED] = copy if asked == row else asked
        calls[copy, ANSWERED_ROW] = -1 if answered == row else answered
        calls[copy, ANSWERED_TIME] = int(calls[row, ANSWERED_TIME])
        if answered >= 0:
            calls[copy, RESENT] = 1
        enter(calls, slots, BY_CALLER, copy)
    elif is_unanswered(calls, row):
        calls[0, UNANSWERED] += 1
    unlink(calls, row)


@kernel
def is_unanswered(calls: Any, row: Any) -> Any:
    """Whether a row stands for a call of which no copy was answered."""
    return (
        int(calls[row, STATE]) == OPEN
        and int(calls[row, HEAD]) == 1
        and int(calls[row, ANSWERED_ROW]) < 0
        and int(calls[row, RESENT]) == 0
    )


@kernel
def drop_chain(calls: Any, slots: Any, row: Any) -> None:
    """Forget all copies of a call."""
    while row >= 0:
        copy = int(calls[row, COPY])
        behead(calls, slots, row)
        link(calls, row, FREE)
        row = copy


@kernel
def digest(words: Any, m: Any) -> Any:
    """A hash of the arguments: their length and first bytes."""
    at = int(m[BODY])
    stop = at + min(int(m[BODY_KEPT]), HASH_LIMIT) - 3
    h = int(m[BODY_SIZE]) & 0xFFFFFFFF
    while at < stop:
        h = ((h ^ word(words, at)) * 0x9E3779B1) & 0xFFFFFFFF
        h ^= h >> 15
        at += 4
    return h


@kernel
def is_same(calls: Any, row: Any, m: Any, hashed: Any) -> Any:
    """Whether the call in hand is a copy of that of a row."""
    return (
        int(calls[row, HASH]) == hashed
        and int(calls[row, ROW_PROGRAM]) == int(m[PROGRAM])
        and int(calls[row, ROW_VERSION]) == int(m[VERSION])
        and int(calls[row, ROW_PROCEDURE]) == int(m[PROCEDURE])
    )


@kernel
def take_call(words: Any, calls: Any, slots: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Enter a call and say whose copy it is."""
    xid, time = int(m[XID]), int(m[TIME])
    hashed = digest(words, m)
    new = allocate(calls, slots, int(m[FRAME]), faults)
    opened = int(calls[0, list_of(OPEN) + LENGTH_OF]) + 1
    make_way(calls, slots, BY_HOSTS, opened)
    make_way(calls, slots, BY_CALLER, opened + int(calls[0, list_of(ANSWERED) + LENGTH_OF]))
    fill(calls, new, m, int(calls[0, SERIALS]), hashed, block)
    calls[0, SERIALS] += 1
    m[CALL] = int(calls[new, SERIAL])
    row = look_up(calls, slots, BY_CALLER, caller, xid)
    if row >= 0:
        is_open = int(calls[row, ASKED]) >= 0
        recent = is_open or time - int(calls[row, ANSWERED_TIME]) <= RECENT
        if recent and is_same(calls, row, m, hashed):
            chain(calls, row, new)
        else:
            if is_open:
                note(faults, XID_REUSED, int(m[FRAME]))
            drop_chain(calls, slots, row)
            row = -1
    calls[new, CALLER] = caller
    calls[new, CALL_XID] = xid
    calls[new, HOSTS] = int(m[SRC]) << 32 | int(m[DST])
    calls[new, WANTED] = (int(m[PROGRAM]) & 0x7FFFFFFF) << 32 | xid  # fits; `is_same` looks at all of it
    if row < 0:
        enter(calls, slots, BY_CALLER, new)
        other = look_up(calls, slots, BY_HOSTS, int(calls[new, HOSTS]), int(calls[new, WANTED]))
        if other >= 0 and is_same(calls, other, m, hashed):
            calls[new, FIRST] = int(calls[other, FIRST])
            calls[new, ORIGIN] = other
            calls[other, RESENT] = 1
        else:
            if other >= 0:
                leave(calls, slots, BY_HOSTS, other)
            enter(calls, slots, BY_HOSTS, new)
    link(calls, new, OPEN)
    if int(calls[new, FIRST]) != int(m[CALL]):
        m[RETRANSMIT_OF] = int(calls[new, FIRST])
        calls[0, RETRANSMITTED] += 1


@kernel
def fill(calls: Any, row: Any, m: Any, serial: Any, hashed: Any, block: Any) -> None:
    """Write a call into its row, as the head of its own chain."""
    calls[row, SERIAL] = serial
    calls[row, ROW_FRAME] = m[FRAME]
    calls[row, ROW_TIME] = m[TIME]
    calls[row, ROW_PROGRAM] = m[PROGRAM]
    calls[row, ROW_VERSION] = m[VERSION]
    calls[row, ROW_PROCEDURE] = m[PROCEDURE]
    calls[row, ROW_RPCVERS] = m[RPCVERS]
    calls[row, ROW_GSS] = m[GSS]
    calls[row, HASH] = hashed
    calls[row, ARGS] = m[BODY]
    calls[row, ARGS_KEPT] = min(int(m[BODY_KEPT]), ARGS_LIMIT)
    calls[row, ARGS_BLOCK] = block
    calls[row, FIRST] = serial
    calls[row, COPY] = -1
    calls[row, LAST] = row
    calls[row, ASKED] = row
    calls[row, ANSWERED_ROW] = -1
    calls[row, HEAD] = 1
    calls[row, RESENT] = 0
    calls[row, ORIGIN] = -1


@kernel
def chain(calls: Any, head: Any, row: Any) -> None:
    """Hang a copy on the chain of its call."""
    calls[int(calls[head, LAST]), COPY] = row
    calls[head, LAST] = row
    if int(calls[head, ASKED]) < 0:
        calls[head, ASKED] = row
    calls[row, FIRST] = int(calls[head, FIRST])
    calls[row, HEAD] = 0


@kernel
def take_reply(calls: Any, slots: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Say which call a reply answers."""
    calls[0, REPLIES] += 1
    head = look_up(calls, slots, BY_CALLER, caller, int(m[XID]))
    if head < 0:
        calls[0, ORPHANS] += 1
        note(faults, ORPHAN_REPLY, int(m[FRAME]))
        return
    row = int(calls[head, ASKED])
    if row < 0:
        row = int(calls[head, ANSWERED_ROW])
        note(faults, DUPLICATE_REPLY, int(m[FRAME]))
    else:
        answer(calls, slots, head, row, int(m[TIME]))
    m[CALL] = int(calls[row, SERIAL])
    m[PROGRAM] = int(calls[row, ROW_PROGRAM])
    m[VERSION] = int(calls[row, ROW_VERSION])
    m[PROCEDURE] = int(calls[row, ROW_PROCEDURE])
    m[RPCVERS] = int(calls[row, ROW_RPCVERS])
    m[GSS] = int(calls[row, ROW_GSS])
    m[CALL_FRAME] = int(calls[row, ROW_FRAME])
    m[CALL_TIME] = int(calls[row, ROW_TIME])
    if int(calls[row, ARGS_BLOCK]) == block:
        m[CALL_BODY] = int(calls[row, ARGS])
        m[CALL_BODY_KEPT] = int(calls[row, ARGS_KEPT])


@kernel
def answer(calls: Any, slots: Any, head: Any, row: Any, time: Any) -> None:
    """A copy is answered: move on to the next one."""
    calls[head, ASKED] = int(calls[row, COPY])
    calls[head, ANSWERED_ROW] = row
    calls[head, ANSWERED_TIME] = time
    unlink(calls, row)
    link(calls, row, ANSWERED)
    leave(calls, slots, BY_HOSTS, row)
    origin = int(calls[row, ORIGIN])
    if origin >= 0 and int(calls[origin, FIRST]) == int(calls[row, FIRST]):
        leave(calls, slots, BY_HOSTS, origin)


@kernel
def count_unanswered(calls: Any) -> Any:
    """Open calls of which no copy is answered."""
    count = 0
    row = int(calls[0, list_of(OPEN)])
    while row >= 0:
        if is_unanswered(calls, row):
            count += 1
        row = int(calls[row, BEHIND])
    return count
