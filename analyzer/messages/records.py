"""Runs of bytes to RPC records (RFC 5531 11).

In: the run in hand. Out: one record at a time, as START, KEPT, SIZE and DAMAGE of the message.

Theory. A record is fragments, each behind a mark: the top bit says last, the rest how long. The
parser follows the length, not the bytes captured, so bytes missing inside a record cost no more
than themselves. A record whose mark and bytes lie in one run is the fast path and stays where it
was read; any other is joined in the arena. Of the bulk (`head_only`: what WRITE sends and READ
returns) and of what is too long only the head is joined, and the rest jumped over.

A stream is new, in step, or searching. A new one, whose first byte was captured, must begin with
a message; from then on it is in step and any record of type 0 or 1 is taken. One that began
before the capture, or lost its mark in a gap, searches: every position at first; after a few
segments only their first bytes, which is where senders put marks, so that a stream of something
else costs next to nothing.

Never: decides on a header beyond the words that tell what to keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.faults import Fault, note
from analyzer.kernels import kernel
from analyzer.messages.arena import LIMIT, TOP, move
from analyzer.messages.pairing import BY_CALLER, ROW_PROCEDURE, ROW_PROGRAM, ROW_VERSION, look_up
from analyzer.messages.recognition import HEADER, is_call, is_open, is_reply
from analyzer.messages.row import DAMAGE, FIRST_FRAME, FRAME, KEPT, SIZE, START, STREAM_END, TIME
from analyzer.segments.reassembly import AT, BEGINS, END, KEPT_END, LOSS, OFFSET_END, OWN_FRAME
from analyzer.words import word

# Columns of `parsers`, one row per stream
(
    STEP,
    TRIES,  # segments left that are searched at every position
    CARRIES,  # 1: the flow's stream has yielded a message
    TORN_SINCE,  # ns: when a record was lost from a stream in step, 0: none was
    TORN_UNTIL,  # when the last one was
    MARK_BYTES,  # of a mark, when it is cut
    MARK,
    INSIDE,  # 1: in a record
    LEFT,  # bytes left of the fragment
    LAST,  # it is the last one of the record
    P_SIZE,  # bytes of the record that have gone by
    P_KEPT,  # of them, those in the arena
    P_START,
    P_ROOM,
    P_KEEP,  # how many to keep, 0: not known yet
    P_BROKEN,  # 1: bytes are missing, so no more are kept
    P_DAMAGE,
    P_FRAME,
    LISTED,  # 1: in the list of streams with a piece of a record in the arena
    PARTIAL,  # that list, down the column: its length, then the streams
) = range(20)
UNMET, NEW, IN_STEP, SEARCHING = range(4)

HEAD = 1024
RECORD_LIMIT = 4 << 20
MARK_LIMIT = 1 << 26
ROOM = 4096
LATE_TRIES = 8
LOST_TRIES = 64
HEAD_DAMAGE = 4
RECORD_LOST = int(Fault.RECORD_LOST)
RECORD_TOO_LONG = int(Fault.RECORD_TOO_LONG)
RECORD_RESYNC = int(Fault.RECORD_RESYNC)


def new_parsers(rows: int) -> NDArray[np.int64]:
    """Parsers of streams not met yet."""
    return np.zeros((rows + 1, 20), np.int64)


@kernel
def next_record(
    memory: Any,
    words: Any,
    parsers: Any,
    s: Any,
    tcp: Any,
    arena: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """Go on in the run to the end of the next record; False when the run ends first.

    `peer` is the id of the stream's other side, whose calls a reply answers.
    """
    while int(tcp[AT]) < int(tcp[END]):
        searching = int(parsers[s, STEP]) == SEARCHING
        if searching and not search(memory, words, parsers, s, tcp, calls, slots, peer, programs, m, faults):
            tcp[AT] = tcp[END]
            return False
        if int(parsers[s, INSIDE]) == 0 and int(parsers[s, MARK_BYTES]) == 0:
            if whole(words, parsers, s, tcp, calls, slots, peer, head_only, programs, m, faults):
                return True
            if int(parsers[s, STEP]) == SEARCHING:
                continue
        if int(parsers[s, LEFT]) == 0:
            read_mark(memory, parsers, s, tcp, m, faults)
        else:
            consume(memory, words, parsers, s, tcp, arena, calls, slots, peer, head_only, programs, m, faults)
        over = int(parsers[s, INSIDE]) == 1 and int(parsers[s, LEFT]) == 0 and int(parsers[s, LAST]) == 1
        if over and complete(words, parsers, s, tcp, calls, slots, peer, programs, m, faults):
            return True
    return False


@kernel
def whole(
    words: Any,
    parsers: Any,
    s: Any,
    tcp: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """Take a record that lies in the run from its mark to its end, where it is."""
    at = int(tcp[AT])
    have = int(tcp[KEPT_END]) - at - 4
    if have < 8:
        return False
    mark = word(words, at)
    size = mark & 0x7FFFFFFF
    at += 4
    if mark < 0x80000000 or size < 8 or size > int(tcp[END]) - at:
        return False
    kept = min(size, have)
    if word(words, at + 4) > 1:
        lose(parsers, s, m, faults)
        return False
    if int(parsers[s, STEP]) == NEW:
        if not is_message(words, at, kept, size, True, True, calls, slots, peer, programs):
            lose(parsers, s, m, faults)
            return False
        parsers[s, STEP] = IN_STEP
    tcp[AT] = at + size
    keep = RECORD_LIMIT
    if size > HEAD:
        keep = keep_limit(words, at, kept, calls, slots, peer, head_only)
    m[DAMAGE] = HEAD_DAMAGE if keep < size else 0
    if kept < size and kept < keep:
        m[DAMAGE] = int(m[DAMAGE]) | int(tcp[LOSS])
    m[START] = at
    m[KEPT] = min(kept, keep)
    m[SIZE] = size
    m[FIRST_FRAME] = tcp[OWN_FRAME]
    m[STREAM_END] = int(tcp[OFFSET_END]) - (int(tcp[END]) - int(tcp[AT]))
    return True


@kernel
def keep_limit(words: Any, at: Any, kept: Any, calls: Any, slots: Any, peer: Any, head_only: Any) -> Any:
    """How many bytes of a record are worth keeping, from its first words."""
    if kept < 24 or len(head_only) == 0:
        return RECORD_LIMIT
    reply = word(words, at + 4)
    program, version, procedure = word(words, at + 12), word(words, at + 16), word(words, at + 20)
    if reply == 1:
        row = look_up(calls, slots, BY_CALLER, peer, word(words, at))
        if row < 0:
            return RECORD_LIMIT
        program, version = int(calls[row, ROW_PROGRAM]), int(calls[row, ROW_VERSION])
        procedure = int(calls[row, ROW_PROCEDURE])
    for i in range(len(head_only)):
        if (
            int(head_only[i, 0]) == program
            and int(head_only[i, 1]) == version
            and int(head_only[i, 2]) == procedure
            and int(head_only[i, 3]) == reply
        ):
            return HEAD
    return RECORD_LIMIT


@kernel
def is_message(
    words: Any,
    at: Any,
    kept: Any,
    size: Any,
    exact: Any,
    lone_reply: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    programs: Any,
) -> Any:
    """Whether an RPC message begins here."""
    if kept < 8:
        return False
    kind = word(words, at + 4)
    if kind == 0:
        return is_call(words, at, kept, size, exact, programs)
    if kind != 1:
        return False
    return is_open(calls, slots, peer, word(words, at)) or (lone_reply and is_reply(words, at, kept, size))


@kernel
def lose(parsers: Any, s: Any, m: Any, faults: Any) -> None:
    """Out of step: forget the record in hand and begin to search."""
    in_step = int(parsers[s, STEP]) == IN_STEP
    if in_step:
        note(faults, RECORD_RESYNC, int(m[FRAME]))
        if int(parsers[s, INSIDE]) == 1:
            note(faults, RECORD_LOST, int(m[FRAME]))
        tear(parsers, s, m)
    # a stream that never was RPC is looked at on its segments' first bytes only
    parsers[s, TRIES] = LOST_TRIES if in_step else 0
    parsers[s, STEP] = SEARCHING
    forget_record(parsers, s)


@kernel
def tear(parsers: Any, s: Any, m: Any) -> None:
    """Remember when a record was lost."""
    if int(parsers[s, TORN_SINCE]) == 0:
        parsers[s, TORN_SINCE] = m[TIME]
    parsers[s, TORN_UNTIL] = m[TIME]


@kernel
def forget_record(parsers: Any, s: Any) -> None:
    """Between two records."""
    for column in range(MARK_BYTES, LISTED):
        parsers[s, column] = 0


@kernel
def search(
    memory: Any,
    words: Any,
    parsers: Any,
    s: Any,
    tcp: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """Find the next mark of a record in the run and stand there, in step."""
    first = int(tcp[AT])
    stop = int(tcp[KEPT_END]) - 11
    if first >= stop:
        return False
    if int(parsers[s, TRIES]) > 0:
        parsers[s, TRIES] -= 1
    elif first == int(tcp[BEGINS]):
        stop = min(stop, first + 1)
    else:
        return False
    for at in range(first, stop):
        if int(memory[at + 8]) != 0 or int(memory[at + 9]) != 0 or int(memory[at + 10]) != 0:
            continue
        if int(memory[at + 11]) > 1 or int(memory[at]) < 0x80:
            continue
        size = word(words, at) & 0x7FFFFFFF
        kept = min(size, int(tcp[KEPT_END]) - at - 4)
        begins = at == int(tcp[BEGINS])
        if size > MARK_LIMIT or size < 20:
            continue
        if is_message(words, at + 4, kept, size, False, begins, calls, slots, peer, programs):
            tcp[AT] = at
            parsers[s, STEP] = IN_STEP
            if int(parsers[s, CARRIES]) == 0 and at > first:
                note(faults, RECORD_RESYNC, int(m[FRAME]))
            return True
    return False


@kernel
def read_mark(memory: Any, parsers: Any, s: Any, tcp: Any, m: Any, faults: Any) -> None:
    """Take up to four bytes of a mark; when it is whole, a fragment begins."""
    if int(parsers[s, INSIDE]) == 0 and int(parsers[s, MARK_BYTES]) == 0:
        parsers[s, P_FRAME] = tcp[OWN_FRAME]
    while int(parsers[s, MARK_BYTES]) < 4:
        at = int(tcp[AT])
        if at >= int(tcp[END]):
            return
        if at >= int(tcp[KEPT_END]):
            was_new = int(parsers[s, STEP]) == NEW
            parsers[s, INSIDE] = 1
            lose(parsers, s, m, faults)
            if was_new:  # nothing yet speaks against it
                parsers[s, TRIES] = LATE_TRIES
            return
        parsers[s, MARK] = (int(parsers[s, MARK]) << 8 | int(memory[at])) & 0xFFFFFFFF
        parsers[s, MARK_BYTES] += 1
        tcp[AT] = at + 1
    mark = int(parsers[s, MARK])
    length = mark & 0x7FFFFFFF
    empty = length == 0 and (int(parsers[s, P_SIZE]) == 0)
    if empty or length > MARK_LIMIT:
        lose(parsers, s, m, faults)
        return
    parsers[s, MARK_BYTES] = 0
    parsers[s, MARK] = 0
    parsers[s, INSIDE] = 1
    parsers[s, LEFT] = length
    parsers[s, LAST] = mark >> 31


@kernel
def consume(
    memory: Any,
    words: Any,
    parsers: Any,
    s: Any,
    tcp: Any,
    arena: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> None:
    """Take what the run has of the fragment, keeping what is worth it."""
    at = int(tcp[AT])
    count = min(int(parsers[s, LEFT]), int(tcp[END]) - at)
    have = max(0, min(count, int(tcp[KEPT_END]) - at))
    tcp[AT] = at + count
    parsers[s, LEFT] -= count
    parsers[s, P_SIZE] += count
    if int(parsers[s, P_BROKEN]) == 1:
        return
    taken = 0
    if int(parsers[s, P_KEEP]) == 0:
        taken = min(have, HEADER - int(parsers[s, P_KEPT]))
        keep(memory, parsers, s, arena, at, taken, m, faults)
        if int(parsers[s, P_KEPT]) == HEADER:
            judge(words, parsers, s, calls, slots, peer, head_only, programs, m, faults)
            if int(parsers[s, STEP]) == SEARCHING:
                tcp[AT] = at + taken
                return
    if int(parsers[s, P_KEEP]) > 0:
        more = min(have - taken, int(parsers[s, P_KEEP]) - int(parsers[s, P_KEPT]))
        keep(memory, parsers, s, arena, at + taken, more, m, faults)
    if have < count and (int(parsers[s, P_KEEP]) == 0 or int(parsers[s, P_KEPT]) < int(parsers[s, P_KEEP])):
        parsers[s, P_BROKEN] = 1
        parsers[s, P_DAMAGE] = int(parsers[s, P_DAMAGE]) | int(tcp[LOSS])


@kernel
def judge(
    words: Any,
    parsers: Any,
    s: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    head_only: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> None:
    """With the first words in the arena: is this a message, and how much of it to keep?"""
    at, kept = int(parsers[s, P_START]), int(parsers[s, P_KEPT])
    size = int(parsers[s, P_SIZE]) + int(parsers[s, LEFT])
    if int(parsers[s, LAST]) == 0:
        size = RECORD_LIMIT
    if int(parsers[s, STEP]) == NEW:
        sound = is_message(words, at, kept, size, True, True, calls, slots, peer, programs)
    else:
        sound = word(words, at + 4) <= 1
    if not sound:
        lose(parsers, s, m, faults)
        return
    parsers[s, STEP] = IN_STEP
    parsers[s, P_KEEP] = keep_limit(words, at, kept, calls, slots, peer, head_only)


@kernel
def keep(
    memory: Any,
    parsers: Any,
    s: Any,
    arena: Any,
    start: Any,
    count: Any,
    m: Any,
    faults: Any,
) -> None:
    """Append bytes to the record in the arena."""
    if count <= 0:
        return
    kept = int(parsers[s, P_KEPT])
    fits = kept + count <= int(parsers[s, P_ROOM])
    if not fits and not make_room(memory, parsers, s, arena, kept + count):
        parsers[s, P_KEEP] = max(1, kept)
        parsers[s, P_DAMAGE] = int(parsers[s, P_DAMAGE]) | HEAD_DAMAGE
        note(faults, RECORD_TOO_LONG, int(m[FRAME]))
        return
    to = int(parsers[s, P_START]) + kept
    move(memory, to, start, count)
    parsers[s, P_KEPT] = kept + count


@kernel
def make_room(memory: Any, parsers: Any, s: Any, arena: Any, wanted: Any) -> Any:
    """Room for `wanted` bytes of a record: where it is if it is the last, else elsewhere."""
    top, limit = int(arena[TOP]), int(arena[LIMIT])
    start, room, kept = int(parsers[s, P_START]), int(parsers[s, P_ROOM]), int(parsers[s, P_KEPT])
    new_room = max(wanted, min(2 * room, RECORD_LIMIT))
    if room == 0:
        new_room = max(wanted, min(ROOM, int(parsers[s, LEFT]) + wanted))
    if room > 0 and start + room == top:
        top = start
    if top + new_room > limit:
        return False
    if top != start:
        move(memory, top, start, kept)
    arena[TOP] = top + new_room
    parsers[s, P_START] = top
    parsers[s, P_ROOM] = new_room
    if int(parsers[s, LISTED]) == 0:
        parsers[s, LISTED] = 1
        count = int(parsers[0, PARTIAL]) + 1
        parsers[0, PARTIAL] = count
        parsers[count, PARTIAL] = s
    return True


@kernel
def complete(
    words: Any,
    parsers: Any,
    s: Any,
    tcp: Any,
    calls: Any,
    slots: Any,
    peer: Any,
    programs: Any,
    m: Any,
    faults: Any,
) -> Any:
    """The last fragment is over: hand the record out, unless too little of it is there."""
    at, kept, size = int(parsers[s, P_START]), int(parsers[s, P_KEPT]), int(parsers[s, P_SIZE])
    damage = int(parsers[s, P_DAMAGE])
    if int(parsers[s, STEP]) == NEW:
        if not is_message(words, at, kept, size, True, True, calls, slots, peer, programs):
            lose(parsers, s, m, faults)
            return False
    elif kept >= 8 and word(words, at + 4) > 1:
        lose(parsers, s, m, faults)
        return False
    parsers[s, STEP] = IN_STEP
    m[FIRST_FRAME] = parsers[s, P_FRAME]
    if 0 < int(parsers[s, P_KEEP]) < size:
        if damage & HEAD_DAMAGE == 0 and int(parsers[s, P_KEEP]) == RECORD_LIMIT:
            note(faults, RECORD_TOO_LONG, int(m[FRAME]))
        damage |= HEAD_DAMAGE
    forget_record(parsers, s)
    if kept < 8:
        note(faults, RECORD_LOST, int(m[FRAME]))
        tear(parsers, s, m)
        return False
    m[START] = at
    m[KEPT] = kept
    m[SIZE] = size
    m[DAMAGE] = damage
    m[STREAM_END] = int(tcp[OFFSET_END]) - (int(tcp[END]) - int(tcp[AT]))
    return True
