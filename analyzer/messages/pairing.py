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
index, by hosts, program and xid, finds the first copy while that is open.

Answered calls are remembered until their rows are needed. Rows are taken from a free list,
then from the longest answered, then from the longest open: a call that a stalled server keeps
waiting survives a busy minute.

Never: trusts an xid alone; forgets an open call without counting it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault, note
from analyzer.index import drop, find, new_slots, put
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

# Columns of `Calls.rows`
(
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
    BEFORE,  # neighbours in the list of open or of answered rows
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
) = range(24)
FREE, OPEN, ANSWERED = 0, 1, 2

# `Calls.state`. Lists are (first, last) pairs; that of state S begins at LISTS + 2 * S.
SERIALS, UNUSED, OPEN_COUNT, UNANSWERED, RETRANSMITTED, ORPHANS, REPLIES, LISTS = range(8)
STATES = LISTS + 6

ARGS_LIMIT = 768
HASH_LIMIT = 128
RECENT = 60_000_000_000
UDP_CALLER = 1 << 60
CALLS_EVICTED = int(Fault.CALLS_EVICTED)
XID_REUSED = int(Fault.XID_REUSED)
DUPLICATE_REPLY = int(Fault.DUPLICATE_REPLY)
ORPHAN_REPLY = int(Fault.ORPHAN_REPLY)
BLOCK = _arena.BLOCK


class Calls(NamedTuple):
    """Open calls and those answered lately."""

    rows: NDArray[np.int64]
    caller: NDArray[np.int64]  # key: caller, xid
    xid: NDArray[np.int64]
    hosts: NDArray[np.int64]  # second key: client and server, program and xid
    wanted: NDArray[np.int64]
    slots: NDArray[np.int32]
    host_slots: NDArray[np.int32]
    state: NDArray[np.int64]


def new_calls(capacity: int) -> Calls:
    """Room for `capacity` copies of calls."""
    state = np.full(STATES, -1, np.int64)
    state[:LISTS] = 0
    caller, xid, hosts, wanted = (np.zeros(capacity, np.int64) for _ in range(4))
    rows = np.zeros((capacity, 24), np.int64)
    return Calls(rows, caller, xid, hosts, wanted, new_slots(capacity), new_slots(capacity), state)


@kernel
def link(calls: Any, row: Any, status: Any) -> None:
    """Put a row at the end of the list of a state."""
    rows, first = calls.rows, LISTS + 2 * status
    last = int(calls.state[first + 1])
    rows[row, STATE] = status
    rows[row, BEFORE] = last
    rows[row, BEHIND] = -1
    if last >= 0:
        rows[last, BEHIND] = row
    else:
        calls.state[first] = row
    calls.state[first + 1] = row
    if status == OPEN:
        calls.state[OPEN_COUNT] += 1


@kernel
def unlink(calls: Any, row: Any) -> None:
    """Take a row out of the list of its state."""
    rows, status = calls.rows, int(calls.rows[row, STATE])
    first = LISTS + 2 * status
    before, behind = int(rows[row, BEFORE]), int(rows[row, BEHIND])
    if before >= 0:
        rows[before, BEHIND] = behind
    else:
        calls.state[first] = behind
    if behind >= 0:
        rows[behind, BEFORE] = before
    else:
        calls.state[first + 1] = before
    if status == OPEN:
        calls.state[OPEN_COUNT] -= 1


@kernel
def allocate(calls: Any, frame: Any, faults: Any) -> Any:
    """A row for a new copy, in no list."""
    free = int(calls.state[LISTS + 2 * FREE])
    if free >= 0:
        unlink(calls, free)
        return free
    unused = int(calls.state[UNUSED])
    if unused < len(calls.caller):
        calls.state[UNUSED] = unused + 1
        return unused
    row = int(calls.state[LISTS + 2 * ANSWERED])
    if row < 0:
        row = int(calls.state[LISTS + 2 * OPEN])
        note(faults, CALLS_EVICTED, frame)
    behead(calls, row)
    return row


@kernel
def behead(calls: Any, row: Any) -> None:
    """Take a row out of everything; the next copy of its call becomes the head.

    Rows leave oldest first and answered ones before open ones, so the row is a head.
    """
    rows = calls.rows
    drop(calls.slots, calls.caller, calls.xid, row)
    drop(calls.host_slots, calls.hosts, calls.wanted, row)
    copy = int(rows[row, COPY])
    if copy >= 0:
        rows[copy, HEAD] = 1
        rows[copy, LAST] = int(rows[row, LAST])
        asked, answered = int(rows[row, ASKED]), int(rows[row, ANSWERED_ROW])
        rows[copy, ASKED] = copy if asked == row else asked
        rows[copy, ANSWERED_ROW] = -1 if answered == row else answered
        rows[copy, ANSWERED_TIME] = int(rows[row, ANSWERED_TIME])
        if answered >= 0:
            rows[copy, RESENT] = 1
        put(calls.slots, calls.caller, calls.xid, copy)
    elif is_unanswered(rows, row):
        calls.state[UNANSWERED] += 1
    unlink(calls, row)


@kernel
def is_unanswered(rows: Any, row: Any) -> Any:
    """Whether a row stands for a call of which no copy was answered."""
    return (
        int(rows[row, STATE]) == OPEN
        and int(rows[row, HEAD]) == 1
        and int(rows[row, ANSWERED_ROW]) < 0
        and int(rows[row, RESENT]) == 0
    )


@kernel
def drop_chain(calls: Any, row: Any) -> None:
    """Forget all copies of a call."""
    while row >= 0:
        copy = int(calls.rows[row, COPY])
        behead(calls, row)
        link(calls, row, FREE)
        row = copy


@kernel
def digest(memory: Any, m: Any) -> Any:
    """A hash of the arguments: their length and first bytes."""
    at = int(m[BODY])
    stop = at + min(int(m[BODY_KEPT]), HASH_LIMIT) - 3
    h = int(m[BODY_SIZE]) & 0xFFFFFFFF
    while at < stop:
        word = (
            int(memory[at]) << 24 | int(memory[at + 1]) << 16 | int(memory[at + 2]) << 8 | int(memory[at + 3])
        )
        h = ((h ^ word) * 0x9E3779B1) & 0xFFFFFFFF
        h ^= h >> 15
        at += 4
    return h


@kernel
def is_same(rows: Any, row: Any, m: Any, hashed: Any) -> Any:
    """Whether the call in hand is a copy of that of a row."""
    return (
        int(rows[row, HASH]) == hashed
        and int(rows[row, ROW_PROGRAM]) == int(m[PROGRAM])
        and int(rows[row, ROW_VERSION]) == int(m[VERSION])
        and int(rows[row, ROW_PROCEDURE]) == int(m[PROCEDURE])
    )


@kernel
def take_call(memory: Any, calls: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Enter a call and say whose copy it is."""
    rows, xid, time = calls.rows, int(m[XID]), int(m[TIME])
    hashed = digest(memory, m)
    new = allocate(calls, int(m[FRAME]), faults)
    fill(rows, new, m, int(calls.state[SERIALS]), hashed, block)
    calls.state[SERIALS] += 1
    m[CALL] = int(rows[new, SERIAL])
    row = find(calls.slots, calls.caller, calls.xid, caller, xid)
    if row >= 0:
        is_open = int(rows[row, ASKED]) >= 0
        recent = is_open or time - int(rows[row, ANSWERED_TIME]) <= RECENT
        if recent and is_same(rows, row, m, hashed):
            chain(calls, row, new)
        else:
            if is_open:
                note(faults, XID_REUSED, int(m[FRAME]))
            drop_chain(calls, row)
            row = -1
    calls.caller[new] = caller
    calls.xid[new] = xid
    calls.hosts[new] = int(m[SRC]) << 32 | int(m[DST])
    calls.wanted[new] = int(m[PROGRAM]) << 32 | xid
    if row < 0:
        put(calls.slots, calls.caller, calls.xid, new)
        hosts, wanted = int(calls.hosts[new]), int(calls.wanted[new])
        other = find(calls.host_slots, calls.hosts, calls.wanted, hosts, wanted)
        if other >= 0 and int(rows[other, STATE]) == OPEN and is_same(rows, other, m, hashed):
            rows[new, FIRST] = int(rows[other, FIRST])
            rows[new, ORIGIN] = other
            rows[other, RESENT] = 1
        else:
            if other >= 0:
                drop(calls.host_slots, calls.hosts, calls.wanted, other)
            put(calls.host_slots, calls.hosts, calls.wanted, new)
    link(calls, new, OPEN)
    if int(rows[new, FIRST]) != int(m[CALL]):
        m[RETRANSMIT_OF] = int(rows[new, FIRST])
        calls.state[RETRANSMITTED] += 1


@kernel
def fill(rows: Any, row: Any, m: Any, serial: Any, hashed: Any, block: Any) -> None:
    """Write a call into its row, as the head of its own chain."""
    rows[row, SERIAL] = serial
    rows[row, ROW_FRAME] = m[FRAME]
    rows[row, ROW_TIME] = m[TIME]
    rows[row, ROW_PROGRAM] = m[PROGRAM]
    rows[row, ROW_VERSION] = m[VERSION]
    rows[row, ROW_PROCEDURE] = m[PROCEDURE]
    rows[row, ROW_RPCVERS] = m[RPCVERS]
    rows[row, ROW_GSS] = m[GSS]
    rows[row, HASH] = hashed
    rows[row, ARGS] = m[BODY]
    rows[row, ARGS_KEPT] = min(int(m[BODY_KEPT]), ARGS_LIMIT)
    rows[row, ARGS_BLOCK] = block
    rows[row, FIRST] = serial
    rows[row, COPY] = -1
    rows[row, LAST] = row
    rows[row, ASKED] = row
    rows[row, ANSWERED_ROW] = -1
    rows[row, HEAD] = 1
    rows[row, RESENT] = 0
    rows[row, ORIGIN] = -1


@kernel
def chain(calls: Any, head: Any, row: Any) -> None:
    """Hang a copy on the chain of its call."""
    rows = calls.rows
    rows[int(rows[head, LAST]), COPY] = row
    rows[head, LAST] = row
    if int(rows[head, ASKED]) < 0:
        rows[head, ASKED] = row
    rows[row, FIRST] = int(rows[head, FIRST])
    rows[row, HEAD] = 0


@kernel
def take_reply(calls: Any, caller: Any, m: Any, block: Any, faults: Any) -> None:
    """Say which call a reply answers."""
    rows = calls.rows
    calls.state[REPLIES] += 1
    head = find(calls.slots, calls.caller, calls.xid, caller, int(m[XID]))
    if head < 0:
        calls.state[ORPHANS] += 1
        note(faults, ORPHAN_REPLY, int(m[FRAME]))
        return
    row = int(rows[head, ASKED])
    if row < 0:
        row = int(rows[head, ANSWERED_ROW])
        note(faults, DUPLICATE_REPLY, int(m[FRAME]))
    else:
        answer(calls, head, row, int(m[TIME]))
    m[CALL] = int(rows[row, SERIAL])
    m[PROGRAM] = int(rows[row, ROW_PROGRAM])
    m[VERSION] = int(rows[row, ROW_VERSION])
    m[PROCEDURE] = int(rows[row, ROW_PROCEDURE])
    m[RPCVERS] = int(rows[row, ROW_RPCVERS])
    m[GSS] = int(rows[row, ROW_GSS])
    m[CALL_FRAME] = int(rows[row, ROW_FRAME])
    m[CALL_TIME] = int(rows[row, ROW_TIME])
    if int(rows[row, ARGS_BLOCK]) == block:
        m[CALL_BODY] = int(rows[row, ARGS])
        m[CALL_BODY_KEPT] = int(rows[row, ARGS_KEPT])


@kernel
def answer(calls: Any, head: Any, row: Any, time: Any) -> None:
    """A copy is answered: move on to the next one."""
    rows = calls.rows
    rows[head, ASKED] = int(rows[row, COPY])
    rows[head, ANSWERED_ROW] = row
    rows[head, ANSWERED_TIME] = time
    unlink(calls, row)
    link(calls, row, ANSWERED)
    origin = int(rows[row, ORIGIN])
    if origin >= 0 and int(rows[origin, FIRST]) == int(rows[row, FIRST]):
        drop(calls.host_slots, calls.hosts, calls.wanted, origin)


@kernel
def count_unanswered(calls: Any) -> Any:
    """Open calls of which no copy is answered."""
    count = 0
    row = int(calls.state[LISTS + 2 * OPEN])
    while row >= 0:
        if is_unanswered(calls.rows, row):
            count += 1
        row = int(calls.rows[row, BEHIND])
    return count
