"""IP fragments to whole packets.

In: a fragment: where its bytes lie, and what its header says of it. Out: now and then a packet that
is complete, at a place of its own in memory.

Theory. Every packet that is under way has a slot: a row of `slots`, room for the longest packet
there is, and a mark for every 8 bytes of it that came, for fragments come in any order (RFC 791 3.2,
RFC 8200 4.5). A fragment that was there already is a copy. One that contradicts what was there is
not believed to belong to it: identifications are few (65,536 last a second of fast NFS over UDP), so
it begins a new packet, and the old one is given up. That is never a mixture of both, which is what
an attacker wants. What waits for more than 30 s is given up (Linux and RFC 791 wait about as long),
and the one that waited longest where too many wait.

A filter by port captures first fragments only, for the others have no ports. As long as no later
fragment was ever seen, a first one waits for no more than the next sign of its two hosts, and is
then told as what it is, a packet cut short. There the whole RPC header is.

A slot is used again when nobody can look at its packet any more, which the dissector knows.

Never: knows what is in a packet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analyzer.faults import Fault, note
from analyzer.frames.ip import BAD, FINE, FIRST, IPV6_IDENT, WHOLE, extensions
from analyzer.frames.words import byte
from analyzer.kernels import kernel
from analyzer.tables import I64, Bytes

MOST_WAITING = 256  # packets under way
MOST_DONE = 256  # packets completed in one feed
SLOTS = MOST_WAITING + 2 * MOST_DONE + 1
SLOT_BYTES = 1 << 16  # no IP packet is longer
UNIT = 8  # fragments begin at multiples of 8 bytes
UNITS = SLOT_BYTES // UNIT
ROOM = SLOTS * SLOT_BYTES  # bytes of memory; only what is used is ever touched

PATIENCE = 30_000_000_000  # ns since the last fragment

# columns of `slots`
(
    SOURCE_HIGH,
    SOURCE_LOW,
    TARGET_HIGH,
    TARGET_LOW,
    PROTOCOL,
    IDENT,
    FRAME,  # of the fragment that completed it; as long as it waits, of the last one
    TIME,
    COUNT,  # bytes that came
    TOP,  # end of the last of them
    SIZE,  # of the whole, -1: its last fragment is missing
    CUT,  # bytes from here on were not captured
    OLDER,  # the list of those that wait, -1 ends it
    NEWER,
) = range(14)
WIDTH = 14

# `state`
FLOOR, FREE, DONE, WAITING, NEWEST, OLDEST, READY, LATER_SEEN, MOST = range(9)


class Fragments(NamedTuple):
    """Packets under way."""

    slots: I64
    marks: Bytes  # which units of a slot have come
    free: I64  # stack of slots
    done: I64  # slots that were told in this feed
    state: I64


def new_fragments(floor: int, waiting: int = MOST_WAITING, done: int = MOST_DONE) -> Fragments:
    """Nothing under way; memory[floor:] has room for the slots."""
    count = waiting + 2 * done + 1
    state = np.zeros(9, np.int64)
    state[FLOOR], state[FREE], state[MOST] = floor, count, waiting
    state[NEWEST] = state[OLDEST] = state[READY] = -1
    return Fragments(
        slots=np.zeros((count, WIDTH), np.int64),
        marks=np.zeros(count * UNITS, np.uint8),
        free=np.arange(count - 1, -1, -1),
        done=np.zeros(done, np.int64),
        state=state,
    )


@kernel
def gather(
    memory: Any,
    under_way: Any,
    faults: Any,
    at: Any,
    kept: Any,
    size: Any,
    protocol: Any,
    piece: Any,
    ident: Any,
    high: Any,
    low: Any,
    to_high: Any,
    to_low: Any,
    frame: Any,
    time: Any,
) -> None:
    """Take in a fragment of `size` bytes; state[READY] is the slot of a packet that is now to be told."""
    slots, state = under_way.slots, under_way.state
    offset, more = piece & 0xFFF8, piece & 1
    if size == 0 or (more and size % UNIT) or offset + size > SLOT_BYTES:
        note(faults, Fault.FRAME_MALFORMED, frame)
        return
    if offset > 0:
        state[LATER_SEEN] = 1
    while int(state[OLDEST]) >= 0 and time - int(slots[int(state[OLDEST]), TIME]) > PATIENCE:
        note(faults, Fault.FRAGMENT_INCOMPLETE, int(slots[int(state[OLDEST]), FRAME]))
        give_up(under_way, int(state[OLDEST]))
    slot = int(state[NEWEST])
    while slot >= 0 and not (
        int(slots[slot, IDENT]) == ident
        and int(slots[slot, SOURCE_LOW]) == low
        and int(slots[slot, TARGET_LOW]) == to_low
        and int(slots[slot, PROTOCOL]) == protocol
        and int(slots[slot, SOURCE_HIGH]) == high
        and int(slots[slot, TARGET_HIGH]) == to_high
    ):
        slot = int(slots[slot, OLDER])
    if slot >= 0:
        fit = fits(memory, under_way, slot, at, kept, offset, size, more)
        if fit == COPY:
            note(faults, Fault.FRAME_DUPLICATED, frame)
            return
        leave_list(under_way, slot)
        if fit == CONTRADICTS:
            note(faults, Fault.FRAGMENT_OVERLAP, frame)
            release(under_way, slot)
            slot = -1
    if slot < 0:
        if int(state[WAITING]) >= int(state[MOST]):
            note(faults, Fault.FRAGMENTS_EVICTED, frame)
            give_up(under_way, int(state[OLDEST]))
        slot = begin(under_way, protocol, ident, high, low, to_high, to_low)
    start = int(state[FLOOR]) + slot * SLOT_BYTES + offset
    for i in range(min(kept, size)):
        memory[start + i] = byte(memory, at + i)
    first = slot * UNITS + offset // UNIT
    for unit in range(first, first + (size + UNIT - 1) // UNIT):
        under_way.marks[unit] = 1
    slots[slot, COUNT] += size
    slots[slot, TOP] = max(int(slots[slot, TOP]), offset + size)
    slots[slot, FRAME] = frame
    slots[slot, TIME] = time
    if more == 0:
        slots[slot, SIZE] = offset + size
    if kept < size:
        slots[slot, CUT] = min(int(slots[slot, CUT]), offset + kept)
    if int(slots[slot, COUNT]) == int(slots[slot, SIZE]):
        state[READY] = slot
    else:
        join_list(under_way, slot)


# what a fragment is to a packet that waits for some
FITS, COPY, CONTRADICTS = 0, 1, 2


@kernel
def fits(
    memory: Any, under_way: Any, slot: Any, at: Any, kept: Any, offset: Any, size: Any, more: Any
) -> Any:
    """Whether a fragment brings something new, nothing new, or something else than was there."""
    slots, marks = under_way.slots, under_way.marks
    whole, end = int(slots[slot, SIZE]), offset + size
    if whole >= 0 and (end > whole or (more == 0 and end != whole)):
        return CONTRADICTS
    if more == 0 and end < int(slots[slot, TOP]):
        return CONTRADICTS
    first = slot * UNITS + offset // UNIT
    units = (size + UNIT - 1) // UNIT
    there = 0
    for unit in range(first, first + units):
        there += int(marks[unit]) & 1
    if there == 0:
        return FITS
    if there < units or (more == 0 and whole < 0):
        return CONTRADICTS
    start = int(under_way.state[FLOOR]) + slot * SLOT_BYTES + offset
    for i in range(min(kept, size, int(slots[slot, CUT]) - offset)):
        if byte(memory, at + i) != byte(memory, start + i):
            return CONTRADICTS
    return COPY


@kernel
def no_more(under_way: Any, first: Any, ident: Any, low: Any, to_low: Any) -> Any:
    """Whether a first fragment is now READY, because what would follow it is not in the capture.

    Later fragments were never seen, and here is a datagram from `low` to `to_low`: the `first` fragment
    of another one by the same sender, or one that goes the other way.
    """
    slots, state = under_way.slots, under_way.state
    if int(state[LATER_SEEN]) == 1:
        return False
    slot = int(state[OLDEST])
    while slot >= 0:
        source, target = int(slots[slot, SOURCE_LOW]), int(slots[slot, TARGET_LOW])
        if (first and source == low and int(slots[slot, IDENT]) != ident) or (
            source == to_low and target == low
        ):
            leave_list(under_way, slot)
            state[READY] = slot
            return True
        slot = int(slots[slot, NEWER])
    return False


@kernel
def take_ready(under_way: Any) -> Any:
    """The slot that is READY; what is in it stays until `done` is taken back."""
    state = under_way.state
    slot = int(state[READY])
    state[READY] = -1
    under_way.done[int(state[DONE])] = slot
    state[DONE] += 1
    return slot


@kernel
def put_together(memory: Any, under_way: Any, slot: Any) -> Any:
    """What is in a slot: a header as `ip` tells it, and where the bytes end, captured and on the wire.

    It is a first fragment, not a whole packet, if the last one never came.
    """
    slots = under_way.slots
    look, protocol, ident = FINE, int(slots[slot, PROTOCOL]), int(slots[slot, IDENT])
    at = int(under_way.state[FLOOR]) + slot * SLOT_BYTES
    stop, end = at + min(int(slots[slot, TOP]), int(slots[slot, CUT])), at + int(slots[slot, TOP])
    if ident >= IPV6_IDENT:
        look, protocol, at, again, _ident = extensions(memory, protocol, at, stop, end)
        if again != WHOLE:
            look = BAD
    piece = WHOLE if int(slots[slot, SIZE]) >= 0 else FIRST
    high, low = int(slots[slot, SOURCE_HIGH]), int(slots[slot, SOURCE_LOW])
    to_high, to_low = int(slots[slot, TARGET_HIGH]), int(slots[slot, TARGET_LOW])
    return (look, protocol, at, end - at, piece, ident, high, low, to_high, to_low), stop, end


@kernel
def begin(under_way: Any, protocol: Any, ident: Any, high: Any, low: Any, to_high: Any, to_low: Any) -> Any:
    """A slot for a new packet."""
    slots, state = under_way.slots, under_way.state
    state[FREE] -= 1
    slot = int(under_way.free[int(state[FREE])])
    first = slot * UNITS
    for unit in range(first, first + (int(slots[slot, TOP]) + UNIT - 1) // UNIT):
        under_way.marks[unit] = 0
    slots[slot, SOURCE_HIGH], slots[slot, SOURCE_LOW] = high, low
    slots[slot, TARGET_HIGH], slots[slot, TARGET_LOW] = to_high, to_low
    slots[slot, PROTOCOL], slots[slot, IDENT] = protocol, ident
    slots[slot, COUNT] = slots[slot, TOP] = 0
    slots[slot, SIZE], slots[slot, CUT] = -1, SLOT_BYTES
    return slot


@kernel
def join_list(under_way: Any, slot: Any) -> None:
    """Enter the list of those that wait, as the newest."""
    slots, state = under_way.slots, under_way.state
    older = int(state[NEWEST])
    slots[slot, OLDER], slots[slot, NEWER] = older, -1
    if older >= 0:
        slots[older, NEWER] = slot
    else:
        state[OLDEST] = slot
    state[NEWEST] = slot
    state[WAITING] += 1


@kernel
def leave_list(under_way: Any, slot: Any) -> None:
    """Leave the list of those that wait."""
    slots, state = under_way.slots, under_way.state
    older, newer = int(slots[slot, OLDER]), int(slots[slot, NEWER])
    if older >= 0:
        slots[older, NEWER] = newer
    else:
        state[OLDEST] = newer
    if newer >= 0:
        slots[newer, OLDER] = older
    else:
        state[NEWEST] = older
    state[WAITING] -= 1


@kernel
def release(under_way: Any, slot: Any) -> None:
    """The slot may be used again."""
    under_way.free[int(under_way.state[FREE])] = slot
    under_way.state[FREE] += 1


@kernel
def give_up(under_way: Any, slot: Any) -> None:
    """A packet that waits is not waited for any more."""
    leave_list(under_way, slot)
    release(under_way, slot)
