"""Every way the wire can be wrong, numbered, one line each.

In: a fault kind and the frame it was met in. Out: a count and the first place of each.

Theory. Hostile or damaged bytes never raise: they become a number here, with the first
frame (or byte offset, for damage of the file itself) where it happened, and whatever can
still be decoded is.

Never: decides whether a fault matters; findings do.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.kernels import kernel


class Fault(IntEnum):
    """What can be wrong with a capture, a frame, a stream or a message."""

    FILE_CUT_SHORT = 0
    FILE_DAMAGED = 1
    UNKNOWN_LINK_TYPE = 2
    FRAME_TRUNCATED = 3
    FRAME_MALFORMED = 4
    FRAGMENT_INCOMPLETE = 5
    HOSTS_FULL = 6
    FLOWS_EVICTED = 7
    TCP_GAP = 8
    TCP_OVERLAP_CONFLICT = 9
    TCP_BUFFER_FULL = 10
    RECORD_LOST = 11
    RECORD_TOO_LONG = 12
    RECORD_RESYNC = 13
    RPC_MALFORMED = 14
    CALLS_EVICTED = 15
    XID_REUSED = 16
    DUPLICATE_REPLY = 17
    ORPHAN_REPLY = 18
    XDR_SHORT = 19
    XDR_LIMIT = 20
    XDR_BOOL = 21
    XDR_PADDING = 22
    XDR_TRAILING = 23
    XDR_DEPTH = 24
    GSS_PRIVACY = 25
    TIME_BACKWARDS = 26
    HANDLES_EVICTED = 27
    NOT_A_CAPTURE = 28
    STATE_EVICTED = 29
    FRAGMENT_OVERLAP = 30
    FRAGMENTS_EVICTED = 31
    FRAME_DUPLICATED = 32
    XDR_ENUM = 33


MEANING = {
    Fault.FILE_CUT_SHORT: "the file ends inside a packet",
    Fault.FILE_DAMAGED: "bytes that are no packet record; the rest of the file was not read",
    Fault.UNKNOWN_LINK_TYPE: "packets of a link type that is not decoded",
    Fault.FRAME_TRUNCATED: "packets captured only in part (snaplen) where RPC bytes are missing",
    Fault.FRAME_MALFORMED: "packets whose link, IP, TCP or UDP header contradicts itself",
    Fault.FRAGMENT_INCOMPLETE: "fragmented IP packets of which a part was not captured",
    Fault.HOSTS_FULL: "packets of hosts beyond the limit on addresses, left out",
    Fault.FLOWS_EVICTED: "flows forgotten to stay within the limit",
    Fault.TCP_GAP: "holes in TCP streams: bytes that were sent but not captured",
    Fault.TCP_OVERLAP_CONFLICT: "TCP retransmissions whose bytes differ from the first copy",
    Fault.TCP_BUFFER_FULL: "out-of-order TCP segments dropped to stay within the limit",
    Fault.RECORD_LOST: "RPC records with bytes missing that could not be decoded",
    Fault.RECORD_TOO_LONG: "RPC records longer than the limit, read at their head only",
    Fault.RECORD_RESYNC: "searches for the next RPC record after a hole or a late start",
    Fault.RPC_MALFORMED: "RPC messages whose header does not decode",
    Fault.CALLS_EVICTED: "open calls forgotten to stay within the limit",
    Fault.XID_REUSED: "calls that took the xid of another call still open",
    Fault.DUPLICATE_REPLY: "replies to calls that were answered already",
    Fault.ORPHAN_REPLY: "replies whose call was not captured",
    Fault.XDR_SHORT: "messages that end before their declared fields do",
    Fault.XDR_LIMIT: "lengths over the protocol's limit",
    Fault.XDR_BOOL: "booleans other than 0 and 1",
    Fault.XDR_PADDING: "padding bytes other than zero",
    Fault.XDR_TRAILING: "bytes left over after the last declared field",
    Fault.XDR_DEPTH: "lists longer than the limit",
    Fault.XDR_ENUM: "enum values that the protocol does not have, in messages about locks and mounts",
    Fault.GSS_PRIVACY: "messages encrypted by RPCSEC_GSS: header only",
    Fault.TIME_BACKWARDS: "packets stamped earlier than the one before",
    Fault.HANDLES_EVICTED: "file handles forgotten to stay within the limit",
    Fault.NOT_A_CAPTURE: "files of a directory that are no captures, skipped",
    Fault.STATE_EVICTED: "connections, requests and notes forgotten to stay within the limits",
    Fault.FRAGMENT_OVERLAP: "IP fragments that contradict earlier ones of the same packet",
    Fault.FRAGMENTS_EVICTED: "fragmented IP packets given up to stay within the limit",
    Fault.FRAME_DUPLICATED: "copies of packets within 1 ms, passed over (mirror ports, captures on `any`)",
}


class Faults(NamedTuple):
    """How often each fault was met, and where first (a frame number; 0 for the file itself)."""

    count: NDArray[np.int64]  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    first_frame: NDArray[np.int64]


def new_faults() -> Faults:
    """No faults yet."""
    return Faults(np.zeros(len(Fault), np.int64), np.full(len(Fault), -1, np.int64))


@kernel
def note(faults: Any, fault: Any, frame: Any) -> None:
    """Count a fault met in `frame`."""
    if int(faults.count[fault]) == 0:
        faults.first_frame[fault] = frame
    faults.count[fault] += 1
